#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: every command on loop devices. They need root; the tests skip without it."""

import contextlib
import os
import stat
import subprocess
import unittest

from support import BUSY, FAILED, KIB, MIB, USAGE, CliTest, pattern


class BlockDevice(CliTest):
    """Loop devices."""

    def loop(self, *options, size=MIB):
        if os.getuid() != 0:
            self.skipTest("loop devices need root")
        made = subprocess.run(["losetup", "--find", "--show", *options, self.image(size=size)],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            self.skipTest(f"no loop device: {made.stderr.strip()}")
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True)
        return device

    def test_the_whole_way(self):
        device = self.loop()
        data = pattern(MIB)
        info = self.record("info", device, name="info")
        self.assertEqual((info["kind"], info["size_bytes"], info["sector_size"]),
                         ("block", MIB, 512))
        self.cli("write", device, "--flush", input=data)
        self.assertEqual(self.cli("read", device).out, data)
        self.cli("discard", device, "--offset", "4K", "--length", "60K")
        self.cli("zero", device, "--sector", "1000", "--count", "1", "--fua")
        expected = bytearray(data)
        expected[4 * KIB:64 * KIB] = bytes(60 * KIB)
        expected[512000:512512] = bytes(512)
        self.assertEqual(self.cli("read", device, "--offset", "0").out, bytes(expected))
        self.assertEqual([row["mapped"] for row in self.json("map", device, name="map")], [True])

    def test_large_sectors(self):
        device = self.loop("--sector-size", "4096")
        self.assertEqual(self.record("info", device, name="info")["sector_size"], 4096)
        self.assertSays(self.cli("write", device, "--offset", "512", input=bytes(4096), code=USAGE),
                        "4096 bytes")
        self.assertSays(self.cli("write", device, input=bytes(512), code=FAILED), "4096 bytes")
        self.cli("info", device, "--direct", "--sector-size", "512", code=FAILED)

    def test_an_odd_size_is_rounded_down(self):
        device = self.loop("--sector-size", "4096", size=MIB + 512)
        info = self.record("info", device, name="info")
        self.assertEqual((info["size_bytes"], info["sector_size"]), (MIB, 4096))
        self.assertEqual(len(self.cli("read", device).out), MIB)
        self.cli("read", device, "--offset", str(MIB), "--length", "4096", code=FAILED)

    def test_a_sector_size_is_a_preference(self):
        device = self.loop("--sector-size", "4096")
        for asked in (512, 8192):
            address = f"file://{device}?prefered_sector_size={asked}"
            info = self.record("info", address, name="info")
            self.assertEqual((info["sector_size"], info["asked_sector_size"]), (4096, asked))
            self.assertSays(self.cli("info", address), "4096 bytes", f"not {asked}")
            self.cli("info", address + "&strict=1", code=FAILED)
            # The number of a sector would mean another place than the user thinks.
            self.assertSays(self.cli("write", address, "--sector", "1", input=bytes(4096),
                                     code=FAILED), "nothing was done", f"{asked} bytes")

    def test_a_block_device_cannot_be_resized(self):
        device = self.loop()
        self.assertSays(self.cli("resize", device, "2M", code=FAILED), device)

    def test_read_only_device(self):
        device = self.loop("--read-only")
        info = self.record("info", device, name="info")
        self.assertEqual((info["mode"], info["asked_mode"]), ("ro", "auto"))
        self.assertSays(self.cli("write", device, input=bytes(512), code=FAILED), device)
        self.assertEqual(self.cli("read", device, "--count", "1").out, bytes(512))

    def test_output_to_a_block_device(self):
        """Over its old contents, unless somebody has it exclusively."""
        device, data = self.loop(size=2 * MIB), pattern(MIB)
        path = self.image(data, name="source")
        self.cli("read", path, "-o", device)
        self.assertEqual(self.cli("read", device).out, data + bytes(MIB))
        with contextlib.closing(os.fdopen(os.open(device, os.O_RDWR | os.O_EXCL), "rb")):
            result = self.cli("read", path, "--length", "1K", "-o", device, code=BUSY)
            self.assertSays(result, device, "in use: ")
        with self.holder(device):
            result = self.cli("read", path, "--length", "1K", "-o", device, code=BUSY)
            self.assertSays(result, device, "in use: session ")

    def test_input_from_a_block_device_that_does_not_fit(self):
        """Its size is known: it is refused before the first byte."""
        device, data = self.loop(size=4 * MIB), pattern(MIB)
        path = self.image(data, name="target")
        result = self.cli("write", path, "-i", device, code=FAILED)
        self.assertSays(result, f"{4 * MIB} bytes do not fit", "nothing was written")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), data)
        self.cli("write", path, "-i", device, "--length", "1M")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), bytes(MIB))

    def test_output_to_the_device_itself(self):
        device = self.loop()
        node, backing = self.path("node"), self.path("disk.img")
        os.mknod(node, stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
        self.assertSays(self.cli("read", device, "-o", node, code=FAILED),
                        "the device that is to be read")
        self.assertSays(self.cli("read", device, "-o", backing, code=BUSY), "in use: ")
        self.assertEqual(os.stat(backing).st_size, MIB)

    def test_sessions_by_another_node_of_the_device(self):
        device = self.loop()
        status = os.stat(device)
        node = self.path("node")
        os.mknod(node, stat.S_IFBLK | 0o600, status.st_rdev)
        with self.holder(device):
            rows = self.json("sessions", node, name="sessions")
        self.assertEqual([row["path"] for row in rows], [device])


if __name__ == "__main__":
    unittest.main()
