#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A client that asks for much slow work: it waits for it, others do not."""

import os
import unittest

import support
from support import KIB, MIB, SECTOR, NbdImage, pb

FLOOD = 1000


class Floods(support.FailureTest):
    config = "[daemon]\nworkers = 1\ndrain-timeout-ms = 60000\n"

    def flood(self, path, size, operation="write_zeroes"):
        client = self.client("flood")
        session = client.open_path(path)
        message = pb.WriteZeroes if operation == "write_zeroes" else pb.Discard
        for _ in range(FLOOD):
            client.start(operation, message(session=session, length_bytes=size))
        watcher = self.client()
        support.wait_until(lambda: watcher.devices()[0].in_flight > 0 or self.answers(client),
                           "the flood is in")
        return client

    def beside(self, path, seconds=1):
        client = self.client("beside")
        def timed(what, function, *arguments, **more):
            return self.assert_within(seconds, what, function, *arguments, **more)
        for i in range(5):
            session = timed("open", client.open_path, path, lock=i % 2 == 1)
            timed("write", client.write, session, 0, os.urandom(4 * KIB))
            timed("flush", client.flush, session)
            timed("discard", client.discard, session, 0, MIB)
            timed("zero", client.zero, session, 0, MIB)
            timed("read", client.read, session, 0, MIB)
            timed("seek", client.call, "seek", pb.Seek(session=session))
            timed("close", client.close_session, session)
        client.close()

    @support.needs_fuse
    @support.needs("nbdkit", "nbdfuse")
    def test_zeroing_a_slow_image(self):
        slow = NbdImage(self, "slow", "--filter=delay", "memory", "64M", "delay-zero=200ms",
                        "delay-trim=200ms", "delay-write=200ms")
        flood = self.flood(slow.path, 8 * MIB)
        self.beside(self.image(size=4 * MIB))
        self.beside(self.image("tmpfs.img", 4 * MIB, memory=True))
        flood.close()
        self.exit_status = 1  # of a device that has failed
        slow.nbdkit.kill()  # or the thousand zeroings go on for minutes

    @support.needs_root
    @support.needs("losetup")
    def test_zeroing_a_loop_device(self):
        """Hole punches of a loop device run in the kernel's own workers."""
        size = 1024 * MIB
        device = self.loop(self.image("big.img", size))
        flood = self.flood(device, size)
        self.beside(self.image(size=4 * MIB))
        self.beside(self.loop(self.image("other.img", 4 * MIB)))
        flood.close()

    def test_writes_to_memory_that_is_being_freed(self):
        """A punch holds the file's lock against a write; the worker may not wait for it."""
        size = 2048 * MIB
        path = self.image("big.img", size, memory=True)
        flood = self.client("flood")
        session = flood.open_path(path)
        other = self.client("beside")
        session_beside = other.open_path(self.image())
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        def attempt():
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            ids = [flood.start("discard", pb.Discard(session=session, length_bytes=size))]
            ids += [flood.start_write(session, i * MIB, bytes(4 * KIB)) for i in range(4)]
            reads = 0
            while not self.answers(flood):
                other.read(session_beside, 0, SECTOR)
                reads += 1
            for request_id in ids:
                flood.finish(request_id)
            return reads
        # Half of the attempts tell nothing: there the writes come before the punch has the lock, and
        # are answered at once. If the worker waits, no attempt gets more than two reads in.
        self.assertTrue(any(attempt() > 10 for _ in range(30)),
                        "reads of another image were kept waiting")

    @staticmethod
    def answers(client):
        return not client.receives_nothing(0)


if __name__ == "__main__":
    unittest.main()
