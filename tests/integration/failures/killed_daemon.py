#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A daemon that is killed while its direct writes are in flight (contract R3): whoever comes after it, by
flock or O_EXCL, comes after the last write has landed."""

import fcntl
import mmap
import os
import unittest

import locking
import support
from locking import EXCLUSIVE
from support import KIB, MIB, pace, pb

PAGE = 4 * KIB
WRITES = 4  # the server does not do them all at once
APART = MIB  # so that they are not merged
DELAY_SECONDS = 1


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse", "losetup", "flock")
class KilledDaemon(locking.LockTest):
    config = "[daemon]\nworkers = 2\n"

    def setUp(self):
        super().setUp()
        slow = support.NbdImage(self, "slow", "--filter=delay", "memory", "64M",
                                f"delay-write={DELAY_SECONDS}")
        self.device = self.loop(slow.path, "--direct-io=on")
        self.addCleanup(lambda: support.wait_until(lambda: self.in_flight() == 0, "nothing lands"))

    def in_flight(self):
        path = f"/sys/block/{os.path.basename(self.device)}/inflight"
        with open(path, encoding="ascii") as file:
            return int(file.read().split()[1])

    def landed(self, contents):
        """How many of the writes are on the device now."""
        fd = os.open(self.device, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, PAGE) as page:
                count = 0
                for number in range(WRITES):
                    os.preadv(fd, [page], number * APART)
                    count += page[:] == contents
                return count
        finally:
            os.close(fd)

    def writes(self, contents, mode=EXCLUSIVE):
        """The daemon holds the device and has so many writes in flight."""
        client, session = self.opened(self.device, direct=True, access=pb.ACCESS_READ_WRITE)
        client.lock(session, mode)
        for number in range(WRITES):
            client.start_write(session, number * APART, contents)
        support.wait_until(lambda: self.in_flight() == WRITES, "the writes are in flight")
        return client

    def kill(self):
        self.daemon.process.kill()
        self.watch = pace.Watch()

    def check_all_landed(self, contents):
        """Right after a successor has it."""
        self.assertEqual(self.in_flight(), 0, "writes are still in flight")
        self.assertEqual(self.landed(contents), WRITES)
        self.assert_took(self.watch, 10 * DELAY_SECONDS, "the end of its writes")
        self.daemon.process.wait()
        self.daemon = None

    def test_flock(self):
        contents = b"f" * PAGE
        self.writes(contents)
        with open(self.device, "rb") as successor:
            with self.assertRaises(BlockingIOError):
                fcntl.flock(successor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.kill()
            self.assertGreater(self.in_flight(), 0, "they were too fast for this test")
            fcntl.flock(successor, fcntl.LOCK_EX)
            self.check_all_landed(contents)

    def test_a_shared_flock_of_a_holder_that_writes(self):
        contents = b"s" * PAGE
        self.writes(contents, locking.SHARED)
        with open(self.device, "rb") as successor:
            self.kill()
            self.assertGreater(self.in_flight(), 0, "they were too fast for this test")
            fcntl.flock(successor, fcntl.LOCK_EX)
            self.check_all_landed(contents)

    def open_exclusive(self):
        """A descriptor, or None."""
        try:
            return os.open(self.device, os.O_RDWR | os.O_EXCL)
        except OSError:
            return None

    def test_exclusive_open(self):
        contents = b"e" * PAGE
        self.writes(contents)
        self.assertIsNone(self.open_exclusive())
        self.kill()
        self.assertGreater(self.in_flight(), 0, "they were too fast for this test")
        fd = support.wait_until(self.open_exclusive, "the device is free")
        self.addCleanup(os.close, fd)
        self.check_all_landed(contents)

    def test_a_successor_of_the_daemon(self):
        contents = b"d" * PAGE
        self.writes(contents)
        dead = self.daemon
        self.kill()
        self.assertGreater(self.in_flight(), 0, "they were too fast for this test")
        self.daemon = None
        successor = self.start_daemon(self.config, directory=dead.directory)
        with locking.Client(successor) as client:
            session = client.open_path(self.device, direct=True, lock=True)
            for number in range(WRITES):
                self.assertEqual(client.read(session, number * APART, PAGE), contents)
        self.daemon = dead
        self.check_all_landed(contents)
        self.daemon = successor


if __name__ == "__main__":
    unittest.main()
