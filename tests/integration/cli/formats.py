#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: files whose bytes are not those of the disk in them."""

import gzip
import os
import subprocess
import unittest

from support import FAILED, MIB, SECONDS, CliTest, file_bytes, pattern

QCOW2 = b"QFI\xfb\0\0\0\3"
MAGICS = {"qcow2": QCOW2, "vmdk": b"KDMV", "vdi": b"<<< Oracle VM VirtualBox".ljust(64, b"\0") +
          b"\x7f\x10\xda\xbe", "vhdx": b"vhdxfile", "vhd": b"conectix",
          "gzip": gzip.compress(b"disk"), "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}


class Formats(CliTest):
    def of(self, magic, size=MIB):
        return self.image(magic + pattern(size - len(magic)))

    def test_info_and_read_warn_in_one_line(self):
        for name, magic in MAGICS.items():
            path = self.of(magic)
            advice = "decompress it" if name in ["gzip", "xz", "zstd"] else "qemu-img convert"
            for arguments in [["info", path], ["read", path]]:
                with self.subTest(arguments=arguments, name=name):
                    result = self.cli(*arguments)
                    self.assertSays(result, f"warning: {path}: this is a {name} file", advice,
                                    "not those of the disk")
                    self.assertEqual(result.err.count("\n"), 1)
            self.assertEqual(self.record("info", path, name="info")["format"], name)
        self.assertEqual(result.out, file_bytes(path))

    def test_a_disk_is_no_reason_to_warn(self):
        path = self.image(bytes(510) + b"\x55\xaa" + pattern(MIB - 512))
        for arguments in [["info", path], ["info", "--direct", path], ["read", path, "--count", "1"],
                          ["write", path, "--sector", "8"], ["info", self.image(b"", name="empty")]]:
            with self.subTest(arguments=arguments):
                self.assertEqual(self.cli(*arguments, input=bytes(512)).err, "")
        self.assertIsNone(self.record("info", path, name="info")["format"])

    def test_changes_are_refused_unless_they_are_asked_for(self):
        for arguments in [["write"], ["write", "--direct", "--sector-size", "4096"],
                          ["zero", "--sector", "8", "--count", "8"],
                          ["discard", "--sector", "8", "--count", "8"]]:
            path = self.of(QCOW2)
            before = file_bytes(path)
            with self.subTest(arguments=arguments):
                result = self.cli(*arguments, path, input=bytes(4096), code=FAILED)
                self.assertSays(result, path, "a qcow2 file", "nothing was written",
                                "--raw-anyway")
                self.assertEqual(file_bytes(path), before)
                self.assertEqual(
                    self.cli(*arguments, "--raw-anyway", path, input=bytes(4096)).err, "")
                self.assertNotEqual(file_bytes(path), before)

    def test_resize_is_refused_unless_it_is_asked_for(self):
        path = self.of(QCOW2)
        self.assertSays(self.cli("resize", path, "+1M", code=FAILED), "a qcow2 file")
        self.assertEqual(os.stat(path).st_size, MIB)
        self.cli("resize", "--raw-anyway", path, "+1M")
        self.assertEqual(os.stat(path).st_size, 2 * MIB)

    def test_the_whole_device_can_be_zeroed(self):
        path = self.of(QCOW2)
        self.cli("zero", path, "--all")
        self.assertEqual(file_bytes(path), bytes(MIB))

    def test_an_odd_size_is_not_to_be_truncated(self):
        path = self.of(QCOW2, size=MIB + 100)
        for command in ["info", "read", "write"]:
            result = self.cli(command, path, code=FAILED)
            self.assertSays(result, path, "a qcow2 file", str(MIB + 100), "qemu-img convert")
            self.assertNotIn("truncate", result.err)
        raw = self.image(pattern(MIB + 100))
        self.assertSays(self.cli("info", raw, code=FAILED), "truncate")

    def test_a_warning_does_not_get_into_the_output(self):
        """With stderr closed, the output file must not take its number."""
        path, output = self.of(QCOW2), self.path("output")
        subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", os.environ["BLKD_CLI"], "read", path,
                        "-o", output], env=self.environment(), timeout=SECONDS, check=True)
        self.assertEqual(file_bytes(output), file_bytes(path))


if __name__ == "__main__":
    unittest.main()
