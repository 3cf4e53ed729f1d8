#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a killed test leaves is taken away: its directories, what is mounted there, its processes."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

KEEPER = pathlib.Path(__file__).resolve().parents[1] / "integration"
SECONDS = 60

# A test that keeps a directory and two processes, one of them stopped, says who they are, and hangs.
TEST = """
import keeper, os, signal, subprocess, sys
directory = sys.argv[1]
keeper.keep_directory(directory)
open(os.path.join(directory, "file"), "w").close()
processes = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
for process in processes:
    keeper.keep_process(process.pid)
processes[1].send_signal(signal.SIGSTOP)
for command in sys.argv[2:]:
    subprocess.run(command, shell=True, cwd=directory, check=True)
print(*(process.pid for process in processes), flush=True)
signal.pause()
"""


class Killed(unittest.TestCase):
    def setUp(self):
        self.outside = tempfile.mkdtemp(prefix="blkd-keeper-")
        self.addCleanup(os.rmdir, self.outside)
        self.directory = os.path.join(self.outside, "kept")
        os.mkdir(self.directory)

    def kill_test(self, *commands):
        """The pidfds of its processes, which it cannot end any more."""
        test = subprocess.Popen([sys.executable, "-B", "-c", TEST, self.directory, *commands],
                                stdout=subprocess.PIPE, text=True,
                                env=dict(os.environ, PYTHONPATH=str(KEEPER)))
        pidfds = [os.pidfd_open(int(pid)) for pid in test.stdout.readline().split()]
        for pidfd in pidfds:
            self.addCleanup(os.close, pidfd)
        test.send_signal(signal.SIGKILL)
        test.wait()
        test.stdout.close()
        return pidfds

    def wait_until(self, condition, what):
        end = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.01)

    @staticmethod
    def has_ended(pidfd):
        try:
            signal.pidfd_send_signal(pidfd, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
            pid = next(line.split()[1] for line in file if line.startswith("Pid:"))
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"  # where nobody reaps it

    def check_all_gone(self, pidfds):
        self.assertEqual(len(pidfds), 2)
        for pidfd in pidfds:
            self.wait_until(lambda: self.has_ended(pidfd), "a process goes on")
        self.wait_until(lambda: not os.path.exists(self.directory), "its directory is still there")

    def test_files_and_processes(self):
        self.check_all_gone(self.kill_test())

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_a_mount_is_not_emptied(self):
        source = os.path.join(self.outside, "source")
        os.mkdir(source)
        self.addCleanup(os.rmdir, source)
        kept = os.path.join(source, "precious")
        pathlib.Path(kept).touch()
        self.addCleanup(os.unlink, kept)
        probe = subprocess.run(["unshare", "--mount", "mount", "--bind", source, source], check=False)
        if probe.returncode != 0:
            self.skipTest("nothing can be mounted here")
        self.check_all_gone(self.kill_test(f"mkdir mnt && mount --bind {source} mnt"))
        self.assertTrue(os.path.exists(kept), "it was emptied")


if __name__ == "__main__":
    unittest.main()
