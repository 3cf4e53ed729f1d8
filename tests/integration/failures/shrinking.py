#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An image shrinks and grows while many writes are in flight: each is answered, and none that was
acknowledged below the new end is lost."""

import random
import unittest

import faults
import support
from support import KIB, pb, wire

SECTOR = 4 * KIB
SECTORS = 256
IN_FLIGHT = 32
STEPS = 3000


class Image:
    """What the image's sectors may hold: a write in flight makes it unknown until it is answered."""

    def __init__(self):
        self.known = {sector: 0 for sector in range(SECTORS)}
        self.size = SECTORS

    def shrunk(self, sectors):
        for sector in range(sectors, SECTORS):
            self.known[sector] = 0
        self.size = sectors


class Shrinking(support.FailureTest):
    def start_daemon(self, config="", **more):
        rules = "write%5=delay:2ms,write%13=delay:7ms"
        with faults.engine(rules):
            return super().start_daemon(config, **more)

    def setUp(self):
        super().setUp()
        self.image_path = self.image(size=SECTORS * SECTOR)
        self.writer = self.client()
        self.session = self.writer.open_path(self.image_path, lock=True)
        self.expected = Image()
        self.flying = {}
        self.random = random.Random(7)
        self.refused = self.written = 0

    def write(self, number):
        busy = {sector for sector, _ in self.flying.values()}
        sector = self.random.choice([s for s in range(SECTORS) if s not in busy])
        data = number.to_bytes(8, "little") * (SECTOR // 8)
        request = self.writer.start_write(self.session, sector * SECTOR, data)
        self.flying[request] = (sector, number)

    def finish_one(self):
        request = next(iter(self.flying))
        reply, _ = self.writer.wait(request)
        sector, number = self.flying.pop(request)
        if reply.status == pb.STATUS_OK:
            self.expected.known[sector] = number
            self.written += 1
        else:
            self.assertEqual(wire.status_name(reply.status), "ENOSPC", reply.message)
            self.refused += 1

    def resize(self, sectors):
        """Whatever is in flight and not answered before may have come before or after it."""
        request = self.writer.start("resize", pb.Resize(session=self.session,
                                                        size_bytes=sectors * SECTOR))
        before = dict(self.flying)
        self.writer.finish(request)
        while self.flying:
            self.finish_one()
        shrinks = sectors < self.expected.size
        for sector, _ in before.values():
            if shrinks and sector >= sectors:
                self.expected.known[sector] = 0  # written and cut off, or refused
        if shrinks:
            self.expected.shrunk(sectors)
        self.expected.size = sectors

    def check(self):
        data = self.writer.read(self.session, 0, self.expected.size * SECTOR)
        for sector in range(self.expected.size):
            piece = data[sector * SECTOR:(sector + 1) * SECTOR]
            wanted = self.expected.known[sector].to_bytes(8, "little") * (SECTOR // 8)
            self.assertEqual(piece, wanted, f"sector {sector}")

    def test_under_load(self):
        for number in range(1, STEPS + 1):
            self.write(number)
            if len(self.flying) == IN_FLIGHT:
                self.finish_one()
            if number % 100 == 0:
                self.resize(self.random.randrange(SECTORS // 4, SECTORS + 1))
                self.check()
        self.assertGreater(self.refused, STEPS // 50)
        self.assertGreater(self.written, STEPS // 4)


if __name__ == "__main__":
    unittest.main()
