#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How locks end (contract L7): whoever goes, the queue goes on, and nobody is granted a lock before the
writes of the one before have landed."""

import os
import unittest

import faults
import locking
import support
from locking import DATA, EXCLUSIVE, SHARED
from support import KIB, pb


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
        with faults.engine(self.rules):
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


if __name__ == "__main__":
    unittest.main()
