#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: flush, resize, discard, zero and map."""

import os
import subprocess
import time
import unittest
import unittest.mock

from support import FAILED, KIB, MIB, SECONDS, USAGE, CliTest, file_bytes, on_tmpfs, pattern


class Change(CliTest):
    """flush, resize, discard, zero."""

    def test_flush(self):
        path = self.image()
        for sync in ["os", "drive"]:
            self.assertEqual(self.cli("flush", path, "--sync", sync).err, "")
        self.assertSays(self.cli("flush", path, "--sync", "none"), "warning", "does nothing")

    def test_what_is_on_stable_storage_afterwards(self):
        path = self.image()
        with self.holder(path):  # the daemon forgets a device's state with its last session
            def unsynced():
                return self.json("ls", name="devices")[0]["unsynced"]
            for arguments, expected in [
                    (["flush", path], False), (["write", path], True),
                    (["write", path, "--flush"], False), (["write", path, "--fua"], False),
                    (["zero", path, "--count", "1"], True), (["flush", path], False),
                    (["zero", path, "--count", "1", "--fua"], False)]:
                with self.subTest(arguments=arguments):
                    self.cli(*arguments, input=bytes(512))
                    self.assertIs(unsynced(), expected)

    def check_resize(self, path, size, *arguments):
        self.cli("resize", path, *arguments)
        self.assertEqual(os.stat(path).st_size, size)

    def test_resize(self):
        path = self.image(size=0)
        self.check_resize(path, 512, "1", "--sectors")
        self.check_resize(path, 4 * MIB, "4M")
        self.check_resize(path, 5 * MIB, "+1M")
        self.check_resize(path, 5 * MIB + 1024, "+2", "--sectors")
        self.check_resize(path, MIB + 1024, "-4M", "--shrink")
        self.check_resize(path, 0, "0", "--shrink")

    def test_shrinking_must_be_said(self):
        path = self.image()
        for size in ["-512", "512K"]:
            self.assertSays(self.cli("resize", path, size, code=USAGE), "--shrink", path)
        self.assertEqual(os.stat(path).st_size, MIB)

    def test_sizes_that_are_none(self):
        path = self.image()
        for size in ["1000", "-2M", "big", "+", "17E", "+18446744073709551615"]:
            with self.subTest(size=size):
                self.cli("resize", path, size, "--shrink", code=USAGE)
        self.assertEqual(os.stat(path).st_size, MIB)

    def test_discard_and_zero_give_zeroes_in_the_range_only(self):
        data = pattern(MIB)
        for command in [["discard"], ["zero"], ["zero", "--fua"]]:
            with self.subTest(command=command):
                path = self.image(data)
                self.cli(*command, path, "--sector", "3", "--count", "9")
                self.cli(*command, path, "--offset", "64K", "--length", "128K")
                expected = bytearray(data)
                expected[3 * 512:12 * 512] = bytes(9 * 512)
                expected[64 * KIB:192 * KIB] = bytes(128 * KIB)
                self.assertEqual(file_bytes(path), bytes(expected))

    def test_the_whole_device_must_be_said(self):
        data = pattern(64 * KIB)
        for command in ["discard", "zero"]:
            path = self.image(data)
            for arguments in [[], ["--sector", "0"], ["--count", "128"], ["--length", "1G"],
                              ["--all", "--count", "1"]]:
                with self.subTest(command=command, arguments=arguments):
                    self.assertSays(self.cli(command, path, *arguments, code=USAGE), "--all")
            self.assertEqual(file_bytes(path), data)
            self.cli(command, path, "--all")
            self.assertEqual(file_bytes(path), bytes(64 * KIB))

    def test_range_that_is_no_whole_sectors(self):
        path = self.image()
        for arguments in [["--offset", "1", "--count", "1"], ["--length", "100"]]:
            self.assertSays(self.cli("zero", path, *arguments, code=USAGE), "sector size (512 bytes)")

    def test_past_the_end(self):
        data = pattern(64 * KIB)
        path = self.image(data)
        for command in ["discard", "zero"]:
            self.assertSays(self.cli(command, path, "--sector", "127", "--count", "2", code=FAILED),
                            path)
        self.assertEqual(file_bytes(path), data)

    def test_fua_is_not_discard_s(self):
        self.cli("discard", self.image(), "--all", "--fua", code=USAGE)


class LostChanges(CliTest):
    """Every sync fails: another session's flush finds it out while the command has the device open."""

    @classmethod
    def setUpClass(cls):
        engine = os.environ.get("BLKD_ENGINE", "threads")
        with unittest.mock.patch.dict(os.environ, BLKD_ENGINE=f"fault:{engine}:sync=EIO"):
            super().setUpClass()

    def await_unsynced(self):
        deadline = time.monotonic() + SECONDS
        while not any(row["unsynced_changes"] for row in self.json("sessions", name="sessions")):
            self.assertLess(time.monotonic(), deadline, "nothing is written")
            time.sleep(0.01)

    def test_write_says_at_its_close_that_its_changes_may_be_lost(self):
        path = self.image()
        process = subprocess.Popen([os.environ["BLKD_CLI"], "write", path], stdin=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment())
        self.addCleanup(process.kill)
        process.stdin.write(bytes(MIB))
        process.stdin.flush()
        self.await_unsynced()
        self.cli("flush", path, code=FAILED)
        _, said = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, FAILED, said)
        self.assertRegex(said.decode(), "^blkd-cli: write: .*disk.img.* may be lost")

    def test_without_a_failure_nothing_is_said(self):
        self.assertEqual(self.cli("write", self.image(), input=bytes(KIB)).err, "")


class Map(CliTest):
    def sparse(self):
        path = self.image(size=MIB)
        with open(path, "r+b") as file:
            file.seek(256 * KIB)
            file.write(pattern(128 * KIB))
        return path

    def test_extents_and_totals(self):
        path = self.sparse()
        extents = [(row["offset_bytes"], row["length_bytes"], row["mapped"])
                   for row in self.json("map", path, name="map")]
        self.assertEqual(extents, [(0, 256 * KIB, False), (256 * KIB, 128 * KIB, True),
                                   (384 * KIB, 640 * KIB, False)])
        self.assertEqual(self.record("map", "--total", path, name="totals"),
                         {"mapped_bytes": 128 * KIB, "unmapped_bytes": 896 * KIB,
                          "size_bytes": MIB, "extents": 3})

    def test_plain(self):
        text = self.cli("map", self.sparse()).text
        self.assertRegex(text, r"(?m)^ *512 +256 +262144 +131072 +128 KiB allocated$")
        self.assertTrue(text.endswith("\n128 KiB allocated, 896 KiB in holes, 3 extents\n"), text)

    def test_sectors_follow_the_session(self):
        row = self.json("map", self.sparse(), "--sector-size", "4096", name="map")[1]
        self.assertEqual((row["start_sector"], row["count_sectors"]), (64, 32))

    def test_empty_and_full(self):
        self.assertEqual(self.json("map", self.image(size=0), name="map"), [])
        self.assertEqual([row["mapped"] for row in self.json(
            "map", self.image(pattern(MIB)), name="map")], [True])


ChangeOnTmpfs, MapOnTmpfs = on_tmpfs(Change, Map)


if __name__ == "__main__":
    unittest.main()
