#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Locks (contract L1, L2, L4): which conflict, what they keep others from, ranges, and requests that make
no sense."""

import os
import unittest

import locking
import support
from locking import BOTH, DATA, EXCLUSIVE, FIRST, FOREVER, SECOND, SHARED, WHOLE
from support import KIB, MIB, SECTOR, pb


class Modes(locking.LockTest):
    def pairs(self):
        """Two sessions of one connection, and of two."""
        client = self.client()
        yield client, client.open_path(self.path), client, client.open_path(self.path)
        yield (*self.opened(), *self.opened())

    def test_many_share(self):
        for one, s1, two, s2 in self.pairs():
            self.assertEqual(one.lock(s1, SHARED).mode, SHARED)
            self.assertEqual(two.lock(s2, SHARED).mode, SHARED)
            self.assert_failed("EBUSY", two.lock, s2, EXCLUSIVE)
            self.assertEqual(two.get_info(s2).lock, SHARED, "the refusal took it away")
            one.unlock(s1)
            two.unlock(s2)

    def test_one_excludes(self):
        for one, s1, two, s2 in self.pairs():
            self.assertGreater(one.lock(s1).token, 0)
            for mode in (SHARED, EXCLUSIVE):
                self.assert_failed("EBUSY", two.lock, s2, mode)
            one.unlock(s1)
            two.lock(s2)
            two.unlock(s2)

    def test_lock_at_open(self):
        one, session = self.opened(lock=True)
        self.assertEqual(one.get_info(session).lock, EXCLUSIVE)
        two = self.client()
        for access in (pb.ACCESS_READ_ONLY, pb.ACCESS_READ_WRITE):
            message = self.assert_failed("EBUSY", two.open_path, self.path, lock=True, access=access)
            self.assertIn(f"session {session}", message)
        self.assertEqual(len(two.sessions()), 1, "what was refused is no session")
        one.close_session(session)
        readers = [two.open_path(self.path, lock=True, access=pb.ACCESS_READ_ONLY) for _ in "ab"]
        self.assertEqual([two.get_info(s).lock for s in readers], [SHARED] * 2)
        self.assert_failed("EBUSY", one.open_path, self.path, lock=True)

    def test_the_same_again_is_granted_with_the_same_token(self):
        client, session = self.opened()
        token = client.lock(session).token
        self.assertEqual(client.lock(session).token, token)
        client.unlock(session)
        two, other = self.opened()
        two.lock(other)

    def test_refusal_says_who_and_why(self):
        one, s1 = self.opened()
        one.lock(s1, purpose="nightly backup")
        two, s2 = self.opened()
        for message in (self.assert_failed("EBUSY", two.lock, s2),
                        self.assert_failed("EBUSY", two.write, s2, 0, DATA),
                        self.assert_failed("EBUSY", two.open_path, self.path, lock=True)):
            with open("/proc/self/comm", encoding="utf-8") as file:
                command = file.read().strip()
            for word in (f"session {s1} ", f"pid {os.getpid()}", f"uid {os.getuid()}", command,
                         "nightly backup", "since", "exclusive", self.path):
                self.assertIn(word, message)

    def test_purpose_of_the_session(self):
        one, s1 = self.opened(purpose="the session's")
        one.lock(s1)
        two, s2 = self.opened()
        self.assertIn("the session's", self.assert_failed("EBUSY", two.lock, s2))


class Mandatory(locking.LockTest):
    def changes(self, client, session):
        yield lambda: client.write(session, 0, DATA)
        yield lambda: client.discard(session, 0, SECTOR)
        yield lambda: client.zero(session, 0, SECTOR)
        yield lambda: client.resize(session, 2 * MIB)

    def test_changes_without_a_lock(self):
        for mode in (SHARED, EXCLUSIVE):
            holder, held = self.holder(mode)
            other, session = self.opened()
            for change in self.changes(other, session):
                self.assert_failed("EBUSY", change)
            self.assertEqual(other.read(session, 0, SECTOR), bytes(SECTOR))
            for change in self.changes(holder, held):
                change()
            holder.close()
            support.wait_until(lambda: len(other.sessions()) == 1, "the holder is gone")
            for change in self.changes(other, session):
                change()
            other.zero(session, 0, SECTOR)
            other.close()

    def test_two_that_share_both_cannot_write(self):
        one, s1 = self.holder(SHARED)
        two, s2 = self.holder(SHARED)
        self.assert_failed("EBUSY", one.write, s1, 0, DATA)
        self.assert_failed("EBUSY", two.write, s2, 0, DATA)

    def test_isolation_keeps_readers_out(self):
        one, s1 = self.opened()
        one.lock(s1, isolate=True, **FIRST)
        two, s2 = self.opened()
        self.assertIn(f"session {s1}", self.assert_failed("EBUSY", two.read, s2, 0, SECTOR))
        self.assert_failed("EBUSY", two.read, s2, 0, 8 * KIB)
        two.read(s2, 4 * KIB, SECTOR)
        one.read(s1, 0, SECTOR)
        one.lock(s1, SHARED, **FIRST)
        two.read(s2, 0, SECTOR)

    def test_isolation_can_be_had_later(self):
        """What is granted is what was asked for."""
        one, s1 = self.holder()
        two, s2 = self.opened()
        two.read(s2, 0, SECTOR)
        one.lock(s1, isolate=True)
        self.assert_failed("EBUSY", two.read, s2, 0, SECTOR)


class Ranges(locking.LockTest):
    def test_disjoint_ones_live_side_by_side(self):
        one, s1 = self.opened()
        two, s2 = self.opened()
        one.lock(s1, **FIRST)
        two.lock(s2, **SECOND)
        self.assert_failed("EBUSY", two.lock, s2, **FIRST)
        self.assert_failed("EBUSY", two.lock, s2, **BOTH)
        self.assert_failed("EBUSY", two.lock, s2, **WHOLE)
        one.write(s1, 4 * KIB - SECTOR, DATA)
        two.write(s2, 4 * KIB, DATA)
        self.assert_failed("EBUSY", one.write, s1, 4 * KIB, DATA)
        self.assert_failed("EBUSY", two.write, s2, 4 * KIB - SECTOR, DATA)
        self.assertIn("part", self.assert_failed("EBUSY", two.write, s2, 0, DATA))

    def test_outside_the_range_anybody_writes(self):
        one, s1 = self.opened()
        one.lock(s1, offset_bytes=4 * KIB, length_bytes=4 * KIB)
        two, s2 = self.opened()
        before, after = 4 * KIB - SECTOR, 8 * KIB
        two.write(s2, before, DATA)
        two.write(s2, after, DATA)
        for offset, length in ((4 * KIB, SECTOR), (8 * KIB - SECTOR, SECTOR), (before, 2 * SECTOR),
                               (8 * KIB - SECTOR, 2 * SECTOR), (before, 6 * KIB), (0, 64 * KIB)):
            self.assert_failed("EBUSY", two.write, s2, offset, b"x" * length)
            self.assert_failed("EBUSY", two.discard, s2, offset, length)
        self.assertEqual(two.read(s2, 0, 64 * KIB),
                         bytes(before) + DATA + bytes(4 * KIB) + DATA
                         + bytes(64 * KIB - after - SECTOR), "a refused change transferred something")

    def test_a_range_beyond_the_end_is_locked_as_well(self):
        one, s1 = self.opened()
        one.lock(s1, offset_bytes=4 * MIB, length_bytes=MIB)
        two, s2 = self.opened()
        self.assert_failed("EBUSY", two.lock, s2, offset_bytes=5 * MIB - SECTOR, length_bytes=SECTOR)
        two.lock(s2, offset_bytes=5 * MIB, length_bytes=SECTOR)

    def test_own_ranges_do_not_conflict(self):
        client, session = self.opened()
        tokens = [client.lock(session, **FIRST).token, client.lock(session, **BOTH).token,
                  client.lock(session, **WHOLE).token]
        self.assertEqual(sorted(set(tokens)), tokens)
        self.assertEqual(client.get_info(session).token, tokens[-1])
        client.lock(session, SHARED, **SECOND)
        client.write(session, 0, DATA)

    def test_unlock(self):
        client, session = self.opened()
        other, wants = self.opened()
        client.lock(session, **FIRST)
        client.lock(session, **SECOND)
        for partly in ({"offset_bytes": SECTOR, "length_bytes": 4 * KIB},
                       {"offset_bytes": 0, "length_bytes": SECTOR},
                       {"offset_bytes": 2 * KIB, "length_bytes": 4 * KIB}):
            self.assertIn("partly", self.assert_failed("EINVAL", client.unlock, session, **partly))
        self.assert_failed("EBUSY", other.lock, wants, **FIRST)
        client.unlock(session, **FIRST)
        other.lock(wants, **FIRST)
        self.assert_failed("EBUSY", other.lock, wants, **SECOND)
        client.unlock(session, offset_bytes=64 * KIB, length_bytes=KIB)  # there is none
        client.unlock(session)
        other.lock(wants, **WHOLE)

    def test_unlocking_more_than_was_locked_unlocks_it(self):
        client, session = self.opened()
        client.lock(session, **FIRST)
        client.lock(session, **SECOND)
        client.unlock(session, **BOTH)
        self.assertEqual(client.get_info(session).lock, pb.LOCK_MODE_NONE)
        self.assertEqual(client.get_info(session).token, 0)


class BadInput(locking.LockTest):
    config = "[limits]\nlocks-per-uid = 4\n"

    def test_values(self):
        client, session = self.opened()
        reader = client.open_path(self.path, access=pb.ACCESS_READ_ONLY)
        top = (1 << 64) - 1
        for expected, more in [
                ("EINVAL", {"mode": 0}), ("EINVAL", {"mode": 3}), ("EINVAL", {"mode": 77}),
                ("EINVAL", {"mode": SHARED, "isolate": True}),
                ("EINVAL", {"mode": SHARED, "offset_bytes": SECTOR}),
                ("EINVAL", {"mode": SHARED, "offset_bytes": 1, "length_bytes": SECTOR}),
                ("EINVAL", {"mode": SHARED, "length_bytes": SECTOR + 1}),
                ("EINVAL", {"mode": SHARED, "offset_bytes": top - SECTOR + 1,
                            "length_bytes": SECTOR}),
                ("EINVAL", {"mode": SHARED, "offset_bytes": top - SECTOR + 1,
                            "length_bytes": 2 * SECTOR}),
                ("EINVAL", {"mode": SHARED, "offset_bytes": SECTOR,
                            "length_bytes": top - SECTOR + 1})]:
            for wait_ms in (0, 1000):
                self.assert_failed(expected, client.call, "lock",
                                   pb.Lock(session=session, wait_ms=wait_ms, **more))
        self.assert_failed("EROFS", client.lock, reader)
        self.assert_failed("EBADF", client.lock, 12345)
        self.assert_failed("EBADF", client.unlock, 12345)
        self.assert_failed("EBADF", self.client().lock, session)
        for offset, length in ((1, SECTOR), (0, 100), (SECTOR, 0), (top - SECTOR + 1, SECTOR * 2)):
            self.assert_failed("EINVAL", client.unlock, session, offset_bytes=offset,
                               length_bytes=length)
        client.lock(reader, SHARED)
        client.lock(session, SHARED)

    def test_long_and_strange_purposes(self):
        one, s1 = self.opened()
        one.lock(s1, purpose="p" * 1000)
        two, s2 = self.opened()
        message = self.assert_failed("EBUSY", two.lock, s2)
        self.assertIn("p" * 64, message)
        self.assertNotIn("p" * 65, message)
        one.unlock(s1)
        one.lock(s1, purpose="ä" * 33 + "\n\x1b[2J")
        self.assertNotIn("\x1b", self.assert_failed("EBUSY", two.lock, s2))

    def test_the_same_range_twice_in_flight(self):
        self.holder()
        client, session = self.opened()
        request = client.queue_lock(session)
        self.assert_failed("EALREADY", client.lock, session)
        self.assert_failed("EALREADY", client.lock, session, SHARED, wait_ms=FOREVER)
        self.assert_failed("EALREADY", client.unlock, session)
        self.assertTrue(client.still_waits(request))

    def test_quota(self):
        holder, held = self.opened()
        client, session = self.opened()
        for number in range(2):
            holder.lock(held, offset_bytes=number * KIB, length_bytes=KIB)
        client.queue_lock(session, **FIRST)  # those that wait count
        client.lock(session, offset_bytes=MIB, length_bytes=KIB)
        self.assertIn("limit on locks", self.assert_failed(
            "EDQUOT", client.lock, session, offset_bytes=2 * MIB, length_bytes=KIB))
        self.assert_failed("EDQUOT", client.open_path, self.image("b.img"), lock=True)
        holder.lock(held, SHARED, offset_bytes=0, length_bytes=KIB)  # not a lock more
        holder.unlock(held)
        client.lock(session, offset_bytes=2 * MIB, length_bytes=KIB)
        client.close()
        watcher = self.client()
        support.wait_until(lambda: len(watcher.sessions()) == 1, "its session is gone")
        for number in range(4):
            holder.lock(held, offset_bytes=number * KIB, length_bytes=KIB)
        for _ in range(10):  # refusals give back what they counted
            self.assert_failed("EDQUOT", holder.lock, held)

    def test_refused_ones_do_not_count(self):
        holder, held = self.holder()
        client, session = self.opened()
        for _ in range(10):
            self.assert_failed("EBUSY", client.lock, session)
            self.assert_failed("ETIMEDOUT", client.lock, session, wait_ms=1)
        holder.unlock(held)
        for number in range(4):
            client.lock(session, offset_bytes=number * KIB, length_bytes=KIB)


if __name__ == "__main__":
    unittest.main()
