#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients that are killed with many requests in flight: nothing of them stays."""

import os
import random
import select
import unittest

import support
from support import KIB, MIB, pb

PIECE = 256 * KIB
DEPTH = 64
IMAGE = 8 * MIB  # all of it is synced after each round
ROUNDS = 8 if support.sanitized() else 16


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


if __name__ == "__main__":
    unittest.main()
