#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that do not read, do not write, stop, or hurry too little; and a daemon that was stopped itself."""

import os
import select
import signal
import time
import unittest

import support
from support import KIB, MIB, SECTOR, pace, pb, wire

HELD = 4 * MIB + 2 * MIB  # what one connection may make the daemon hold, and some slack


class SlowClient(support.FailureTest):
    config = ("[daemon]\nworkers = 1\n"
              "[limits]\nhello-timeout-ms = 1000\nframe-timeout-ms = 1000\n"
              "unread-timeout-ms = 1500\n")

    def fill(self, client, request):
        """Sends requests and reads nothing, until the daemon takes no more; how many went out."""
        client.socket.setblocking(False)
        number = 1000
        data = b""
        while select.select([], [client.socket], [], 0.5)[1]:
            data = data or wire.frame(pb.Request(id=number, **request))
            data = data[client.socket.send(data):]
            number += not data
        client.socket.settimeout(support.DEADLINE)
        return number - 1000

    def read_flood(self, lock):
        client = self.client("does not read")
        session = client.open_path(self.image(f"flood-{lock}.img", 2 * MIB, memory=True), lock=lock)
        self.fill(client, {"read": pb.Read(session=session, length_bytes=MIB)})
        return client, session

    def test_unread_replies_are_bounded_and_end_the_connection(self):
        other = self.client()
        session = other.open_path(self.image())
        before = self.daemon.resident_bytes()
        flooding = [self.read_flood(False)[0] for _ in range(4)]
        if not support.sanitized():
            self.assertLess(self.daemon.resident_bytes() - before, 4 * HELD)
        for _ in range(50):
            self.assert_within(1, "write", other.write, session, 0, bytes(SECTOR))
        lines = self.daemon.wait_log("connection-refused", len(flooding))
        for line in lines:
            self.assertIn("errno=ETIMEDOUT", line)
            self.assertIn("not read", line)
        support.wait_until(lambda: len(other.sessions()) == 1, "their sessions are gone")

    def test_a_lock_holder_that_does_not_read_stays(self):
        holder, session = self.read_flood(True)
        unlocked, _ = self.read_flood(False)
        self.daemon.wait_log("connection-refused")  # the other one's, after the same time
        unlocked.close()
        other = self.client()
        self.assertEqual([entry.lock for entry in other.sessions()], [pb.LOCK_MODE_EXCLUSIVE])
        replies = 0
        while not holder.receives_nothing(0.3):
            reply, payload = holder.receive()
            self.assertEqual((reply.status, len(payload)), (pb.STATUS_OK, MIB))
            replies += 1
        self.assertGreater(replies, 4)

    def test_unread_lists_are_bounded(self):
        """A list is a large answer to a small request."""
        many = self.client()
        for i in range(200):
            many.open_path(self.image(f"{i:03}-" + "x" * 200, memory=True))
        before = self.daemon.resident_bytes()
        flooding = self.client("does not read")
        self.assertGreater(self.fill(flooding, {"list_sessions": pb.ListSessions()}), 50)
        many.ping()
        if not support.sanitized():
            self.assertLess(self.daemon.resident_bytes() - before, HELD)

    def test_unread_events_are_bounded(self):
        path = self.image(memory=True)
        deaf = self.client("does not read")
        deaf.open_path(self.image("locked.img"), lock=True)
        deaf.open_path(path)
        resizer = self.client()
        session = resizer.open_path(path)
        before = self.daemon.resident_bytes()
        for i in range(20000 if not support.sanitized() else 5000):
            resizer.resize(session, MIB + i * SECTOR)
        if not support.sanitized():
            self.assertLess(self.daemon.resident_bytes() - before, 3 * MIB)
        last = None
        while not deaf.receives_nothing(1):
            last = deaf.wait_event("resized")
        self.assertEqual(last.resized.size_sectors, resizer.get_info(session).size_sectors)

    # ---- time limits ----

    def assert_ends(self, client, what, seconds):
        watch = pace.Watch()
        reason = client.wait_closed()
        self.assert_took(watch, seconds + 1, "the end")
        self.assertEqual(reason.status, pb.STATUS_ETIMEDOUT, reason)
        self.assertIn(what, reason.message)

    def test_no_hello(self):
        self.assert_ends(self.client(greet=False), "Hello", 1)

    def test_half_a_hello(self):
        client = self.client(greet=False)
        client.send_bytes(wire.frame(pb.Request(id=1, hello=pb.Hello(version=1)))[:-1])
        self.assert_ends(client, "Hello", 1)

    def test_half_a_frame(self):
        for name, data in self.unfinished().items():
            with self.subTest(name):
                client = self.client()
                client.open_path(self.image())
                client.send_bytes(data)
                self.assert_ends(client, "frame", 1)

    def unfinished(self):
        write = wire.frame(pb.Request(id=9, write=pb.Write(session=1)), bytes(MIB))
        skipped = wire.frame(pb.Request(id=9, ping=pb.Ping()), bytes(MIB))
        return {"prefix": write[:5], "header": write[:9], "payload": write[:MIB // 2],
                "the last byte": write[:-1], "a payload nobody wants": skipped[:MIB // 2]}

    def test_half_a_frame_after_a_long_wait_for_the_reader(self):
        """The limit on frames holds also while a longer one is being watched."""
        self.daemon.stop()
        self.daemon = self.start_daemon("[daemon]\nworkers = 1\n[limits]\nframe-timeout-ms = 1000\n"
                                        "hello-timeout-ms = 60000\nunread-timeout-ms = 60000\n")
        client = self.client()
        client.send_bytes(b"\1")
        self.assert_ends(client, "frame", 1)

    def until_in_time(self, send, limit):
        """Calls it with clients of its own until one call takes less than the limit: what this test sends
        too late itself proves nothing."""
        for _ in range(20):
            begin = time.monotonic()
            try:
                return send(self.client())
            except (wire.Closed, BrokenPipeError, ConnectionResetError):
                self.assertGreater(time.monotonic() - begin, limit, "it was closed too early")
        raise unittest.SkipTest(f"this machine never gets it done in {limit} s")

    def test_a_whole_frame_just_in_time_is_served(self):
        def send(client):
            data = wire.frame(pb.Request(id=9, ping=pb.Ping()))
            for byte in data:
                client.send_bytes(bytes([byte]))
                time.sleep(0.4 / len(data))
            self.assertEqual(client.wait(9)[0].status, pb.STATUS_OK)

        self.until_in_time(send, 0.9)

    def test_half_a_frame_beside_a_lock_is_waited_for(self):
        holder = self.client()
        session = holder.open_path(self.image(), lock=True)
        data = wire.frame(pb.Request(id=9, ping=pb.Ping()))
        holder.send_bytes(data[:-1])
        late = self.client()
        late.send_bytes(data[:-1])
        self.assert_ends(late, "frame", 1)
        holder.send_bytes(data[-1:])
        self.assertEqual(holder.wait(9)[0].status, pb.STATUS_OK)
        # With the lock gone, so is the patience.
        holder.start("close", pb.Close(session=session))
        holder.send_bytes(data[:-1])
        self.assert_ends(holder, "frame", 1)

    @support.needs_fuse
    @support.needs("nbdkit", "nbdfuse")
    def test_half_a_frame_behind_the_close_of_a_slow_lock_holder(self):
        """The lock goes when its last I/O ends, with nothing more to receive at that time."""
        slow = support.NbdImage(self, "slow", "--filter=delay", "memory", "64M", "delay-read=3")
        holder = self.client()
        session = holder.open_path(slow.path, lock=True)
        holder.start_read(session, 0, 4 * KIB)
        holder.start("close", pb.Close(session=session))
        holder.send_bytes(b"\1")
        begin = time.monotonic()
        reason = holder.wait_closed()
        self.assertEqual(reason.status, pb.STATUS_ETIMEDOUT, reason)
        self.assertGreater(time.monotonic() - begin, 2, "while it held the lock")

    def test_a_stopped_lock_holder_is_served_again(self):
        path = self.image()
        def child(report):
            client = support.Client(self.daemon, "stopped")
            session = client.open_path(path, lock=True)
            while True:
                client.write(session, 0, b"x" * SECTOR)
                report(b"x")
        pid, read_end = support.fork_client(child)
        os.read(read_end, 1)
        os.kill(pid, signal.SIGSTOP)
        support.wait_until(lambda: support.process_state(pid) == "T", "it has stopped")
        self.assert_ends(self.client(greet=False), "Hello", 1)  # longer than any limit here
        self.assert_ends(self.client(greet=False), "Hello", 1)
        other = self.client()
        message = self.assert_failed("EBUSY", other.open_path, path, lock=True)
        self.assertIn(str(pid), message)
        support.wait_until(lambda: not self.drain(read_end), "its reports are read")
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(os.read(read_end, 1), b"x", "served again")
        support.kill_client(pid, read_end)
        support.wait_until(lambda: not other.sessions(), "its lock is gone")
        other.open_path(path, lock=True)

    @staticmethod
    def drain(read_end):
        os.set_blocking(read_end, False)
        try:
            return os.read(read_end, 65536)
        except BlockingIOError:
            os.set_blocking(read_end, True)
            return b""

    def test_time_in_which_the_daemon_was_stopped_does_not_count(self):
        """Nor does the time count in which this test waits for a CPU: then it is done again."""
        stops, stopped = 2, 1.5

        def send(client):
            data = wire.frame(pb.Request(id=9, ping=pb.Ping()))
            client.send_bytes(data[:4])
            greeting = self.client(greet=False)
            for _ in range(stops):
                self.daemon.signal(signal.SIGSTOP)
                support.wait_until(lambda: support.process_state(self.daemon.pid) == "T", "stopped")
                time.sleep(stopped)
                self.daemon.signal(signal.SIGCONT)
                if not client.receives_nothing(0.2):
                    client.receive()
            client.send_bytes(data[4:])
            self.assertEqual(client.wait(9)[0].status, pb.STATUS_OK)
            greeting.hello()

        self.until_in_time(send, stops * stopped + 0.9)


if __name__ == "__main__":
    unittest.main()
