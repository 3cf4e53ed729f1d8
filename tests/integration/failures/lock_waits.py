#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Waiting for locks (contract L5): limits, the order of the queue, changing a mode, deadlocks."""

import time
import unittest

import locking
import support
from locking import BOTH, DATA, EXCLUSIVE, FIRST, FOREVER, SECOND, SHARED
from support import KIB, SECTOR, pb


class Waiting(locking.LockTest):
    def test_a_limit(self):
        holder, held = self.holder()
        waiter, session = self.opened()
        begin = time.monotonic()
        message = self.assert_failed("ETIMEDOUT", waiter.lock, session, wait_ms=300)
        self.assertGreaterEqual(time.monotonic() - begin, 0.25)
        self.assertLess(time.monotonic() - begin, support.patience(1.3))
        self.assertIn(f"session {held}", message)
        holder.lock(held, SHARED)
        third, other = self.opened()
        third.lock(other, SHARED)  # nobody waits before it any more
        self.assertEqual(waiter.get_info(session).lock, pb.LOCK_MODE_NONE)

    def test_a_grant_before_the_limit(self):
        holder, held = self.holder()
        waiter, session = self.opened()
        request = waiter.queue_lock(session, wait_ms=60000)
        holder.unlock(held)
        self.assert_granted_soon(waiter, request)
        waiter.write(session, 0, DATA)

    def test_for_ever_and_an_event(self):
        holder, held = self.holder()
        waiter, session = self.opened()
        request = waiter.queue_lock(session)
        self.assertTrue(waiter.receives_nothing(0.5))
        holder.unlock(held)
        reply = self.assert_granted_soon(waiter, request)
        event = waiter.wait_event("lock_granted")
        self.assertEqual(event.session, session)
        self.assertEqual((event.lock_granted.mode, event.lock_granted.token),
                         (EXCLUSIVE, reply.token))
        self.assertEqual((event.lock_granted.offset_bytes, event.lock_granted.length_bytes), (0, 0))

    def test_in_the_order_of_coming(self):
        holder, held = self.holder()
        waiters = [self.opened() for _ in range(8)]
        requests = [client.queue_lock(session) for client, session in waiters]
        holder.unlock(held)
        tokens = []
        for number, (client, session) in enumerate(waiters):
            tokens.append(self.assert_granted_soon(client, requests[number]).token)
            for behind in range(number + 1, len(waiters)):
                self.assertTrue(waiters[behind][0].still_waits(requests[behind]), "out of turn")
            client.unlock(session)
        self.assertEqual(tokens, sorted(tokens))

    def test_shared_ones_behind_a_writer_come_in_together(self):
        holder, held = self.holder(SHARED)
        writer, w = self.opened()
        writing = writer.queue_lock(w)
        readers = [self.opened() for _ in range(3)]
        reading = [client.queue_lock(session, SHARED) for client, session in readers]
        message = self.assert_failed("EBUSY", self.holder, SHARED)
        self.assertIn(f"session {w}", message)
        self.assertIn("waits", message)
        holder.unlock(held)
        self.assert_granted_soon(writer, writing)
        self.assertTrue(all(c.still_waits(r) for (c, _), r in zip(readers, reading)))
        writer.unlock(w)
        for (client, _), request in zip(readers, reading):
            self.assert_granted_soon(client, request)

    def test_a_stream_of_shared_lockers_does_not_starve_a_writer(self):
        lockers = [self.opened() for _ in range(4)]
        for client, session in lockers:
            client.lock(session, SHARED)
        writer, w = self.opened()
        writing = writer.queue_lock(w)
        rounds = 0
        while writer.still_waits(writing):
            client, session = lockers[rounds % len(lockers)]
            client.unlock(session)
            client.start_lock(session, SHARED)
            rounds += 1
            self.assertLessEqual(rounds, len(lockers), "shared locks go on being granted")
        writer.finish(writing)
        self.assertEqual(rounds, len(lockers))

    def test_ranges_wait_for_what_they_meet_only(self):
        holder, held = self.holder(**FIRST)
        waiter, session = self.opened()
        request = waiter.queue_lock(session, **BOTH)
        third, other = self.opened()
        third.lock(other, offset_bytes=64 * KIB, length_bytes=KIB)
        self.assert_failed("EBUSY", third.lock, other, **SECOND)  # would step before the waiter
        behind = third.queue_lock(other, **SECOND)
        holder.unlock(held)
        self.assert_granted_soon(waiter, request)
        self.assertTrue(third.still_waits(behind))
        waiter.unlock(session)
        self.assert_granted_soon(third, behind)

    def test_one_connection_waits_with_many_sessions_and_serves_on(self):
        holder, held = self.holder()
        client = self.client()
        reader = client.open_path(self.path)
        sessions = [client.open_path(self.path) for _ in range(100)]
        requests = [client.start_lock(session, SHARED) for session in sessions]
        for _ in range(20):
            self.assert_within(1, "a ping", client.ping)
            self.assert_within(1, "a read", client.read, reader, 0, SECTOR)
        self.assertEqual(client.replies, {}, "a request was answered while the lock was held")
        holder.unlock(held)
        for request in requests:
            self.assert_granted_soon(client, request, 10)


class Changing(locking.LockTest):
    def test_up_at_once_when_alone(self):
        client, session = self.holder(SHARED)
        self.assertGreater(client.lock(session).token, 0)
        other, wants = self.opened()
        self.assert_failed("EBUSY", other.lock, wants, SHARED)

    def test_up_waits_for_the_others_and_before_those_who_wait(self):
        one, s1 = self.holder(SHARED)
        two, s2 = self.holder(SHARED)
        third, s3 = self.opened()
        behind = third.queue_lock(s3)
        self.assert_failed("EBUSY", one.lock, s1)
        upgrade = one.queue_lock(s1)
        self.assertEqual(one.get_info(s1).lock, SHARED)
        two.unlock(s2)
        self.assertGreater(self.assert_granted_soon(one, upgrade).token, 0)
        self.assertTrue(third.still_waits(behind))
        one.unlock(s1)
        self.assert_granted_soon(third, behind)

    def test_up_that_times_out_leaves_the_shared_one(self):
        one, s1 = self.holder(SHARED)
        two, s2 = self.holder(SHARED)
        self.assert_failed("ETIMEDOUT", one.lock, s1, wait_ms=100)
        self.assertEqual(one.get_info(s1).lock, SHARED)
        third, s3 = self.opened()
        third.lock(s3, SHARED)
        two.unlock(s2)
        third.unlock(s3)
        one.lock(s1)

    def test_two_that_want_up(self):
        one, s1 = self.holder(SHARED)
        two, s2 = self.holder(SHARED)
        upgrade = one.queue_lock(s1)
        self.assert_failed("EDEADLK", two.lock, s2, wait_ms=FOREVER)
        self.assertEqual(two.get_info(s2).lock, SHARED)
        two.unlock(s2)
        self.assert_granted_soon(one, upgrade)

    def test_down_lets_those_in_who_share(self):
        holder, held = self.holder()
        readers = [self.opened() for _ in range(3)]
        requests = [client.queue_lock(session, SHARED) for client, session in readers]
        writer, w = self.opened()
        writing = writer.queue_lock(w)
        self.assertEqual(holder.lock(held, SHARED).mode, SHARED)
        for (client, _), request in zip(readers, requests):
            self.assert_granted_soon(client, request)
        self.assertEqual(holder.get_info(held).token, 0)
        self.assertTrue(writer.still_waits(writing))
        holder.close()
        for client, session in readers:
            client.unlock(session)
        self.assert_granted_soon(writer, writing)


class Deadlock(locking.LockTest):
    def setUp(self):
        super().setUp()
        self.second = self.image("second.img")
        self.one, self.two = self.client(), self.client()

    def cross(self):
        """Each holds one and the first waits for the other's: (first's wait, its sessions, the
        second's sessions)."""
        mine = [self.one.open_path(path) for path in (self.path, self.second)]
        its = [self.two.open_path(path) for path in (self.path, self.second)]
        self.one.lock(mine[0])
        self.two.lock(its[1])
        return self.one.queue_lock(mine[1]), mine, its

    def test_over_two_devices(self):
        wait, _, its = self.cross()
        self.assert_failed("EDEADLK", self.two.lock, its[0], wait_ms=FOREVER)
        self.assert_failed("EDEADLK", self.two.lock, its[0], SHARED, wait_ms=5000)
        self.assert_failed("EBUSY", self.two.lock, its[0])
        self.assertTrue(self.one.still_waits(wait))
        self.two.unlock(its[1])
        self.assert_granted_soon(self.one, wait)

    def test_none_after_the_wait_was_given_up(self):
        wait, mine, its = self.cross()
        self.one.close_session(mine[1])
        self.assert_refused("ECANCELED", self.one, wait)
        request = self.two.queue_lock(its[0])
        self.one.unlock(mine[0])
        self.assert_granted_soon(self.two, request)

    def test_of_ranges(self):
        a, b = self.one.open_path(self.path), self.two.open_path(self.path)
        self.one.lock(a, **FIRST)
        self.two.lock(b, **SECOND)
        wait = self.one.queue_lock(a, **SECOND)
        self.assert_failed("EDEADLK", self.two.lock, b, wait_ms=FOREVER, **FIRST)
        self.two.unlock(b)
        self.assert_granted_soon(self.one, wait)

    def test_over_three(self):
        third = self.client()
        paths = [self.path, self.second, self.image("third.img")]
        clients = [self.one, self.two, third]
        sessions = [[c.open_path(path) for path in paths] for c in clients]
        for number, client in enumerate(clients):
            client.lock(sessions[number][number])
        first = self.one.queue_lock(sessions[0][1])
        second = self.two.queue_lock(sessions[1][2])
        self.assert_failed("EDEADLK", third.lock, sessions[2][0], wait_ms=FOREVER)
        third.close()
        self.assert_granted_soon(self.two, second)
        self.two.close()
        self.assert_granted_soon(self.one, first)


if __name__ == "__main__":
    unittest.main()
