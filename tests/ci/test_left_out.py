#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scripts/left-out tells of each skipped test why, from what ctest writes. $CTEST names the program, if set."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITTEST = """
import unittest
class Kind(unittest.TestCase):
    @unittest.skip("there is no such device")
    def test_device(self):
        pass
    def test_other(self):
        {other}
"""


class LeftOut(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="blkd-ci-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def lines(self, *tests):
        """What it says of these (name, command)s."""
        with (self.directory / "CTestTestfile.cmake").open("w") as file:
            for name, command in tests:
                file.write(f"add_test([=[{name}]=] /bin/sh -c [=[{command}]=])\n"
                           f"set_tests_properties([=[{name}]=] PROPERTIES SKIP_RETURN_CODE 77)\n")
        junit = self.directory / "tests.xml"
        subprocess.run([os.environ.get("CTEST", "ctest"), "--test-dir", self.directory,
                        "--output-junit", junit], check=False, stdout=subprocess.DEVNULL)
        done = subprocess.run([ROOT / "scripts" / "left-out", junit], check=True,
                              capture_output=True, text=True)
        return done.stdout.splitlines()

    def unittest_file(self, other):
        path = self.directory / f"{other}_kind.py"
        path.write_text(UNITTEST.format(other=other if other == "pass" else "self.skipTest('nor this')"))
        return f"{ROOT}/tests/integration/run {path}"

    def test_one_that_passes_is_not_told_of(self):
        self.assertEqual(self.lines(("good", "exit 0")), [])

    def test_all_of_it_or_a_part(self):
        self.assertEqual(self.lines(("all", "echo skipped: no root; exit 77"),
                                    ("part", "echo skipped: no loop; echo skipped: no loop")),
                         ["skipped: all: no root", "skipped: part in part: no loop"])

    def test_one_that_does_not_say_why(self):
        self.assertEqual(len(self.lines(("dumb", "exit 77"))), 1)

    def test_tap(self):
        self.assertEqual(self.lines(("tap", 'echo "1..0 # SKIP no namespaces"; exit 77')),
                         ["skipped: tap: no namespaces"])

    def test_a_unittest_of_which_a_part_is_skipped_passes(self):
        lines = self.lines(("python", self.unittest_file("pass")))
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith("skipped: python in part: test_device "), lines)
        self.assertTrue(lines[0].endswith("there is no such device"), lines)

    def test_a_unittest_of_which_all_is_skipped_is_skipped(self):
        lines = self.lines(("python", self.unittest_file("skipped")))
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertTrue(line.startswith("skipped: python: "), line)


if __name__ == "__main__":
    unittest.main()
