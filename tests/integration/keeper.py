#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Takes away what a killed test leaves: processes, mounts, loop devices, directories.

A test names what it makes as it makes it (keep_directory, keep_process). Another process hears of it and
waits for the test's end; who kills the test with all its children does not find it. If the test has
cleaned up itself, nothing is left to do.
"""

import os
import re
import select
import signal
import sys

PROCESSES_MAX = 500  # whose ends have not been noticed: each has a descriptor

# ---- the test ----

_pipe = None


def _start():
    global _pipe
    import subprocess
    process = subprocess.Popen([sys.executable, "-I", "-S", "-B", __file__, str(os.getpid())],
                               stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    process.wait()  # its child goes on
    _pipe = process.stdin


def _tell(line):
    if _pipe is None:
        _start()
    os.write(_pipe.fileno(), line + b"\n")


def keep_directory(path):
    _tell(b"directory " + os.fsencode(path))


def keep_process(pid):
    _tell(b"process %d" % pid)


# ---- the other process ----


def mounts_below(path):
    """The last one first."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = [line.split()[4] for line in file]
    points = [re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)
              for point in points]
    return [point for point in reversed(points) if point.startswith(path + b"/")]


def loops_below(path):
    """Loop devices whose files lie there."""
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", "rb") as file:
                if file.read().startswith(path + b"/"):
                    yield f"/dev/{name}"
        except OSError:
            pass


def end_processes(pidfds):
    for pidfd in pidfds:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass


def take_away(directories):
    import shutil
    import subprocess
    for path in filter(os.path.exists, directories):
        for point in mounts_below(path):
            subprocess.run(["umount", "--lazy", point], check=False)
        for device in loops_below(path):
            subprocess.run(["losetup", "--detach", device], check=False)
        if not mounts_below(path):
            shutil.rmtree(path, ignore_errors=True)


def has_ended(pidfd):
    return bool(select.select([pidfd], [], [], 0)[0])


class Kept:
    """What the test has named so far."""

    def __init__(self):
        self.text = b""
        self.directories = []
        self.processes = []

    def hear(self):
        """All that has come. False: nothing will come any more."""
        data = b""
        while (data := self.read()):
            *lines, self.text = (self.text + data).split(b"\n")
            for line in lines:
                kind, _, rest = line.partition(b" ")
                if kind == b"directory":
                    self.directories.append(rest)
                else:
                    self.add_process(int(rest))
        return data is None

    @staticmethod
    def read():
        try:
            return os.read(sys.stdin.fileno(), 65536)
        except BlockingIOError:
            return None

    def add_process(self, pid):
        if len(self.processes) >= PROCESSES_MAX:
            ended = set(filter(has_ended, self.processes))
            self.processes = [pidfd for pidfd in self.processes if pidfd not in ended]
            for pidfd in ended:
                os.close(pidfd)
        try:
            self.processes.append(os.pidfd_open(pid))
        except OSError:
            pass  # it has ended


def main(test):
    try:
        pidfd = os.pidfd_open(int(test))
    except ProcessLookupError:
        return
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    os.set_blocking(sys.stdin.fileno(), False)
    kept = Kept()
    while pidfd not in select.select([sys.stdin, pidfd], [], [])[0] and kept.hear():
        pass
    kept.hear()
    end_processes(kept.processes)
    take_away(kept.directories)


if __name__ == "__main__":
    main(sys.argv[1])
