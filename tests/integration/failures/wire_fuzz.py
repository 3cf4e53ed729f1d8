#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Mutated frames against a live daemon, with a well-behaved client beside them.

$BLKD_FUZZ_SECONDS (default 20) and $BLKD_FUZZ_SEED (default 1) say for how long and with which frames.
"""

import array
import os
import random
import select
import socket
import threading
import time
import unittest

import support
from support import KIB, MIB, SECTOR, pb, wire

SECONDS = float(os.environ.get("BLKD_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("BLKD_FUZZ_SEED", "1"))
IMAGE = 4 * MIB


class Fuzzer:
    """One connection's worth of frames, most of them good or nearly so."""

    def __init__(self, test, seed):
        self.random = random.Random(seed)
        self.paths = test.fuzz_paths
        self.daemon = test.daemon
        self.session = 0

    def number(self):
        r = self.random
        return r.choice([0, 1, SECTOR, 4 * KIB, IMAGE, IMAGE - SECTOR, r.randrange(IMAGE),
                         r.randrange(IMAGE // SECTOR) * SECTOR, 1 << 32, (1 << 63) - 512,
                         (1 << 63), (1 << 64) - 1, (1 << 64) - 512])

    def any_session(self):
        return self.random.choice([self.session] * 6 + [0, 1, 2, self.number()])

    def range(self):
        r = self.random
        if r.random() < 0.7:
            length = SECTOR * r.randrange(1, 64)
            return r.randrange((IMAGE - length) // SECTOR) * SECTOR, length
        return self.number(), self.number()

    def request(self):
        r = self.random
        kind = r.choice(["ping", "open", "close", "get_info", "get_config", "read", "write",
                         "flush", "discard", "write_zeroes", "resize", "seek", "list_devices",
                         "list_sessions", "hello"] + ["read", "write", "discard"] * 3)
        session = self.any_session()
        offset, length = self.range()
        payload = b""
        if kind == "hello":
            message = pb.Hello(version=r.choice([0, 1, 2, 1 << 31]), client_name="f" * 70)
        elif kind == "open":
            config = pb.Config(path=r.choice(self.paths), direct=r.random() < 0.3,
                               sync=r.choice([0, 0, 1, 2]), lock=r.random() < 0.2,
                               sector_size=r.choice([0, 0, 0, 512, 513, 4096, 1 << 31]),
                               access=r.choice([0, 0, 1, 2]))
            message = pb.Open(config=config, descriptor=r.random() < 0.2)
        elif kind == "read":
            message = pb.Read(session=session, offset_bytes=offset,
                              length_bytes=length & 0xffffffff,
                              transfer_end_bytes=r.choice([0, 0, 0, self.number()]))
        elif kind == "write":
            payload = bytes(min(length, 256 * KIB))
            message = pb.Write(session=session, offset_bytes=offset,
                               flags=r.choice([0, 0, 0, 1, 2, 0xffffffff]),
                               transfer_end_bytes=r.choice([0, 0, 0, self.number()]))
        elif kind == "discard":
            message = pb.Discard(session=session, offset_bytes=offset, length_bytes=length)
        elif kind == "write_zeroes":
            message = pb.WriteZeroes(session=session, offset_bytes=offset, length_bytes=length,
                                     flags=r.choice([0, 0, 1, 6]))
        elif kind == "resize":
            message = pb.Resize(session=session,
                                size_bytes=r.choice([IMAGE, IMAGE + 512, IMAGE // 2, 0, 513]))
        elif kind == "seek":
            message = pb.Seek(session=session, offset_bytes=offset, target=r.choice([0, 1]))
        elif kind == "list_devices":
            message = pb.ListDevices(after_device=self.number())
        elif kind == "list_sessions":
            message = pb.ListSessions(after_session=self.number())
        elif kind == "ping":
            message = pb.Ping()
        else:
            message = {"close": pb.Close, "get_info": pb.GetInfo, "get_config": pb.GetConfig,
                       "flush": pb.Flush}[kind](session=session)
        number = r.choice([0, 1, 2] + [r.randrange(1, 1 << 64)] * 60)
        return pb.Request(id=number, **{kind: message}), payload

    def mutate(self, data):
        """Flips, cuts, doubles, or overwrites; mostly near the front, where the structure is."""
        r = self.random
        data = bytearray(data)
        for _ in range(r.randrange(1, 4)):
            if not data:
                break
            at = min(int(r.expovariate(1 / 20)), len(data) - 1)
            what = r.randrange(5)
            if what == 0:
                data[at] ^= 1 << r.randrange(8)
            elif what == 1:
                del data[at:at + r.randrange(1, 9)]
            elif what == 2:
                data[at:at] = data[at:at + r.randrange(1, 30)]
            elif what == 3:
                data[at:at + 4] = r.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
            else:
                data[at:at] = r.randbytes(r.randrange(1, 9))
        return bytes(data)

    def frame(self):
        r = self.random
        request, payload = self.request()
        header = request.SerializeToString()
        if r.random() < 0.15:
            header = self.mutate(header)  # a good frame of a bad message
        data = wire.PREFIX.pack(len(header), len(payload)) + header + payload
        return self.mutate(data) if r.random() < 0.04 else data

    def send_with_descriptors(self, client, piece):
        """Of all kinds, and sometimes too many."""
        r = self.random
        pipe = os.pipe()
        file = os.open(os.fsdecode(self.paths[0]),
                       r.choice([os.O_RDWR, os.O_RDONLY, os.O_PATH, os.O_WRONLY]))
        fds = r.choice([[file]] * 6 + [[pipe[0]], [file, pipe[1]], [file] * 9])
        try:
            client.socket.sendmsg([piece], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                             array.array("i", fds))])
        finally:
            for fd in (file, *pipe):
                os.close(fd)

    def send(self, client, data):
        """In pieces, as far as the daemon takes them; reads whatever comes."""
        while data:
            readable, writable, _ = select.select([client.socket], [client.socket], [], 1)
            if readable and not client.socket.recv(MIB):
                return False
            if not readable and not writable:
                return True
            if writable:
                piece = data[:self.random.choice([1, 3, 8, 9, 100, 5000, MIB])]
                if self.random.random() < 0.06:
                    self.send_with_descriptors(client, piece)
                else:
                    piece = piece[:client.socket.send(piece)]
                data = data[len(piece):]
        return True

    def connection(self):
        """The daemon may end it at any time, even before its Hello if this thread has to wait for a CPU."""
        r = self.random
        try:
            with support.Client(self.daemon, "fuzz", greet=r.random() < 0.95) as client:
                if r.random() < 0.9 and client.next_id > 1:
                    self.session = client.open_path(r.choice(self.paths[:3]))
                client.socket.setblocking(False)
                for _ in range(r.randrange(1, 60)):
                    if not self.send(client, self.frame()):
                        return
        except (wire.Failed, wire.Closed, BrokenPipeError, ConnectionResetError, BlockingIOError):
            pass


class WireFuzz(support.FailureTest):
    config = ("[daemon]\nworkers = 2\nlog-level = error\n"
              "[limits]\nframe-timeout-ms = 500\nhello-timeout-ms = 500\n"
              "unread-timeout-ms = 500\n")

    def setUp(self):
        super().setUp()
        self.fuzz_paths = [os.fsencode(self.image(f"{i}.img", IMAGE, memory=i == 1))
                           for i in range(3)]
        self.fuzz_paths += [b"/dev/null", b"/", b"relative", b"nul\0nul", b"/" + b"x" * 5000,
                            os.fsencode(self.directory), b"", b"/proc/self/mem"]

    def fuzz(self, seed, counts):
        end = time.monotonic() + SECONDS
        fuzzer = Fuzzer(self, seed)
        connections = 0
        while time.monotonic() < end and self.daemon.process.poll() is None:
            fuzzer.connection()
            connections += 1
        counts.append(connections)

    def test_nobody_else_is_disturbed(self):
        good = self.client("good")
        path = self.image("good.img")
        session = good.open_path(path, lock=True)
        descriptors = self.daemon.descriptors()
        counts = []
        threads = [threading.Thread(target=self.fuzz, args=(SEED * 100 + i, counts))
                   for i in range(3)]
        for thread in threads:
            thread.start()
        model = bytearray(MIB)
        choose = random.Random(SEED)
        rounds = 0
        while any(thread.is_alive() for thread in threads):
            offset = choose.randrange(MIB // SECTOR - 16) * SECTOR
            data = choose.randbytes(SECTOR * choose.randrange(1, 16))
            good.write(session, offset, data)
            model[offset:offset + len(data)] = data
            offset = choose.randrange(MIB // SECTOR - 64) * SECTOR
            self.assertEqual(good.read(session, offset, 64 * SECTOR),
                             model[offset:offset + 64 * SECTOR])
            good.flush(session)
            rounds += 1
        self.assertGreater(rounds, 10)
        self.assertEqual(len(counts), len(threads), "a fuzzer ended with an error")
        self.assertGreater(sum(counts), 50)
        support.wait_until(lambda: len(good.sessions()) == 1, "the fuzzers' sessions are gone")
        support.wait_until(lambda: len(good.devices()) == 1, "their devices are closed")
        self.wait_descriptors(descriptors)
        good.close_session(session)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), model)


if __name__ == "__main__":
    unittest.main()
