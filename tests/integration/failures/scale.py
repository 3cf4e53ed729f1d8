#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many connections: at once, idle, slow, and more than there are descriptors for."""

import os
import resource
import threading
import time
import unittest

import support
from support import KIB, MIB, SECTOR, pace, pb, wire

MANY = 1000
IDLE = 10000
IDLE_BYTES = 16 * KIB
IDLE_SECONDS = 3
NEEDED = IDLE + 500  # of each process


class Trickle(threading.Thread):
    """Sends a frame one byte a second; learns how that ends."""

    def __init__(self, client, seconds):
        super().__init__(daemon=True)
        self.client = client
        self.seconds = seconds
        self.reason = None
        self.in_time = False
        self.start()

    def run(self):
        request = pb.Request(id=77, open=pb.Open(config=pb.Config(path=b"/tmp/x" * 30)))
        watch = pace.Watch()
        for byte in wire.frame(request):
            try:
                self.client.send_bytes(bytes([byte]))
            except (BrokenPipeError, ConnectionResetError):
                break
            if not self.client.receives_nothing(1):
                break
        self.reason = self.client.wait_closed()
        self.seconds = watch.seconds()
        self.in_time = watch.within(3 + 2)


class Scale(support.FailureTest):
    config = (f"[daemon]\nlog-level = warning\n"
              f"[limits]\nframe-timeout-ms = 3000\nconnections-per-uid = {IDLE + MANY}\n")

    def setUp(self):
        support.raise_descriptor_limit(NEEDED)
        super().setUp()

    def connect(self, count):
        """So many connections, a thousand at once: more may not wait to be accepted everywhere
        (net.core.somaxconn). Their Hellos go out before the first answer is looked at."""
        if count > MANY:
            return self.connect(MANY) + self.connect(count - MANY)
        clients, ids = [], []
        for _ in range(count):  # a Hello has five seconds, however long this loop takes
            clients.append(self.client(greet=False))
            ids.append(clients[-1].start("hello", pb.Hello(version=1)))
        for client, request_id in zip(clients, ids):
            client.finish(request_id)
        return clients

    def ping_all(self, clients):
        ids = [client.start("ping", pb.Ping()) for client in clients]
        for client, request_id in zip(clients, ids):
            client.finish(request_id)

    def test_a_thousand_at_once_beside_one_that_trickles(self):
        path = os.fsencode(self.image(memory=True))
        descriptors = self.daemon.descriptors()
        trickle = Trickle(self.client("trickle"), 1)
        clients = self.connect(MANY)
        ids = [client.start("open", pb.Open(config=pb.Config(path=path))) for client in clients]
        sessions = [client.finish(i)[0].open.session for client, i in zip(clients, ids)]
        self.assertEqual(len(set(sessions)), MANY)
        self.assertEqual(len(clients[0].sessions()), MANY)
        self.assertEqual(len(clients[0].devices()), 1)
        ids = [c.start_read(s, 0, 4 * KIB) for c, s in zip(clients, sessions)]
        for client, request_id in zip(clients, ids):
            self.assertEqual(client.finish(request_id)[1], bytes(4 * KIB))
        ids = [c.start("close", pb.Close(session=s)) for c, s in zip(clients, sessions)]
        for client, request_id in zip(clients, ids):
            client.finish(request_id)
        self.assertEqual(clients[0].sessions(), [])
        trickle.join(support.DEADLINE)
        self.assertEqual(trickle.reason.status, pb.STATUS_ETIMEDOUT, trickle.reason)
        self.assertGreaterEqual(trickle.seconds, 2.5)
        self.assertTrue(trickle.in_time, f"{trickle.seconds} s")
        for client in clients:
            client.close()
        self.wait_descriptors(descriptors)

    def test_ten_thousand_idle(self):
        first = self.client()
        first.ping()
        before = self.daemon.resident_bytes()
        clients = self.connect(IDLE)
        each = (self.daemon.resident_bytes() - before) / IDLE
        if not support.sanitized():
            self.assertLessEqual(each, IDLE_BYTES, "memory of an idle connection")
        # When the limits on Hello have ended, there is nothing to wake up for.
        support.wait_until(lambda: self.quiet(0.5 if support.sanitized() else IDLE_SECONDS),
                           "idle connections use no CPU")
        self.ping_all(clients + [first])
        for client in clients:
            client.close()
        support.wait_until(lambda: self.daemon.descriptors() < 100, "all are gone")

    def quiet(self, seconds):
        before = self.daemon.cpu_ticks()
        time.sleep(seconds)
        return self.daemon.cpu_ticks() - before < 2

    def test_watching_processes_takes_a_part_of_the_descriptors(self):
        limit = 128
        self.daemon.stop()
        self.daemon = self.start_daemon("", limits=[(resource.RLIMIT_NOFILE, (limit, limit))])
        first = self.client()
        first.ping()
        before = self.daemon.descriptors()
        clients = [self.client() for _ in range(limit // 4)]
        self.ping_all(clients)
        self.assertEqual(len(self.daemon.wait_log("client-unwatched")), 1)
        self.assertEqual(self.daemon.descriptors(), before + 2 * len(clients) - 1)
        for client in clients:
            client.close()
        self.wait_descriptors(before)
        self.ping_all([first] + [self.client() for _ in range(limit // 4 - 1)])
        self.assertEqual(self.daemon.descriptors(), before + 2 * (limit // 4 - 1))

    def test_out_of_descriptors(self):
        limit = 64
        self.daemon.stop()
        self.daemon = self.start_daemon("[daemon]\nworkers = 1\n", limits=[
            (resource.RLIMIT_NOFILE, (limit, limit))])
        path = self.image()
        served = self.client()
        session = served.open_path(path)
        waiting = [self.client(greet=False) for _ in range(2 * limit)]
        self.daemon.wait_log("accept-failed")
        self.assertLessEqual(self.daemon.descriptors(), limit)
        self.assertLessEqual(len(self.daemon.log_lines("client-unwatched")), 1)
        for _ in range(100):
            served.write(session, 0, bytes(SECTOR))
            served.read(session, 0, SECTOR)
        self.assert_failed("EMFILE", served.open_path, self.image("another.img"))
        before = self.daemon.cpu_ticks()
        time.sleep(2)
        self.assertLess(self.daemon.cpu_ticks() - before, 40, "it spins")
        for client in waiting:
            client.close()
        self.assert_within(10, "recovery", lambda: self.client().ping())
        served.close_session(served.open_path(self.image("another.img")))


if __name__ == "__main__":
    unittest.main()
