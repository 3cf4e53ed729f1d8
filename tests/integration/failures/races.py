#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What happens to meet: closings and lists, answers and deaths, grants and writes, stops and events."""

import os
import select
import signal
import threading
import time
import unittest

import faults
import support
from support import KIB, MIB, SECTOR, pb, wire

ROUNDS = 40
BUSY_SECONDS = 1.5


class Background(support.FailureTest):
    def in_background(self, function):
        """Again and again until the returned function is called, which raises what it raised; with
        by_itself, until it raises something, as it must in the end."""
        ends = threading.Event()
        failures = []

        def run():
            try:
                while not ends.is_set():
                    function()
            except Exception as failure:  # pylint: disable=broad-except
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()

        def end(by_itself=False):
            if not by_itself:
                ends.set()
            thread.join(support.DEADLINE if by_itself else None)
            if failures:
                raise failures[0]

        self.addCleanup(ends.set)
        return end


class Race(Background):
    config = "[daemon]\nworkers = 2\nlog-level = warning\n"

    def test_lists_while_devices_are_closed(self):
        def opens_and_closes(client, path):
            client.close_session(client.open_path(path))

        ends = [self.in_background(lambda client=self.client(), path=self.image(f"{i}.img"):
                                   opens_and_closes(client, path)) for i in range(4)]
        client = self.client()
        deadline = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < deadline:
            client.devices()
        for end in ends:
            end()

    def test_clients_that_die_while_an_open_is_answered(self):
        path = self.image(memory=True)

        def reads(client, session):
            for request in [client.start_read(session, 0, MIB) for _ in range(4)]:
                client.finish(request)

        busy = [self.client() for _ in range(2)]
        ends = [self.in_background(lambda client=client, session=client.open_path(path):
                                   reads(client, session)) for client in busy]
        for number in range(ROUNDS):
            client = self.client()
            session = client.open_path(path)
            for _ in range(3):  # unread: what follows waits for the socket
                client.start_read(session, 0, MIB)
            for _ in range(12):
                client.start("ping", pb.Ping())
            client.start("open", pb.Open(config=pb.Config(path=os.fsencode(path))))
            time.sleep(0.002 * (number % 8))
            client.close()
        for end in ends:
            end()
        support.wait_until(lambda: len(busy[0].sessions()) == 2, "their sessions are gone")

    def test_a_size_asked_for_before_a_resize_is_not_believed_after_it(self):
        """The device's size is the file's, unless somebody is resizing it."""
        path = self.image(memory=True)
        resizer, opener = self.client(), self.client()
        sizes = [MIB, MIB + SECTOR, MIB + 2 * SECTOR]

        def resizes():
            session = resizer.open_path(path)
            sizes.append(sizes.pop(0))
            try:
                resizer.resize(session, sizes[0])
            except wire.Failed:  # somebody else has it open: no shrinking
                pass
            resizer.close_session(session)

        def look(session):
            info = opener.get_info(session)
            return info.generation, info.size_sectors * SECTOR, os.stat(path).st_size

        end = self.in_background(resizes)
        deadline = time.monotonic() + 4 * BUSY_SECONDS
        while time.monotonic() < deadline:
            session = opener.open_path(path)
            generation, size, file_size = look(session)
            if size != file_size:
                end()
                now = look(session)
                if now[0] == generation:
                    self.assertEqual(now[1], now[2], "the size is not the file's")
                end = self.in_background(resizes)
            opener.close_session(session)
        end()


class Grant(support.FailureTest):
    def start_daemon(self, config="", **more):
        with faults.engine("write=delay:500ms"):
            return super().start_daemon(config, **more)

    def test_a_lock_is_granted_when_what_others_write_has_ended(self):
        path = self.image()
        writer, locker = self.client(), self.client()
        session = writer.open_path(path, direct=True, sector_size=4 * KIB)
        data = b"w" * 4 * KIB
        write = writer.start_write(session, 0, data)
        support.wait_until(lambda: locker.devices()[0].in_flight == 1, "the write is in flight")
        locked = locker.open_path(path, lock=True, sector_size=4 * KIB)
        self.assertEqual(locker.read(locked, 0, len(data)), data, "it lands under the lock")
        writer.finish(write)
        self.assert_failed("EBUSY", writer.write, session, 0, data)


class Unread(support.FailureTest):
    config = "[daemon]\nlog-level = error\n"

    def flood(self, make_request):
        """Requests whose replies nobody reads, until the daemon takes no more of them."""
        client = self.client()
        client.socket.settimeout(0.5)
        before = self.daemon.resident_bytes()
        with self.assertRaises(TimeoutError):
            for number in range(100, 50000):
                client.socket.sendall(wire.frame(make_request(number)))
        if not support.sanitized():
            self.assertLess(self.daemon.resident_bytes() - before, 24 * MIB)
        client.close()

    def test_replies_to_opens_with_long_paths(self):
        self.flood(lambda number: pb.Request(
            id=number, open=pb.Open(config=pb.Config(path=b"/" + b"x" * 60000))))

    def test_long_lists(self):
        client = self.client()
        path = self.image()
        for _ in range(50):
            descriptor = os.open(path, os.O_RDONLY)
            client.open(b"n" * 4000, descriptor=descriptor)
            os.close(descriptor)
        self.flood(lambda number: pb.Request(id=number, list_sessions=pb.ListSessions()))


class Descriptors(support.FailureTest):
    def test_one_comes_with_the_end_of_the_open_before(self):
        """As when a send was cut short because the socket was full."""
        client = self.client()
        descriptor = os.open(self.image(), os.O_RDONLY)
        first, second = [wire.frame(pb.Request(id=number, open=pb.Open(
            descriptor=True, config=pb.Config(path=b"x")))) for number in (100, 101)]
        self.daemon.signal(signal.SIGSTOP)
        support.wait_until(lambda: support.process_state(self.daemon.pid) == "T", "it is stopped")
        client.send_bytes(first[:5], [descriptor])
        client.send_bytes(first[5:])
        client.send_bytes(second, [descriptor])
        os.close(descriptor)
        self.daemon.signal(signal.SIGCONT)
        for _ in range(2):
            reply, _ = client.receive()
            self.assertEqual(reply.status, pb.STATUS_OK, reply.message)


class Stop(Background):
    config = "[daemon]\nworkers = 2\nbusy-poll-us = 0\nlog-level = error\n"

    def test_with_events_on_their_way(self):
        for _ in range(ROUNDS // 2):
            path = self.image()
            idle, resizer = self.client(), self.client()
            for _ in range(60):
                idle.open_path(path)
            session = resizer.open_path(path)
            size = [MIB]

            def grow():
                size[0] += SECTOR
                resizer.resize(session, size[0])

            end = self.in_background(grow)
            support.wait_until(lambda: os.stat(path).st_size > MIB, "it grows")
            self.daemon.stop()
            with self.assertRaises((wire.Closed, wire.Failed, OSError)):
                end(by_itself=True)
            self.daemon = self.start_daemon(self.config)

    def test_with_a_client_that_does_not_read(self):
        self.daemon.stop()
        self.daemon = self.start_daemon(self.config + "drain-timeout-ms = 4000\n")
        client = self.client()
        session = client.open_path(self.image(size=2 * MIB), lock=True)
        for _ in range(8):
            client.start_read(session, 0, MIB)
        support.wait_until(lambda: select.select([client.socket], [], [], 0)[0], "replies came")
        self.daemon.stop()
        self.daemon = None


@support.needs_root
@support.needs("losetup", "mount")
class FailedSync(support.FailureTest):
    def test_is_not_forgotten_and_not_called_a_good_end(self):
        """The loop device's file has no room: what is cached cannot be written."""
        backing = os.path.join(self.mount_tmpfs("1m"), "backing")
        with open(backing, "wb") as file:
            file.truncate(32 * MIB)
        path = self.loop(backing)
        clients = [self.client() for _ in range(2)]
        sessions = [client.open_path(path) for client in clients]
        sessions.append(clients[0].open_path(path, sync=pb.SYNC_NONE))
        clients.append(clients[0])
        for offset in range(0, 8 * MIB, MIB):
            clients[0].write(sessions[0], offset, b"x" * MIB)
        self.assert_failed("EIO", clients[1].flush, sessions[1])
        self.assertEqual(clients[0].wait_event("sync_failed").sync_failed.status, pb.STATUS_EIO)
        for client, session in zip(clients, sessions):
            self.assert_failed("EIO", client.flush, session)
            self.assert_failed("EIO", client.write, session, 0, bytes(SECTOR))
            self.assert_failed("EIO", client.zero, session, 0, SECTOR)
            self.assertEqual(len(client.read(session, 0, SECTOR)), SECTOR)
        for client in clients:
            client.close()
        client = self.client()
        session = client.open_path(path)
        self.assertTrue(client.get_info(session).failed, "the last close has made it sound again")
        self.assert_failed("EIO", client.flush, session)
        client.close()
        self.daemon.signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(), 1, "it says that all is flushed")
        self.daemon = None


if __name__ == "__main__":
    unittest.main()
