#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that are killed, with many requests in flight or with a socket that others keep: nothing of
them stays."""

import os
import random
import select
import signal
import socket
import unittest

import support
from support import KIB, MIB, pb

PIECE = 256 * KIB
DEPTH = 64
IMAGE = 8 * MIB  # all of it is synced after each round
ROUNDS = 8 if support.sanitized() else 12


class Flight:
    """Keeps DEPTH reads and writes in flight and throws their answers away."""

    def __init__(self, client, session, seed):
        self.client = client
        self.socket = client.socket
        self.session = session
        self.random = random.Random(seed)
        self.output = bytearray()
        self.input = bytearray()
        self.next_id = 1000
        self.in_flight = 0
        self.answered = 0

    def add(self):
        offset = self.random.randrange(IMAGE // PIECE) * PIECE
        payload = b""
        if self.random.random() < 0.5:
            operation = {"read": pb.Read(session=self.session, offset_bytes=offset,
                                         length_bytes=PIECE)}
        else:
            operation = {"write": pb.Write(session=self.session, offset_bytes=offset)}
            payload = bytes(PIECE)
        self.output += support.wire.frame(pb.Request(id=self.next_id, **operation), payload)
        self.next_id += 1
        self.in_flight += 1

    def parse(self):
        prefix = support.wire.PREFIX
        while len(self.input) >= prefix.size:
            header, payload = prefix.unpack_from(self.input)
            if len(self.input) < prefix.size + header + payload:
                return
            del self.input[:prefix.size + header + payload]
            self.in_flight -= 1
            self.answered += 1

    def turn(self):
        while self.in_flight < DEPTH:
            self.add()
        readable, writable, _ = select.select([self.socket],
                                              [self.socket] if self.output else [], [])
        if writable:
            del self.output[:self.socket.send(self.output[:MIB])]
        if readable:
            data = self.socket.recv(MIB)
            if not data:
                raise EOFError
            self.input += data
            self.parse()


class KilledClient(support.FailureTest):
    config = "[daemon]\nlog-level = notice\n"

    def fly(self, path, direct, seed):
        """In a child: never ends, reports once."""
        after = random.Random(seed).randrange(2 * DEPTH)
        def child(report):
            client = support.Client(self.daemon, "to be killed")
            session = client.open_path(path, direct=direct)
            client.socket.setblocking(False)
            flight = Flight(client, session, seed)
            reported = False
            while True:
                flight.turn()
                if not reported and flight.answered >= after and flight.in_flight == DEPTH:
                    report(b"x")
                    reported = True
        return support.fork_client(child)

    def rounds(self, path, direct=False):
        watcher = self.client("watcher")
        descriptors = self.daemon.descriptors()
        resident = []
        for seed in range(ROUNDS):
            pid, read_end = self.fly(path, direct, seed)
            self.assertEqual(os.read(read_end, 1), b"x", self.daemon.log())
            support.kill_client(pid, read_end)
            support.wait_until(lambda: not watcher.sessions(), "the session is gone")
            support.wait_until(lambda: not watcher.devices(), "the device is closed")
            self.wait_descriptors(descriptors)
            resident.append(self.daemon.resident_bytes())
        if not support.sanitized():
            # The first rounds fill pools and caches that are kept; after them nothing grows.
            half = ROUNDS // 2
            self.assertLess(max(resident[half:]), max(resident[:half]) + 2 * MIB, resident)

    def test_on_ext4_direct(self):
        self.rounds(self.image(size=IMAGE), direct=True)

    def test_on_ext4(self):
        self.rounds(self.image(size=IMAGE))

    def test_on_tmpfs(self):
        self.rounds(self.image(size=IMAGE, memory=True))

    @support.needs_root
    @support.needs("losetup")
    def test_on_a_loop_device(self):
        self.rounds(self.loop(self.image(size=IMAGE, memory=True)))


class DeadClient(support.FailureTest):
    """A client is dead when the process that connected has ended, whoever still has its socket."""

    def fork_connector(self, prepare=None):
        """A child that connects and hands its socket to this process. Returns its pid, the end of its
        pipe, and the connection, which does not keep the child's process alive."""
        here, there = socket.socketpair()
        def child(report):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(self.daemon.socket_path)
            socket.send_fds(there, [b"x"], [connection.fileno()])
            report(b"x")
            if prepare:
                prepare()
            signal.pause()
        pid, read_end = support.fork_client(child)
        there.close()
        self.assertEqual(os.read(read_end, 1), b"x", self.daemon.log())
        _, fds, _, _ = socket.recv_fds(here, 1, 1)
        here.close()
        client = support.Client.__new__(support.Client)
        client.__dict__.update(socket=socket.socket(fileno=fds[0]), next_id=1, replies={},
                               events=[])
        client.socket.settimeout(support.DEADLINE)
        self.addCleanup(client.close)
        return pid, read_end, client

    def lock_through(self, client):
        path = self.image()
        client.hello("a dead process's")
        client.write(client.open_path(path, lock=1), 0, bytes(support.SECTOR))
        return path

    def assert_writable(self, path):
        def write():
            client = self.client()
            support.wait_until(lambda: not client.sessions(), "the dead client's session is gone")
            client.write(client.open_path(path, lock=1), 0, bytes(support.SECTOR))
            client.close()
        self.assert_within(1, "the end of a dead client's lock", write)

    def test_loses_its_lock_though_its_socket_stays_open(self):
        descriptors = self.daemon.descriptors()
        pid, read_end, client = self.fork_connector()
        path = self.lock_through(client)
        other = self.client()
        session = other.open_path(path)
        self.assert_failed("EBUSY", other.write, session, 0, bytes(support.SECTOR))
        other.close_session(session)
        support.kill_client(pid, read_end)
        self.assert_writable(path)
        self.assertIsNone(client.wait_closed())
        other.close()
        self.wait_descriptors(descriptors)

    def test_loses_its_lock_while_it_is_a_zombie(self):
        pid, read_end, client = self.fork_connector()
        path = self.lock_through(client)
        os.kill(pid, signal.SIGKILL)
        self.assert_writable(path)
        os.waitpid(pid, 0)
        os.close(read_end)

    def test_that_is_dead_before_it_is_accepted_is_not_served(self):
        self.daemon.signal(signal.SIGSTOP)
        pid, read_end, client = self.fork_connector()
        support.kill_client(pid, read_end)
        self.daemon.signal(signal.SIGCONT)
        self.assertIsNone(client.wait_closed())

    def test_keeps_its_lock_over_exec(self):
        pid, read_end, client = self.fork_connector(
            lambda: os.execvp("sleep", ["sleep", str(support.DEADLINE)]))
        path = self.lock_through(client)
        def runs_sleep():
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                return file.read() == "sleep\n"
        support.wait_until(runs_sleep, "the client is another program")
        other = self.client()
        session = other.open_path(path)
        self.assert_failed("EBUSY", other.write, session, 0, bytes(support.SECTOR))
        client.ping()
        support.kill_client(pid, read_end)


if __name__ == "__main__":
    unittest.main()
