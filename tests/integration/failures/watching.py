#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Watchers: what they are told, in which order, who is told what, and those that do not read."""

import contextlib
import os
import unittest
from unittest import mock

import support
from support import KIB, MIB, SECTOR, pb, wire

NOBODY = 65534
WATCHERS_PER_USER = 256
QUEUE_ENTRIES = 256
WHAT = pb.Happening


class Watcher(support.Client):
    """One that has asked to watch. `untold` counts what it was told that it was not told."""

    def __init__(self, daemon):
        super().__init__(daemon, "watcher")
        self.sequence = 0
        self.untold = 0
        self.watch()

    def watch(self, stop=False):
        self.call("watch", pb.Watch(stop=stop))

    def next(self):
        """The next happening. Nothing else is sent to a watcher without sessions, and events are
        numbered without a gap."""
        event = self.wait_event("happening")
        assert event.session == 0
        assert event.sequence == self.sequence + 1, f"{event.sequence} after {self.sequence}"
        self.sequence = event.sequence
        self.untold += event.happening.left_out
        return event.happening

    def until(self, session, what=WHAT.WHAT_SESSION_OPENED):
        """All that happened before this one."""
        seen = []
        while True:
            happening = self.next()
            if happening.session == session and happening.what == what:
                return seen
            seen.append(happening)


def names(happenings):
    return [WHAT.What.Name(happening.what).removeprefix("WHAT_") for happening in happenings]


@contextlib.contextmanager
def other_user():
    """SO_PEERCRED tells of the effective uid at the time of connect."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class WatchTest(support.FailureTest):
    config = "[daemon]\nlog-level = notice\n[limits]\nunread-timeout-ms = 600000\n"

    def setUp(self):
        super().setUp()
        self.marks = 0

    def watcher(self):
        watcher = Watcher(self.daemon)
        self.addCleanup(watcher.close)
        return watcher

    def let_others_in(self):
        os.chmod(self.daemon.socket_path, 0o666)
        for path in self.directory, self.daemon.directory:
            os.chmod(path, 0o755)

    def mark(self):
        """Something that happens now: watchers are told everything in one order, so that what comes
        before it is all that happened before."""
        self.marks += 1
        return self.client("marker").open_path(self.image(f"mark-{self.marks}.img"))

    def lock(self, client, session, mode=pb.LOCK_MODE_EXCLUSIVE, **more):
        reply, _ = client.call("lock", pb.Lock(session=session, mode=mode, **more))
        return reply.lock

    def unlock(self, client, session, **more):
        client.call("unlock", pb.Unlock(session=session, **more))

    def lock_often(self, client, session, count):
        """So many locks and unlocks, each of which happens: 2 for each."""
        for first in range(0, count, 100):
            ids = []
            for _ in range(first, min(first + 100, count)):
                ids.append(client.start("lock", pb.Lock(session=session, offset_bytes=0,
                                                        length_bytes=SECTOR,
                                                        mode=pb.LOCK_MODE_EXCLUSIVE)))
                client.finish(ids[-1])
                ids.append(client.start("unlock", pb.Unlock(session=session, offset_bytes=0,
                                                            length_bytes=SECTOR)))
                client.finish(ids[-1])


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


class Stalled(WatchTest):
    """Those who do not read."""

    def stall(self, name, count, watchers=1):
        """Watchers that have not read anything while so many locks came and went: what each was
        told, when it reads at last."""
        client = self.client()
        with open(self.image(), "r+b") as file:
            session = client.open(name, descriptor=file.fileno()).session
        self.lock_often(client, session, 10)
        all_of_them = [self.watcher() for _ in range(watchers)]
        resident = self.daemon.resident_bytes()
        self.lock_often(client, session, count)
        grown = self.daemon.resident_bytes() - resident
        mark = self.mark()
        return [(watcher, watcher.until(mark)) for watcher in all_of_them], grown

    def check(self, watcher, seen, count):
        self.assertEqual(len(seen) + watcher.untold, 2 * count, "some are neither told nor counted")
        self.assertGreater(watcher.untold, 0)
        self.assertEqual(names(seen[-2:]), ["LOCK_GRANTED", "LOCK_RELEASED"], "not the newest")
        # What is left out is counted where it is missing: without a gap they alternate.
        for before, after in zip(seen, seen[1:]):
            alternates = before.what != after.what
            self.assertEqual(alternates, after.left_out % 2 == 0)
        tokens = [happening.token for happening in seen]
        self.assertEqual(tokens, sorted(tokens))
        # And it is told of everything again from now on.
        untold = watcher.untold
        self.assertEqual(watcher.until(self.mark()), [])
        self.assertEqual(watcher.untold, untold)

    def test_are_told_later_how_many_they_missed(self):
        count = 3000
        [(watcher, seen)], _ = self.stall(b"name", count)
        self.check(watcher, seen, count)
        self.assertGreaterEqual(len(seen), QUEUE_ENTRIES)

    def test_long_names_count_by_their_bytes(self):
        count = 500
        [(watcher, seen)], _ = self.stall(b"/" + b"n" * 4000, count)
        self.check(watcher, seen, count)
        self.assertLess(len(seen), 400)

    @unittest.skipIf(support.sanitized(), "a sanitizer's memory is not the daemon's")
    def test_cost_little_memory(self):
        watchers, grown = self.stall(b"name", 10000, watchers=10)
        self.assertLess(grown, 6 * MIB)
        for watcher, seen in watchers:
            self.assertEqual(len(seen) + watcher.untold, 20000)

    def test_keep_nobody_from_their_requests(self):
        watcher, client = self.watcher(), self.client()
        session = client.open_path(self.image())
        self.lock_often(client, session, 2000)
        self.assert_within(5, "a ping", client.ping)
        ping = watcher.start("ping", pb.Ping())
        self.assertEqual(watcher.wait(ping)[0].status, pb.STATUS_OK)

    def test_stop_while_much_waits(self):
        watcher, client = self.watcher(), self.client()
        session = client.open_path(self.image())
        self.lock_often(client, session, 2000)
        watcher.watch(stop=True)
        told = len(watcher.events)
        self.lock_often(client, session, 10)
        watcher.ping()
        self.assertEqual(len(watcher.events), told)
        self.assertLess(told, 4000)


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


@support.needs_root
class Unprivileged(WatchTest):
    def setUp(self):
        super().setUp()
        self.let_others_in()

    def nobody(self):
        with other_user():
            return self.watcher()

    def open_as(self, client, path, **config):
        with open(path, "r+b") as file:
            return client.open(b"my name", descriptor=file.fileno(), **config).session

    def test_is_told_of_devices_that_it_has_open(self):
        watcher, witness, root = self.nobody(), self.watcher(), self.client()
        shared, secret = self.image("shared.img"), self.image("secret.img")
        hidden = root.open_path(secret, purpose="secret")
        theirs = root.open_path(shared)
        witness.until(theirs)
        own = self.open_as(watcher, shared, purpose="mine")
        opened = watcher.next()
        self.assertEqual(names([opened]), ["SESSION_OPENED"])
        self.assertEqual((opened.session, opened.path, opened.purpose, opened.uid),
                         (own, b"my name", "mine", NOBODY))
        self.lock(root, hidden)
        root.resize(hidden, 2 * MIB)
        granted = self.lock(root, theirs, purpose="of root")
        told = watcher.next()
        self.assertEqual(names([told]), ["LOCK_GRANTED"])
        self.assertEqual((told.session, told.token, told.uid, told.pid),
                         (theirs, granted.token, 0, os.getpid()))
        self.assertEqual((told.path, told.purpose), (b"", ""))
        # The trusted are told all of it.
        seen = witness.until(theirs, WHAT.WHAT_LOCK_GRANTED)
        self.assertEqual(names(seen), ["SESSION_OPENED", "LOCK_GRANTED", "RESIZED"])
        self.assertEqual([h.session for h in seen], [own, hidden, hidden])
        self.assertEqual(seen[0].purpose, "mine")
        self.assertEqual(seen[1].path, os.fsencode(secret))

    def test_is_told_names_of_its_own_user(self):
        watcher = self.nobody()
        with other_user():
            other = self.client()
        path = self.image()
        self.open_as(watcher, path)
        watcher.next()
        session = self.open_as(other, path, purpose="of mine")
        told = watcher.next()
        self.assertEqual((told.session, told.path, told.purpose), (session, b"my name", "of mine"))

    def test_is_told_nothing_without_a_session(self):
        watcher, witness, root = self.nobody(), self.watcher(), self.client()
        path = self.image()
        own = self.open_as(watcher, path)
        watcher.next()
        watcher.close_session(own)
        session = root.open_path(path)
        self.lock(root, session)
        root.close_session(session)
        witness.until(self.mark())
        again = self.open_as(watcher, self.image("other.img"))
        # Its last session's end may have been told before it was gone, and nothing of the others.
        self.assertEqual([h.session for h in watcher.until(again) if h.session != own], [])

    def test_is_not_kept_up_by_what_it_is_not_told(self):
        watcher, root = self.nobody(), self.client()
        session = root.open_path(self.image())
        self.lock_often(root, session, 1000)
        own = self.open_as(watcher, self.image("other.img"))
        self.assertEqual(watcher.until(own), [])


class FailedSync(WatchTest):
    def setUp(self):
        engine = os.environ.get("BLKD_ENGINE", "auto")
        with mock.patch.dict(os.environ, BLKD_ENGINE=f"fault:{engine}:sync@1=EIO"):
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
