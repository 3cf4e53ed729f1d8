#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Watchers: what they are told, in which order, and how they end."""

import os
import unittest

import faults
import support
from support import KIB, MIB, SECTOR, pb, wire
from watchers import WHAT, Watcher, WatchTest, names, other_user

WATCHERS_PER_USER = 256


class Told(WatchTest):
    def test_a_session_from_its_opening_to_its_end(self):
        watcher, client = self.watcher(), self.client()
        path = self.image()
        session = client.open_path(path, purpose="a backup")
        client.close_session(session)
        opened, closed, device_closed = [watcher.next() for _ in range(3)]
        self.assertEqual(names([opened, closed, device_closed]),
                         ["SESSION_OPENED", "SESSION_CLOSED", "DEVICE_CLOSED"])
        for happening in opened, closed:
            self.assertEqual(happening.session, session)
            self.assertEqual(happening.path, os.fsencode(path))
            self.assertEqual((happening.pid, happening.uid), (os.getpid(), os.geteuid()))
            self.assertEqual(happening.purpose, "a backup")
            with open("/proc/self/comm", encoding="utf-8") as comm:
                self.assertEqual(happening.command, comm.read().rstrip())
        self.assertEqual(device_closed.session, 0)
        self.assertEqual(device_closed.path, os.fsencode(path))
        self.assertEqual({h.device for h in (opened, closed, device_closed)}, {opened.device})
        self.assertGreater(opened.unix_ms, 1600000000000)
        self.assertLessEqual(opened.unix_ms, closed.unix_ms)
        self.assertEqual(watcher.untold, 0)

    def test_a_client_that_is_gone(self):
        watcher, client = self.watcher(), self.client()
        session = client.open_path(self.image(), lock=True)
        self.assertEqual(sorted(names(watcher.next() for _ in range(2))),
                         ["LOCK_GRANTED", "SESSION_OPENED"])
        client.close()
        seen = [watcher.next() for _ in range(3)]
        self.assertEqual(names(seen), ["LOCK_RELEASED", "SESSION_CLOSED", "DEVICE_CLOSED"])
        self.assertEqual(seen[1].session, session)

    def test_locks(self):
        holder, waiter = self.client(), self.client()
        path = self.image()
        held, waits = holder.open_path(path, purpose="holds"), waiter.open_path(path)
        watcher = self.watcher()
        first = self.lock(holder, held, offset_bytes=4 * KIB, length_bytes=8 * KIB)
        request = waiter.start("lock", pb.Lock(session=waits, mode=pb.LOCK_MODE_EXCLUSIVE,
                                               wait_ms=pb.LOCK_WAIT_FOREVER, purpose="wants"))
        granted, waiting = watcher.next(), watcher.next()
        self.unlock(holder, held)
        second, _ = waiter.finish(request)
        released, then = watcher.next(), watcher.next()
        self.assertEqual(names([granted, waiting, released, then]),
                         ["LOCK_GRANTED", "LOCK_WAITS", "LOCK_RELEASED", "LOCK_GRANTED"])
        self.assertEqual([h.session for h in (granted, waiting, released, then)],
                         [held, waits, held, waits])
        for happening in granted, released:
            self.assertEqual((happening.offset_bytes, happening.length_bytes), (4 * KIB, 8 * KIB))
        for happening in waiting, then:
            self.assertEqual((happening.offset_bytes, happening.length_bytes), (0, 0))
            self.assertEqual(happening.purpose, "wants")
        self.assertEqual(granted.token, first.token)
        self.assertEqual(then.token, second.lock.token)
        self.assertGreater(then.token, first.token)
        self.assertEqual({h.mode for h in (granted, waiting, released, then)},
                         {pb.LOCK_MODE_EXCLUSIVE})
        self.assertEqual(watcher.until(self.mark()), [])

    def test_a_lock_that_is_handed_on(self):
        """However it goes from one worker to another, nobody is told that two have it."""
        clients = [self.client() for _ in range(3)]
        path = self.image()
        sessions = [client.open_path(path) for client in clients]
        watcher = self.watcher()
        where = {"offset_bytes": 0, "length_bytes": SECTOR}
        for _ in range(20):
            for client, session in zip(clients, sessions):
                client.start("lock", pb.Lock(session=session, mode=pb.LOCK_MODE_EXCLUSIVE,
                                             wait_ms=pb.LOCK_WAIT_FOREVER, **where))
            for _ in clients:
                while True:
                    happening = watcher.next()
                    if happening.what == WHAT.WHAT_LOCK_GRANTED:
                        break
                holder = sessions.index(happening.session)
                self.unlock(clients[holder], sessions[holder], **where)
                while True:
                    released = watcher.next()
                    self.assertNotEqual(released.what, WHAT.WHAT_LOCK_GRANTED)
                    if released.what == WHAT.WHAT_LOCK_RELEASED:
                        break
                self.assertEqual((released.session, released.token),
                                 (happening.session, happening.token))

    def test_resize(self):
        client = self.client()
        session = client.open_path(self.image(size=MIB))
        watcher = self.watcher()
        client.resize(session, 3 * MIB)
        resized = watcher.next()
        self.assertEqual(names([resized]), ["RESIZED"])
        self.assertEqual((resized.session, resized.size_bytes), (session, 3 * MIB))
        self.assertEqual(resized.generation, client.get_info(session).generation)

    @support.needs_root
    def test_what_an_administrator_does(self):
        client, admin = self.client(), self.client()
        session = client.open_path(self.image(), lock=True)
        watcher = self.watcher()
        admin.call("break_lock", pb.BreakLock(session=session,
                                              device=admin.devices()[0].device, wait_ms=10000))
        self.assertEqual(names([watcher.next()]), ["LOCK_LOST"])
        admin.call("evict", pb.Evict(session=session))
        self.assertEqual([name for name in names(watcher.until(self.mark()))
                          if name != "DEVICE_CLOSED"], ["EVICTED"])

    def test_two_watchers_are_told_the_same(self):
        watchers = [self.watcher() for _ in range(2)]
        client, other = self.client(), self.client()
        path = self.image()
        for _ in range(20):
            ids = [c.start("open", pb.Open(config=pb.Config(path=os.fsencode(path))))
                   for c in (client, other)]
            sessions = [c.finish(i)[0].open.session for c, i in zip((client, other), ids)]
            for c, session in zip((client, other), sessions):
                c.start("close", pb.Close(session=session))
            client.ping()
            other.ping()
        mark = self.mark()
        seen = [watcher.until(mark) for watcher in watchers]
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(names(seen[0]).count("SESSION_OPENED"), 40)

    def test_watching_twice_is_the_same_as_once(self):
        watcher = self.watcher()
        watcher.watch()
        self.assertEqual(watcher.until(self.mark()), [])
        self.assertEqual(watcher.until(self.mark()), [])

    def test_stop(self):
        watcher, other = self.watcher(), self.watcher()
        watcher.watch(stop=True)
        watcher.watch(stop=True)
        mark = self.mark()
        other.until(mark)
        watcher.ping()
        self.assertEqual(watcher.events, [])
        watcher.watch()
        self.assertEqual(watcher.until(self.mark()), [])

    def test_one_that_only_stops(self):
        client = self.client()
        client.call("watch", pb.Watch(stop=True))
        client.ping()

    def test_its_own_sessions(self):
        """Events of its sessions and of what it watches share one numbering."""
        watcher, client = self.watcher(), self.client()
        path = self.image()
        own = watcher.open_path(path)
        session = client.open_path(path)
        client.resize(session, 2 * MIB)
        events = {}
        while "resized" not in events or events["happening"].what != WHAT.WHAT_RESIZED:
            reply, _ = watcher.receive()
            self.assertEqual(reply.id, 0)
            event = reply.event
            watcher.events.append(event)
            events[event.WhichOneof("what")] = getattr(event, event.WhichOneof("what"))
        self.assertEqual([e.sequence for e in watcher.events],
                         list(range(1, len(watcher.events) + 1)))
        self.assertEqual([e.session for e in watcher.events if e.WhichOneof("what") == "resized"],
                         [own])

    def test_names_that_are_no_text(self):
        watcher, client = self.watcher(), self.client()
        path = self.image("odd-\udcff.img")
        client.open_path(path)
        self.assertEqual(watcher.next().path, os.fsencode(path))


class Ending(WatchTest):
    def test_killed_watchers(self):
        client = self.client()
        session = client.open_path(self.image())
        self.lock_often(client, session, 1)
        descriptors = self.daemon.descriptors()

        def child(report):
            watcher = Watcher(self.daemon)
            report(b"x")
            while True:
                watcher.next()

        for _ in range(20):
            killed = [support.fork_client(child) for _ in range(2)]
            for _, read_end in killed:
                self.assertEqual(os.read(read_end, 1), b"x", self.daemon.log())
            requests = [client.start(operation, message)
                        for _ in range(50)
                        for operation, message in (
                            ("lock", pb.Lock(session=session, mode=pb.LOCK_MODE_EXCLUSIVE)),
                            ("unlock", pb.Unlock(session=session)))]
            for pid, read_end in killed:
                support.kill_client(pid, read_end)
            for request in requests:
                client.wait(request)
        self.unlock(client, session)
        self.wait_descriptors(descriptors)

    def test_the_daemon_stops_while_they_watch(self):
        watcher, stalled, client = self.watcher(), self.watcher(), self.client()
        session = client.open_path(self.image())
        self.lock_often(client, session, 1000)
        self.daemon.stop()
        self.daemon = None
        self.assertIsNone(watcher.wait_closed())
        self.assertIsNone(stalled.wait_closed())

    def test_a_user_may_watch_only_so_often(self):
        watchers = [self.watcher() for _ in range(WATCHERS_PER_USER)]
        late = self.client()
        message = self.assert_failed("EDQUOT", late.call, "watch", pb.Watch())
        self.assertIn(str(WATCHERS_PER_USER), message)
        watchers[0].watch(stop=True)
        late.call("watch", pb.Watch())
        self.assert_failed("EDQUOT", watchers[0].watch)
        watchers[1].close()
        support.wait_until(lambda: self.may_watch(watchers[0]), "another may watch")
        self.assertEqual(names(watchers[2].until(self.mark())), [])

    @staticmethod
    def may_watch(watcher):
        try:
            watcher.watch()
            return True
        except wire.Failed:
            return False


class FailedSync(WatchTest):
    def setUp(self):
        with faults.engine("sync@1=EIO"):
            super().setUp()

    def fail(self, path):
        client = self.client()
        session = client.open_path(path)
        client.write(session, 0, bytes(SECTOR))
        self.assert_failed("EIO", client.flush, session)
        return client, session

    def test_is_told_with_its_recovery(self):
        watcher, path = self.watcher(), self.image()
        client, session = self.fail(path)
        self.assertEqual(watcher.until(session), [])
        failed = watcher.next()
        self.assertEqual(names([failed]), ["SYNC_FAILED"])
        self.assertEqual((failed.session, failed.status), (0, pb.STATUS_EIO))
        self.assertEqual(failed.path, os.fsencode(path))
        client.close_session(session)
        reply, _ = client.call("recover", pb.Recover(path=os.fsencode(path)))
        closed, recovered, device_closed = [watcher.next() for _ in range(3)]
        self.assertEqual(names([closed, recovered, device_closed]),
                         ["SESSION_CLOSED", "RECOVERED", "DEVICE_CLOSED"])
        self.assertEqual(recovered.generation, reply.recover.generation)
        self.assertEqual(recovered.device, failed.device)

    @support.needs_root
    def test_is_told_the_unprivileged_by_their_own_name(self):
        self.let_others_in()
        with other_user():
            watcher = self.watcher()
        path = self.image()
        with open(path, "r+b") as file:
            own = watcher.open(b"my name", descriptor=file.fileno()).session
        client, session = self.fail(path)
        opened, opened_too, failed = [watcher.next() for _ in range(3)]
        self.assertEqual([opened.session, opened_too.session, failed.session], [own, session, 0])
        self.assertEqual(names([failed]), ["SYNC_FAILED"])
        self.assertEqual((failed.path, failed.status), (b"my name", pb.STATUS_EIO))
        client.close_session(session)
        watcher.close_session(own)
        support.wait_until(lambda: not client.sessions(), "the sessions are gone")
        client.call("recover", pb.Recover(path=os.fsencode(path)))


if __name__ == "__main__":
    unittest.main()
