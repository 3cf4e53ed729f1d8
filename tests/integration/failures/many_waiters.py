#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Ten thousand wait for one device, and are served in the order in which they came."""

import os
import threading
import time
import unittest

import locking
import support
from support import KIB, pace, pb

BATCH = 1000  # more may not wait to be accepted everywhere (net.core.somaxconn)
WAITER_BYTES = 32 * KIB  # a connection, a session, a lock request
SECONDS = 60


class Pings(threading.Thread):
    """A connection that goes on being served meanwhile; the longest time that it took."""

    def __init__(self, client):
        super().__init__()
        self.client = client
        self.ends = threading.Event()
        self.count, self.longest = 0, 0.0

    def run(self):
        while not self.ends.wait(0.01):
            begin = time.monotonic()
            self.client.ping()
            self.longest = max(self.longest, time.monotonic() - begin)
            self.count += 1

    def end(self):
        self.ends.set()
        self.join()


class ManyWaiters(locking.LockTest):
    count = 500 if support.sanitized() else 10000
    config = ("[daemon]\nworkers = 2\nlog-level = warning\n"
              f"[limits]\nconnections-per-uid = {count + 100}\n")

    def setUp(self):
        support.raise_descriptor_limit(self.count + 4 * BATCH)
        super().setUp()

    @staticmethod
    def all_do(clients, start):
        """Everybody's request is sent before the first answer is looked at."""
        ids = [start(client) for client in clients]
        return [client.finish(request)[0] for client, request in zip(clients, ids)]

    def connect(self, count):
        """So many clients, and each one's session."""
        clients, sessions = [], []
        config = pb.Config(path=os.fsencode(self.path))
        while len(clients) < count:
            batch, hellos = [], []
            for _ in range(min(BATCH, count - len(clients))):  # a Hello has five seconds
                batch.append(self.client(greet=False))
                hellos.append(batch[-1].start("hello", pb.Hello(version=1)))
            for client, request in zip(batch, hellos):
                client.finish(request)
            clients += batch
            sessions += [reply.open.session for reply in self.all_do(
                batch, lambda client: client.start("open", pb.Open(config=config)))]
        return clients, sessions

    def test_they_are_served_in_order(self):
        holder, held = self.holder()
        pings = Pings(self.client())
        before = self.daemon.resident_bytes()
        clients, sessions = self.connect(self.count)
        watch = pace.Watch()
        pings.start()
        self.addCleanup(pings.end)
        # Of two workers, one may be faster: the next one asks when this one waits.
        requests = [client.queue_lock(session) for client, session in zip(clients, sessions)]
        if not support.sanitized():
            self.assertLess((self.daemon.resident_bytes() - before) / self.count, WAITER_BYTES)
        holder.unlock(held)
        tokens = []
        for client, session, request in zip(clients, sessions, requests):
            tokens.append(client.finish(request)[0].lock.token)
            client.unlock(session)
        seconds = watch.seconds()
        pings.end()
        self.assertEqual(tokens, sorted(set(tokens)), "not in the order in which they came")
        self.assertTrue(watch.within(SECONDS, seconds), f"{seconds:.1f} s, {watch}")
        self.assertGreater(pings.count, 1)
        self.assertTrue(watch.within(1, pings.longest),
                        f"another connection had to wait for {pings.longest:.2f} s")

    def test_they_go_away_all_at_once(self):
        holder, held = self.holder()
        clients, sessions = self.connect(self.count)
        for client, session in zip(clients, sessions):
            client.start_lock(session)
        for client in clients:
            client.ping()
            client.close()
        last, session = self.opened()
        request = last.queue_lock(session)
        support.wait_until(lambda: len(last.sessions()) == 2, "their sessions are gone")
        holder.unlock(held)
        self.assert_granted_soon(last, request)


if __name__ == "__main__":
    unittest.main()
