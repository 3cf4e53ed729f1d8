#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Locks among the daemon's own sessions (CONTRACT L1, L2, L4, L5, L7)."""

import os
import time
import unittest
from unittest import mock

import locking
import support
from locking import EXCLUSIVE, FOREVER, SHARED
from support import KIB, MIB, SECTOR, pb, wire

WHOLE = {}
FIRST = {"offset_bytes": 0, "length_bytes": 4 * KIB}
SECOND = {"offset_bytes": 4 * KIB, "length_bytes": 4 * KIB}
BOTH = {"offset_bytes": 0, "length_bytes": 8 * KIB}
DATA = b"d" * SECTOR


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


class Endings(locking.LockTest):
    """Whoever goes, the queue goes on."""

    def queue_of_three(self, middle):
        """The holder, the one in the middle of the queue, the last one with its request."""
        holder, held = self.holder()
        first, f = self.opened()
        waits = first.queue_lock(f)
        session, request = middle()
        last, z = self.opened()
        behind = last.queue_lock(z)
        return (holder, held), (first, f, waits), (session, request), (last, behind)

    def check_rest(self, queue):
        (holder, held), (first, f, waits), _, (last, behind) = queue
        holder.unlock(held)
        self.assert_granted_soon(first, waits)
        first.unlock(f)
        self.assert_granted_soon(last, behind)

    def test_a_waiter_is_killed(self):
        def waits_in_child():
            def child(report):
                client = locking.Client(self.daemon)
                session = client.open_path(self.path)
                client.queue_lock(session)
                report(b"waits")
                client.receive()
            pid, read_end = support.fork_client(child)
            self.assertEqual(os.read(read_end, 16), b"waits")
            return pid, read_end

        queue = self.queue_of_three(waits_in_child)
        support.kill_client(*queue[2])
        support.wait_until(lambda: len(queue[3][0].sessions()) == 3, "its session is gone")
        self.check_rest(queue)

    def test_a_waiter_closes_its_session(self):
        client = self.client()

        def waits():
            session = client.open_path(self.path)
            return session, client.queue_lock(session)

        queue = self.queue_of_three(waits)
        session, request = queue[2]
        client.close_session(session)
        self.assert_refused("ECANCELED", client, request)
        self.check_rest(queue)

    def test_a_waiter_is_evicted(self):
        client = self.client()

        def waits():
            session = client.open_path(self.path)
            return session, client.queue_lock(session)

        queue = self.queue_of_three(waits)
        session, request = queue[2]
        self.client().evict(session)
        self.assert_refused("ECANCELED", client, request)
        self.assertEqual(client.wait_event("evicted").session, session)
        self.check_rest(queue)

    def test_the_holder_is_killed(self):
        def child(report):
            client = locking.Client(self.daemon)
            client.lock(client.open_path(self.path))
            report(b"holds")
            client.receive()
        pid, read_end = support.fork_client(child)
        self.assertEqual(os.read(read_end, 16), b"holds")
        waiter, session = self.opened()
        request = waiter.queue_lock(session)
        support.kill_client(pid, read_end)
        self.assert_granted_soon(waiter, request)

    def test_the_holder_closes(self):
        holder, held = self.holder()
        waiter, session = self.opened()
        request = waiter.queue_lock(session)
        holder.close_session(held)
        self.assert_granted_soon(waiter, request)

    def test_a_killed_upgrader_gives_up_both(self):
        def child(report):
            client = locking.Client(self.daemon)
            session = client.open_path(self.path)
            client.lock(session, SHARED)
            client.start_lock(session, EXCLUSIVE)
            client.ping()
            report(b"waits")
            client.receive()
        one, s1 = self.holder(SHARED)
        pid, read_end = support.fork_client(child)
        self.assertEqual(os.read(read_end, 16), b"waits")
        self.assert_failed("EBUSY", self.holder, SHARED)
        support.kill_client(pid, read_end)
        support.wait_until(lambda: len(one.sessions()) == 2, "it is gone")  # the refused one stays
        one.lock(s1)

    def test_a_stopped_daemon_leaves_nobody_waiting(self):
        self.holder()
        waiter, session = self.opened()
        waiter.queue_lock(session)
        self.daemon.stop()
        self.daemon = None
        waiter.wait_closed()


class Fault(locking.LockTest):
    DELAY_SECONDS = 0.5
    rules = "write@1=delay:500ms"

    def start_daemon(self, config="", **more):
        with mock.patch.dict(os.environ, BLKD_ENGINE=locking.engine_with_faults(self.rules)):
            return super().start_daemon("[daemon]\nworkers = 1\n", **more)

    def writing(self, client, session, offset=0):
        """A write that is in flight, which the engine delays."""
        data = b"w" * 4 * KIB
        write = client.start_write(session, offset, data)
        support.wait_until(lambda: client.devices()[0].in_flight == 1, "the write is in flight")
        return write, data


class InFlight(Fault):
    def test_a_grant_comes_after_what_others_write(self):
        writer, s1 = self.opened()
        locker, s2 = self.opened()
        write, data = self.writing(writer, s1)
        lock = locker.start_lock(s2)
        self.assertTrue(locker.still_waits(lock))
        locker.finish(lock)
        self.assertEqual(locker.read(s2, 0, len(data)), data, "it landed under the lock")
        self.assert_failed("EBUSY", writer.write, s1, 64 * KIB, DATA)
        writer.finish(write)

    def test_a_shared_grant_comes_after_what_others_write(self):
        writer, s1 = self.opened()
        locker, s2 = self.opened()
        write, data = self.writing(writer, s1)
        locker.lock(s2, SHARED)
        self.assertEqual(locker.read(s2, 0, len(data)), data, "it landed under the lock")
        writer.finish(write)

    def check_released_after(self, release):
        holder, held = self.holder()
        waiter, session = self.opened()
        request = waiter.queue_lock(session)
        write, data = self.writing(holder, held)
        release(holder, held)
        self.assertTrue(waiter.still_waits(request), "it has the lock while the other one writes")
        waiter.finish(request)
        self.assertEqual(waiter.read(session, 0, len(data)), data, "it landed under the lock")
        return holder, write

    def test_an_unlock_comes_after_own_writes(self):
        holder, write = self.check_released_after(
            lambda client, session: client.start("unlock", pb.Unlock(session=session)))
        holder.finish(write)

    def test_a_close_comes_after_own_writes(self):
        holder, write = self.check_released_after(
            lambda client, session: client.start("close", pb.Close(session=session)))
        holder.finish(write)

    def test_a_dead_holders_lock_falls_after_its_writes(self):
        self.check_released_after(lambda client, session: client.close())

    def test_a_downgrade_comes_after_own_writes(self):
        holder, held = self.holder()
        waiter, session = self.opened()
        request = waiter.queue_lock(session, SHARED)
        write, data = self.writing(holder, held)
        down = holder.start_lock(held, SHARED)
        self.assertTrue(waiter.still_waits(request), "it has the lock while the other one writes")
        waiter.finish(request)
        self.assertEqual(waiter.read(session, 0, len(data)), data, "it landed under the lock")
        holder.finish(write)
        holder.finish(down)


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
