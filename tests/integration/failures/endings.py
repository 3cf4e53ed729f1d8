#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sessions, requests for locks and breaks that end while something else is under way."""

import fcntl
import os
import unittest

import faults
import locking
import support
from locking import EXCLUSIVE, SHARED
from support import KIB, pb, wire

SECTOR = 4 * KIB
SLOW_MS = 3000


class Late(locking.LockTest):
    def test_events_come_while_their_session_ends(self):
        """A close waits for the guard of its lock; a resize by another is told meanwhile."""
        resizer, other = self.opened()
        closer = self.client()
        size = os.path.getsize(self.path)
        for _ in range(200):
            session = closer.open_path(self.path)
            closer.lock(session, SHARED, length_bytes=SECTOR)
            resizes = []
            for _ in range(4):
                size += SECTOR
                resizes.append(resizer.start("resize", pb.Resize(session=other, size_bytes=size)))
            close = closer.start("close", pb.Close(session=session))
            for resize in resizes:
                resizer.finish(resize)
            closer.finish(close)

    def test_many_evict_one_session(self):
        evictors = [self.client() for _ in range(3)]
        for _ in range(15):
            client, session = self.opened(lock=True)
            requests = [(evictor, evictor.start("evict", pb.Evict(session=session)))
                        for _ in range(50) for evictor in evictors]
            for evictor, request in requests:
                reply, _ = evictor.wait(request)
                self.assertIn(wire.status_name(reply.status), ("OK", "ENOENT"))
            client.ping()
            client.close()

    def test_sessions_of_one_connection_take_turns(self):
        client = self.client()
        sessions = [client.open_path(self.path) for _ in range(4)]
        client.lock(sessions[0])
        requests = [client.queue_lock(session) for session in sessions[1:]]
        for session, request in zip(sessions, requests):
            client.unlock(session)
            self.assert_granted_soon(client, request)


class Strangers(locking.LockTest):
    """A transfer of somebody else takes long; who has nothing to do with it does not wait for it."""

    def setUp(self):
        rules = f"write[0-{SECTOR - 1}]=delay:{SLOW_MS}ms"
        with faults.engine(rules):
            super().setUp()
        self.client_writing, self.writing = self.opened(direct=True)

    def write(self):
        request = self.client_writing.start_write(self.writing, 0, bytes(SECTOR))
        self.client_writing.ping()
        return request

    def test_an_unlock(self):
        client, session = self.opened()
        client.lock(session, SHARED, offset_bytes=4 * SECTOR, length_bytes=SECTOR)
        self.write()
        self.assert_within(SLOW_MS / 2000, "unlock", client.unlock, session)

    def test_a_dead_client_that_asked_for_more(self):
        client, session = self.opened()
        client.lock(session, offset_bytes=4 * SECTOR, length_bytes=SECTOR)
        self.write()
        client.start_lock(session, offset_bytes=8 * SECTOR, length_bytes=SECTOR)
        client.ping()
        client.close()
        watcher = self.client()

        def all_are_gone():
            reply, _ = watcher.call("list_locks", pb.ListLocks())
            return not reply.locks.locks

        self.assert_within(SLOW_MS / 2000, "the end of its locks", support.wait_until,
                           all_are_gone, "its locks are gone")

    def test_a_limit_of_waiting(self):
        client, session = self.opened()
        self.write()
        request = client.start_lock(session, EXCLUSIVE, 300)
        message = self.assert_within(SLOW_MS / 2000, "the refusal", self.assert_refused,
                                     "ETIMEDOUT", client, request)
        self.assertIn("did not end in time", message)
        self.assertEqual(client.get_info(session).lock, pb.LOCK_MODE_NONE)

    def test_a_break_leaves_what_another_breaks(self):
        """Its holder's write is in flight, and is waited for."""
        self.client_writing.lock(self.writing)
        device = self.number_of_device(self.client_writing, self.writing)
        write = self.write()
        breaker = self.client()
        self.assert_failed("ETIMEDOUT", breaker.break_locks, device, self.writing, 200)
        self.assertEqual(breaker.break_locks(device, self.writing + 1000, 200), 0)
        with open(self.path, "rb") as file, self.assertRaises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.client_writing.finish(write)


if __name__ == "__main__":
    unittest.main()
