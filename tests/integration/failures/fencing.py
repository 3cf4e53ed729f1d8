#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Tokens, broken locks and sessions thrown out (contract L5, L6)."""

import os
import signal
import unittest

import faults
import locking
import support
from locking import EXCLUSIVE, FOREVER, SHARED
from support import KIB, SECTOR, pb, wire

FIRST = {"offset_bytes": 0, "length_bytes": 4 * KIB}
SECOND = {"offset_bytes": 4 * KIB, "length_bytes": 4 * KIB}
OLD, NEW = b"o" * SECTOR, b"n" * SECTOR


class Tokens(locking.LockTest):
    ROUNDS = 50

    def grants(self, client, session):
        for number in range(self.ROUNDS):
            yield client.lock(session, offset_bytes=number * KIB, length_bytes=KIB).token
        client.unlock(session)
        yield client.lock(session).token
        client.lock(session, SHARED)
        yield client.lock(session).token

    def test_they_grow_over_restarts_and_deaths(self):
        tokens = []
        for end in ("stop", "kill", "kill", "stop", "kill"):
            one, s1 = self.opened()
            two, s2 = self.opened(self.image("second.img"))
            for pair in zip(self.grants(one, s1), self.grants(two, s2)):
                tokens += pair
            one.close()
            two.close()
            getattr(self.daemon, end)()
            self.daemon = self.start_daemon(self.config, directory=self.daemon.directory)
        self.assertEqual(tokens, sorted(set(tokens)))
        self.assertGreater(tokens[0], 0)

    def test_shared_locks_have_none(self):
        client, session = self.opened()
        self.assertEqual(client.lock(session, SHARED).token, 0)
        self.assertEqual(client.get_info(session).token, 0)

    def test_that_of_a_lock_at_open_is_in_the_info(self):
        client, session = self.opened(lock=True)
        token = client.get_info(session).token
        client.close_session(session)
        self.assertGreater(client.get_info(client.open_path(self.path, lock=True)).token, token)


class Breaking(locking.LockTest):
    def test_a_stopped_holder_is_fenced_off(self):
        def child(report):
            client = locking.Client(self.daemon)
            session = client.open_path(self.path)
            token = client.lock(session).token
            client.write(session, 0, OLD)
            report(b"holds")
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                client.write(session, 0, OLD)
                report(b"written")
            except wire.Failed as failure:
                report(failure.status.encode())
            client.unlock(session)
            lost = client.wait_event("lock_lost")
            report(b" lost" if lost.session == session else b" wrong session")
            report(b" more" if client.lock(session, wait_ms=FOREVER).token > token else b" less")
            client.write(session, SECTOR, OLD)
            client.close_session(session)
            os._exit(0)

        pid, read_end = support.fork_client(child)
        self.addCleanup(os.close, read_end)
        self.assertEqual(os.read(read_end, 16), b"holds")
        support.wait_until(lambda: support.process_state(pid) == "T", "the holder is stopped")
        heir, session = self.opened()
        waits = heir.queue_lock(session)
        administrator = self.client()
        device = self.number_of_device(heir, session)
        self.assertEqual(administrator.break_locks(device), 1)
        self.assert_granted_soon(heir, waits)
        heir.write(session, 0, NEW)
        os.kill(pid, signal.SIGCONT)
        said = os.read(read_end, 64)
        support.wait_until(lambda: b"ESTALE" in said, f"refused, not {said!r}", 1)
        support.wait_until(lambda: len(heir.sessions()) == 2, "both are there")
        self.assertEqual(heir.read(session, 0, 2 * SECTOR), NEW + bytes(SECTOR))
        heir.unlock(session)
        while piece := os.read(read_end, 64):
            said += piece
        self.assertEqual(said, b"ESTALE lost more")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.assertEqual(heir.read(session, 0, 2 * SECTOR), NEW + OLD)
        self.daemon.wait_log("locks-broken")
        self.daemon.wait_log("lock-lost")

    def broken(self, **lock):
        holder, held = self.opened()
        holder.lock(held, **lock)
        self.client().break_locks(self.number_of_device(holder, held))
        return holder, held

    def changes(self, client, session):
        yield lambda: client.write(session, 0, OLD)
        yield lambda: client.discard(session, 0, SECTOR)
        yield lambda: client.zero(session, 0, SECTOR)
        yield lambda: client.resize(session, 64 * KIB)

    def test_every_change_is_refused_until_it_unlocks(self):
        holder, held = self.broken()
        lost = holder.wait_event("lock_lost")
        self.assertEqual((lost.session, lost.lock_lost.locks), (held, 1))
        self.assertEqual(lost.lock_lost.reason, pb.LockLost.REASON_BROKEN)
        info = holder.get_info(held)
        self.assertEqual((info.lock, info.token, info.lock_lost), (pb.LOCK_MODE_NONE, 0, True))
        for change in self.changes(holder, held):
            self.assert_failed("ESTALE", change)
        self.assertEqual(holder.read(held, 0, SECTOR), bytes(SECTOR))
        holder.unlock(held)
        self.assertFalse(holder.get_info(held).lock_lost)
        holder.write(held, 0, OLD)

    def test_until_it_locks_anew(self):
        for mode in (SHARED, EXCLUSIVE):
            holder, held = self.broken()
            self.assert_failed("ESTALE", holder.write, held, 0, OLD)
            holder.lock(held, mode)
            holder.write(held, 0, OLD)
            holder.close_session(held)

    def test_one_of_several_ranges_is_not_the_others(self):
        """An old holder that goes on does not know yet, whatever it does with one of them."""
        holder, held = self.opened()
        holder.lock(held, **FIRST)
        holder.lock(held, **SECOND)
        self.client().break_locks(self.number_of_device(holder, held))
        holder.unlock(held, **SECOND)
        self.assert_failed("ESTALE", holder.write, held, 0, OLD)
        holder.lock(held, **SECOND)
        self.assert_failed("ESTALE", holder.write, held, 0, OLD)
        holder.lock(held, offset_bytes=64 * KIB, length_bytes=KIB)
        self.assert_failed("ESTALE", holder.write, held, 0, OLD)
        holder.unlock(held, offset_bytes=0, length_bytes=8 * KIB)
        holder.write(held, 0, OLD)

    def test_a_refused_lock_is_no_notice(self):
        holder, held = self.broken()
        other, session = self.holder(SHARED)
        self.assert_failed("EBUSY", holder.lock, held)
        self.assert_failed("ESTALE", holder.write, held, 0, OLD)

    def test_a_broken_shared_lock_counts_as_well(self):
        holder, held = self.broken(mode=SHARED)
        self.assert_failed("ESTALE", holder.write, held, 0, OLD)

    def test_of_one_session(self):
        one, s1 = self.opened()
        two, s2 = self.opened()
        for number in range(3):
            one.lock(s1, offset_bytes=number * KIB, length_bytes=KIB)
        two.lock(s2, offset_bytes=64 * KIB, length_bytes=KIB)
        device = self.number_of_device(one, s1)
        self.assertEqual(self.client().break_locks(device, session=s1), 3)
        self.assert_failed("ESTALE", one.write, s1, 0, OLD)
        two.write(s2, 64 * KIB, OLD)
        self.assertEqual(one.wait_event("lock_lost").lock_lost.locks, 3)

    def test_nothing_to_break(self):
        one, s1 = self.opened()
        two, s2 = self.holder()
        administrator = self.client()
        self.assertEqual(administrator.break_locks(self.number_of_device(one, s1), session=s1), 0)
        two.write(s2, 0, OLD)
        two.unlock(s2)
        self.assertEqual(administrator.break_locks(self.number_of_device(one, s1)), 0)
        one.write(s1, 0, OLD)
        self.assert_failed("ENODEV", administrator.break_locks, 4711)

    def test_an_upgrade_that_waits(self):
        one, s1 = self.holder(SHARED)
        two, s2 = self.holder(SHARED)
        upgrade = one.queue_lock(s1)
        self.assertEqual(self.client().break_locks(self.number_of_device(one, s1), session=s1), 1)
        self.assert_refused("ESTALE", one, upgrade)
        self.assert_failed("ESTALE", one.write, s1, 0, OLD)
        two.lock(s2)

    def test_a_request_that_waits_for_a_new_lock_goes_on(self):
        self.holder()
        waiter, session = self.opened()
        request = waiter.queue_lock(session)
        self.client().break_locks(self.number_of_device(waiter, session))
        self.assert_granted_soon(waiter, request)
        waiter.write(session, 0, NEW)

    @support.needs_root
    def test_not_by_everybody(self):
        holder, held = self.holder()
        device = self.number_of_device(holder, held)

        def tries(function):
            with locking.Client(self.daemon) as client:
                function(client)

        for function in (lambda client: client.break_locks(device),
                         lambda client: client.break_locks(4711),
                         lambda client: client.evict(held),
                         lambda client: client.evict(4711)):
            answer = locking.run_as_nobody(self, lambda function=function: tries(function))
            self.assertTrue(answer.startswith("EPERM"), answer)
        holder.write(held, 0, OLD)


class InFlight(locking.LockTest):
    """Locks broken while what their holders write is in the engine, for DELAY_SECONDS."""

    DELAY_SECONDS = 1
    rules = "write@1=delay:1s"

    def start_daemon(self, config="", **more):
        with faults.engine(self.rules):
            return super().start_daemon("[daemon]\nworkers = 1\n", **more)

    def setUp(self):
        super().setUp()
        self.holder_client, self.held = self.opened()
        self.administrator = self.client()
        self.device = self.number_of_device(self.holder_client, self.held)

    def begin_write(self):
        write = self.holder_client.start_write(self.held, 0, OLD)
        support.wait_until(lambda: self.administrator.devices()[0].in_flight == 1,
                           "the write is in flight")
        return write

    def start_break(self, **more):
        request = self.administrator.start("break_lock", pb.BreakLock(device=self.device, **more))
        self.administrator.ping()
        return request

    def test_breaking_waits_for_it(self):
        self.holder_client.lock(self.held)
        heir, session = self.opened()
        waits = heir.queue_lock(session)
        write = self.begin_write()
        request = self.start_break()
        self.assert_failed("ESTALE", self.holder_client.write, self.held, SECTOR, OLD)
        self.assertNotIn(write, self.holder_client.replies, "the write is over already")
        self.assertTrue(heir.still_waits(waits))
        self.assertNotIn(request, self.administrator.replies)
        heir.finish(waits)
        self.assertEqual(heir.read(session, 0, SECTOR), OLD, "it landed under the next one's lock")
        self.assertEqual(self.administrator.finish(request)[0].break_lock.broken, 1)
        self.holder_client.finish(write)

    def test_a_limit_on_that(self):
        self.holder_client.lock(self.held)
        heir, session = self.opened()
        waits = heir.queue_lock(session)
        write = self.begin_write()
        message = self.assert_failed("ETIMEDOUT", self.administrator.break_locks, self.device,
                                     wait_ms=100)
        self.assertIn("1 request", message)
        self.assertTrue(heir.still_waits(waits))
        self.assert_failed("ESTALE", self.holder_client.write, self.held, SECTOR, OLD)
        heir.finish(waits)  # it falls all the same
        self.assertEqual(heir.read(session, 0, SECTOR), OLD)
        self.holder_client.finish(write)
        self.holder_client.wait_event("lock_lost")

    def test_the_one_who_asked_goes_away(self):
        self.holder_client.lock(self.held)
        heir, session = self.opened()
        waits = heir.queue_lock(session)
        self.begin_write()
        self.start_break()
        self.administrator.close()
        heir.finish(waits)
        self.assertEqual(heir.read(session, 0, SECTOR), OLD)

    def test_locking_more_meanwhile_is_no_notice(self):
        """What is being broken is broken whatever the holder does; what it takes meanwhile is its own
        when it has taken notice."""
        self.holder_client.lock(self.held, **FIRST)
        write = self.begin_write()
        request = self.start_break()
        lock = self.holder_client.start_lock(self.held, wait_ms=0, **SECOND)
        refused = 0
        while write not in self.holder_client.replies:
            self.assert_failed("ESTALE", self.holder_client.write, self.held, SECTOR, OLD)
            refused += 1
        self.assertGreater(refused, 1)
        self.assertEqual(self.administrator.finish(request)[0].break_lock.broken, 1)
        self.holder_client.finish(lock)
        for offset in (0, 4 * KIB):
            self.assert_failed("ESTALE", self.holder_client.write, self.held, offset, OLD)
        other, session = self.opened()
        other.lock(session, **FIRST)
        self.assert_failed("EBUSY", other.lock, session, **SECOND)
        self.holder_client.unlock(self.held, **FIRST)
        self.holder_client.write(self.held, 4 * KIB, OLD)

    def test_unlocking_a_part_meanwhile_is_no_notice(self):
        self.holder_client.lock(self.held, **FIRST)
        self.holder_client.lock(self.held, **SECOND)
        write = self.begin_write()
        request = self.start_break()
        unlock = self.holder_client.start("unlock", pb.Unlock(session=self.held, **SECOND))
        self.holder_client.finish(write)
        self.administrator.finish(request)
        self.holder_client.wait(unlock)
        self.assert_failed("ESTALE", self.holder_client.write, self.held, SECTOR, OLD)

    def test_who_comes_meanwhile_keeps_its_lock(self):
        """Its I/O has not been waited for, and nobody has looked at it when the breaking was asked."""
        self.holder_client.lock(self.held, **FIRST)
        self.begin_write()
        request = self.start_break()
        late, session = self.opened()
        late.lock(session, **SECOND)
        self.assertEqual(self.administrator.finish(request)[0].break_lock.broken, 1)
        late.write(session, 4 * KIB, NEW)
        self.assertEqual(late.get_info(session).lock, EXCLUSIVE)

    def test_an_eviction_waits_for_it(self):
        self.holder_client.lock(self.held)
        heir, session = self.opened()
        waits = heir.queue_lock(session)
        self.begin_write()
        request = self.administrator.start("evict", pb.Evict(session=self.held))
        self.administrator.ping()
        self.assertTrue(heir.still_waits(waits))
        self.assert_failed("EBADF", self.holder_client.write, self.held, SECTOR, OLD)
        self.assertNotIn(request, self.administrator.replies)
        heir.finish(waits)
        self.assertEqual(heir.read(session, 0, SECTOR), OLD)
        self.administrator.finish(request)


class Eviction(locking.LockTest):
    def test_of_a_holder(self):
        holder, held = self.holder()
        other = holder.open_path(self.image("other.img"))
        waiter, session = self.opened()
        waits = waiter.queue_lock(session)
        administrator = self.client()
        administrator.evict(held)
        self.assertNotIn(held, [entry.session for entry in administrator.sessions()])
        self.assert_granted_soon(waiter, waits)
        self.assertEqual(holder.wait_event("evicted").session, held)
        self.assert_failed("EBADF", holder.write, held, 0, OLD)
        self.assert_failed("EBADF", holder.lock, held)
        holder.write(other, 0, OLD)
        self.assert_failed("ENOENT", administrator.evict, held)
        self.daemon.wait_log("session-evicted")
        holder.open_path(self.path)

    def test_of_a_waiter(self):
        holder, held = self.holder()
        waiter, session = self.opened()
        waits = waiter.queue_lock(session)
        behind, last = self.opened()
        next_waits = behind.queue_lock(last)
        self.client().evict(session)
        self.assert_refused("ECANCELED", waiter, waits)
        self.assertEqual(waiter.wait_event("evicted").session, session)
        holder.unlock(held)
        self.assert_granted_soon(behind, next_waits)

    def test_of_a_client_that_is_stopped(self):
        def child(report):
            client = locking.Client(self.daemon)
            session = client.open_path(self.path)
            client.lock(session)
            report(str(session).encode())
            client.receive()

        pid, read_end = support.fork_client(child)
        try:
            session = int(os.read(read_end, 16))
            os.kill(pid, signal.SIGSTOP)
            support.wait_until(lambda: support.process_state(pid) == "T", "the holder is stopped")
            heir, heirs = self.opened()
            waits = heir.queue_lock(heirs)
            self.assert_within(1, "the eviction", self.client().evict, session)
            self.assert_granted_soon(heir, waits)
        finally:
            support.kill_client(pid, read_end)

    def test_of_oneself(self):
        client, session = self.holder()
        client.evict(session)
        self.assertEqual(client.wait_event("evicted").session, session)
        client.ping()


if __name__ == "__main__":
    unittest.main()
