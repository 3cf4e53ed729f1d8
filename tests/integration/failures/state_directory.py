#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The daemon and its state directory: whose it is, and what happens if it cannot be used."""

import os
import signal
import subprocess
import unittest

import support


class StateDirectory(support.FailureTest):
    def setUp(self):
        self.directory = self.temporary("/tmp")
        self.place = self.temporary("/tmp")
        self.daemon = None

    def start(self):
        return self.start_daemon(directory=self.place)

    def state(self, *names):
        return os.path.join(self.place, "state", *names)

    def start_refused(self, code, *words, socket="other.sock"):
        """A daemon that is to end with this code, having said these words, and opened no socket."""
        path = os.path.join(self.place, socket)
        there = os.path.exists(path)
        done = subprocess.run([os.environ["BLKD_BIN"], "--socket", path,
                               "--state-dir", self.state()], timeout=support.DEADLINE,
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        for word in ("event=start-failed", *words):
            self.assertIn(word, done.stderr)
        self.assertEqual(os.path.exists(path), there)

    def counter(self):
        with open(self.state("fencing"), encoding="ascii") as file:
            return int(file.read().split()[2])

    def test_second_daemon_is_refused_and_told_whose_it_is(self):
        daemon = self.start()
        self.start_refused(3, f"(pid {daemon.pid})", self.state(), "--state-dir")
        # Also one that would serve the same socket, which the first keeps.
        self.start_refused(3, f"(pid {daemon.pid})", socket="blkd.sock")
        daemon.stop()

    def test_reservations_go_on_across_kill_and_stop(self):
        last = 0
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            daemon = self.start()
            self.assertGreater(self.counter(), last)
            last = self.counter()
            if number == signal.SIGKILL:
                daemon.kill()
            else:
                daemon.stop()

    def test_successor_of_an_unreaped_daemon_starts(self):
        """A zombie has no more I/O, and is not a daemon that lives."""
        daemon = self.start()
        os.kill(daemon.pid, signal.SIGKILL)
        os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
        self.start().stop()
        daemon.kill()

    @support.needs_fuse
    @support.needs("nbdkit", "nbdfuse", "losetup")
    def test_successor_of_a_killed_daemon_serves_after_its_last_write(self):
        """Direct writes in flight outlive the process; the lock falls with the last of them."""
        self.memory = self.temporary("/dev/shm")
        slow = support.NbdImage(self, "slow", "--filter=delay", "memory", "64M", "delay-write=2")
        device = self.loop(slow.path, "--direct-io=on")
        def writes_in_flight():
            with open(f"/sys/block/{os.path.basename(device)}/inflight", encoding="ascii") as file:
                return int(file.read().split()[1])
        self.daemon = self.start()
        client = self.client()
        session = client.open_path(device, direct=True)
        for number in range(4):
            client.start_write(session, number * support.MIB, bytes(4 * support.KIB))
        support.wait_until(lambda: writes_in_flight() == 4, "writes in flight")
        killed, self.daemon = self.daemon, None
        os.kill(killed.pid, signal.SIGKILL)
        self.daemon = self.start()
        self.assertEqual(writes_in_flight(), 0)
        self.assertEqual(len(self.daemon.log_lines("state-waits")), 1, self.daemon.log())

    def test_damaged_counter_is_refused_and_kept(self):
        self.start().stop()
        with open(self.state("fencing"), "w", encoding="ascii") as file:
            file.write("blkd-fencing 1 10")
        self.start_refused(1, self.state("fencing"), "is damaged", "blkd-fencing 1 N N")
        with open(self.state("fencing"), encoding="ascii") as file:
            self.assertEqual(file.read(), "blkd-fencing 1 10")

    def test_lost_counter_is_refused(self):
        self.start().stop()
        os.unlink(self.state("fencing"))
        self.start_refused(1, "fencing is missing")

    def test_configuration_check_leaves_it_alone(self):
        subprocess.run([os.environ["BLKD_BIN"], "--check-config", "--socket", "/nowhere/s",
                        "--state-dir", self.state()], check=True, stdout=subprocess.DEVNULL)
        self.assertFalse(os.path.exists(self.state()))

    def test_directory_that_cannot_be_made_is_refused_by_name(self):
        self.place = os.path.join(self.place, "no", "such")
        done = subprocess.run([os.environ["BLKD_BIN"], "--socket", "/nowhere/s",
                               "--state-dir", self.state()], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"cannot create the state directory {self.state()}: ", done.stderr)


if __name__ == "__main__":
    unittest.main()
