#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""the contract's bad input, as far as time and memory go: the slow, the silent, the unreading."""

import select
import threading
import time
import unittest

import hostile
import pace
import wire
from hostile import SECTOR, pause
from wire import pb

DEFAULT_SECONDS = 5
LIMIT_SECONDS = 1.5
DRIP_SECONDS = 0.3
LATE_SECONDS = 2
PING = wire.frame(pb.Request(id=9, ping=pb.Ping()))
MEBIBYTE = 1024 * 1024


class Defaults(hostile.HostileTest):
    """The limits as they are without a configuration file."""

    def test_hello_and_frame_have_five_seconds(self):
        silent = self.connect()
        self.connection.send_bytes(PING[:1])
        watch = pace.Watch()
        for connection in (silent, self.connection):
            self.expect_closed(connection, "ETIMEDOUT")
            self.assertGreater(watch.seconds(), DEFAULT_SECONDS - 0.5)
            self.assertTrue(watch.within(DEFAULT_SECONDS + LATE_SECONDS), watch)


class Slow(hostile.HostileTest):
    """With shorter limits, so that the tests are done sooner."""

    config = f"""[limits]
hello-timeout-ms = {LIMIT_SECONDS * 1000:.0f}
frame-timeout-ms = {LIMIT_SECONDS * 1000:.0f}
"""

    def check_closed_in_time(self, connection, watch, drip=b""):
        """The daemon gives up when it should, while a byte of `drip` goes out now and then."""
        for number in range(50):
            readable, _, _ = select.select([connection.socket], [], [], DRIP_SECONDS)
            if readable:
                self.expect_closed(connection, "ETIMEDOUT")
                self.check_in_time(watch)
                return
            try:
                connection.send_bytes(drip[number:number + 1])
            except BrokenPipeError:
                pass  # it was closed this very moment; what it said is read next
        self.fail("it was never closed")

    def check_in_time(self, watch):
        self.assertGreater(watch.seconds(), LIMIT_SECONDS - 0.2)
        self.assertTrue(watch.within(LIMIT_SECONDS + LATE_SECONDS), watch)

    def test_silence_instead_of_hello(self):
        connection = self.connect()
        self.check_closed_in_time(connection, pace.Watch())

    def test_hello_byte_by_byte(self):
        connection = self.connect()
        hello = wire.frame(pb.Request(id=1, hello=pb.Hello(version=1, client_name="n" * 50)))
        self.check_closed_in_time(connection, pace.Watch(), hello)

    def test_header_byte_by_byte(self):
        header = wire.frame(pb.Request(id=9, open=pb.Open(config=pb.Config(path=self.image))))
        watch = pace.Watch()
        self.connection.send_bytes(header[:1])
        self.check_closed_in_time(self.connection, watch, header[1:])

    def test_payload_byte_by_byte(self):
        write = wire.frame(pb.Request(id=9, write=pb.Write(session=self.session)), bytes(SECTOR))
        watch = pace.Watch()
        self.connection.send_bytes(write[:-100])
        self.check_closed_in_time(self.connection, watch, write[-100:])

    def test_payload_of_a_refused_request_byte_by_byte(self):
        """What is skipped has the same limit; the answer comes before it."""
        write = wire.frame(pb.Request(id=77, write=pb.Write(session=self.session, flags=4)),
                           bytes(SECTOR))
        self.connection.send_bytes(write[:-100])
        watch = pace.Watch()
        drip = threading.Thread(target=self.drip, args=(write[-100:],))
        drip.start()
        self.expect_closed(self.connection, "ETIMEDOUT")
        self.check_in_time(watch)
        drip.join()

    def drip(self, data):
        """Sends bytes until the other side has closed."""
        try:
            for number in range(len(data)):
                pause(DRIP_SECONDS)
                self.connection.send_bytes(data[number:number + 1])
        except OSError:
            pass

    def test_frames_that_each_come_in_time_may_go_on_for_ever(self):
        """Each frame's end comes with the next one's beginning: none of them is late."""
        count = 10
        data = PING * count
        self.connection.send_bytes(data[:5])
        for number in range(count - 1):
            pause(DRIP_SECONDS)
            at = 5 + number * len(PING)
            self.connection.send_bytes(data[at:at + len(PING)])
            self.connection.finish(9)
        self.connection.send_bytes(data[5 + (count - 1) * len(PING):])
        self.connection.finish(9)

    def test_holder_of_a_lock_has_time(self):
        """A debugged or frozen holder must not lose its lock."""
        locked = self.connection.open(self.make_image("locked.img"), lock=True).session
        write = wire.frame(pb.Request(id=77, write=pb.Write(session=locked)), b"l" * SECTOR)
        self.connection.send_bytes(write[:-1])
        pause(LIMIT_SECONDS + LATE_SECONDS)
        self.connection.send_bytes(write[-1:])
        self.connection.finish(77)
        self.assertEqual(self.connection.read(locked, 0, SECTOR), b"l" * SECTOR)

    def test_idle_connection_stays(self):
        pause(LIMIT_SECONDS + LATE_SECONDS)
        self.expect_lives(self.connection)


class Unread(hostile.HostileTest):
    """Clients that ask for much and take nothing."""

    config = "[limits]\nunread-timeout-ms = 2000\n"
    HOGS = 8
    REQUESTS = 1000
    LENGTH = 256 * 1024
    ALLOWED_BYTES = 96 * MEBIBYTE  # of 2 GiB that are asked for

    def ask_for_much(self, connection, session):
        """As many requests as the daemon takes without a reply being read."""
        data = b"".join(
            wire.frame(pb.Request(id=100 + i, read=pb.Read(session=session,
                                                           length_bytes=self.LENGTH)))
            for i in range(self.REQUESTS))
        connection.socket.setblocking(False)
        sent = 0
        while sent < len(data) and select.select([], [connection.socket], [], 0.2)[1]:
            sent += connection.socket.send(data[sent:])
        connection.socket.settimeout(wire.TIMEOUT_SECONDS)

    def read_to_the_end(self, connection):
        """The number of whole replies until the daemon's end, which is asked for."""
        count = 0
        try:
            while True:
                connection.receive()
                count += 1
        except wire.Closed:
            return count

    def make_hog(self, **config):
        connection = self.greeted()
        session = connection.open(self.make_image("hog.img"), **config).session
        self.ask_for_much(connection, session)
        return connection

    def test_memory_is_bounded_and_others_are_served(self):
        before = self.daemon.resident_bytes()
        hogs = [self.make_hog() for _ in range(self.HOGS)]
        most = 0
        for _ in range(100):
            self.check_witness()
            most = max(most, self.daemon.resident_bytes())
        self.assertLess(most - before, self.ALLOWED_BYTES)
        for hog in hogs:
            hog.close()

    def test_connection_is_closed_after_its_time(self):
        hog = self.make_hog()
        gone = select.poll()
        gone.register(hog.socket, 0)  # only POLLHUP
        started = time.monotonic()
        self.assertTrue(gone.poll(wire.TIMEOUT_SECONDS * 1000), "it was never closed")
        self.assertGreater(time.monotonic() - started, 1)
        self.assertLess(self.read_to_the_end(hog), self.REQUESTS)

    def test_reading_slowly_is_reading(self):
        """Longer than the limit in all, but never that long without taking something."""
        hog = self.make_hog()
        for number in range(self.REQUESTS):
            reply, payload = hog.receive()
            self.assertEqual(reply.status, pb.STATUS_OK, reply.message)
            self.assertEqual(len(payload), self.LENGTH)
            if number % 100 == 50:
                pause(0.5)

    def test_holder_of_a_lock_is_waited_for(self):
        hog = self.make_hog(lock=True)
        pause(5)
        for _ in range(self.REQUESTS):
            reply, _ = hog.receive()
            self.assertEqual(reply.status, pb.STATUS_OK, reply.message)
        hog.ping()


if __name__ == "__main__":
    unittest.main(verbosity=2)
