#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Watchers that do not read, and those who may not know everything."""

import os
import unittest

import support
from support import MIB, pb
from watchers import NOBODY, WHAT, WatchTest, names, other_user

QUEUE_ENTRIES = 256


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


if __name__ == "__main__":
    unittest.main()
