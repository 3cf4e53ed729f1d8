#!/usr/bin/python3
# SPDX-License-Identifier: MIT
""".ci/tests with a ctest of its own, whose tests fail once, always, or never. $CTEST names the program."""

import os
import pathlib
import subprocess
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[2] / ".ci" / "tests"


class Runs(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="blkd-ci-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.results = self.directory / "results"
        self.results.mkdir()
        self.suite = self.directory / "CTestTestfile.cmake"
        self.suite.touch()
        # As scripts/test takes its arguments: what follows -- is ctest's.
        self.command = self.directory / "command"
        self.command.write_text('#!/bin/sh\nshift\nexec "$CTEST" --test-dir "$(dirname "$0")" "$@"\n')
        self.command.chmod(0o755)

    def add(self, name, script, properties=""):
        """The script has a directory of its own, in which $0 names what has to do with this test."""
        with self.suite.open("a") as file:
            file.write(f'add_test([=[{name}]=] /bin/sh -c [=[{script}]=] '
                       f'"{self.directory}/{name.replace("/", "-")}")\n'
                       f"set_tests_properties([=[{name}]=] PROPERTIES SKIP_RETURN_CODE 77 {properties})\n")

    def add_flaky(self, name):
        self.add(name, 'test -e "$0" || { touch "$0"; echo "the first time"; exit 1; }')

    def run_tests(self, name="run", options=()):
        return subprocess.run([TESTS, "run", self.results, name, self.command, *options],
                              capture_output=True, text=True, check=False,
                              env={"CTEST": "ctest", **os.environ})

    def sum(self, *failed):
        """Its exit code, its lines."""
        done = subprocess.run([TESTS, "sum", self.results, *failed], capture_output=True, text=True,
                              check=False)
        return done.returncode, done.stdout.splitlines()

    def test_all_pass(self):
        self.add("good", "exit 0")
        self.add("left/out", "exit 77")
        self.assertEqual(self.run_tests().returncode, 0)
        self.assertEqual(self.sum(), (0, ["1 passed, 0 failed, 1 skipped"]))

    def test_one_that_fails_once_is_flaky_and_passes(self):
        self.add("good", "exit 0")
        self.add_flaky("a/b+c.d")
        self.assertEqual(self.run_tests().returncode, 0)
        code, lines = self.sum()
        self.assertEqual(code, 0)
        self.assertTrue(lines[0].startswith("flaky: a/b+c.d "), lines)
        self.assertIn("    the first time", lines)
        self.assertEqual(lines[-1], "2 passed, 0 failed, 0 skipped")

    def test_one_that_fails_twice_has_failed(self):
        self.add("bad", 'echo x >>"$0"; exit 1')
        self.add("good", 'echo x >>"$0"')
        self.assertNotEqual(self.run_tests().returncode, 0)
        code, lines = self.sum()
        self.assertNotEqual(code, 0)
        self.assertEqual(lines, ["failed: bad (run)", "1 passed, 1 failed, 0 skipped"])
        self.assertEqual((self.directory / "bad").read_text(), "x\nx\n")
        self.assertEqual((self.directory / "good").read_text(), "x\n", "it was run again, too")

    def test_it_is_run_again_alone_after_the_rest(self):
        order = f'echo "$0" >>{self.directory}/order'
        self.add("bad", f"{order}; exit 1")
        for number in range(3):
            self.add(f"good-{number}", order)
        self.run_tests()
        names = [line.rpartition("/")[2] for line in (self.directory / "order").read_text().split()]
        self.assertEqual(names, ["bad", "good-0", "good-1", "good-2", "bad"])

    def test_two_flaky_tests_are_borne_and_three_are_not(self):
        for number, code in enumerate((0, 0, 1)):
            with self.subTest(number=number):
                self.suite.write_text("")
                self.add_flaky(f"flaky-{number}")
                self.assertEqual(self.run_tests(f"run-{number}").returncode, 0)
                self.assertEqual(self.sum()[0], code)
        self.assertEqual(self.sum()[1][-1], "3 passed, 1 failed, 0 skipped")

    def test_one_that_is_skipped_the_second_time_has_not_passed(self):
        self.add("odd", 'test -e "$0" && exit 77; touch "$0"; exit 1')
        self.assertNotEqual(self.run_tests().returncode, 0)
        self.assertEqual(self.sum()[1][-1], "0 passed, 1 failed, 0 skipped")

    def test_one_whose_program_is_missing_has_failed(self):
        with self.suite.open("a") as file:
            file.write("add_test(absent /nonexistent/program)\n")
        self.assertNotEqual(self.run_tests().returncode, 0)
        self.assertEqual(self.sum()[1][-1], "0 passed, 1 failed, 0 skipped")

    def test_one_that_takes_too_long_is_run_again(self):
        self.add("slow", 'test -e "$0" && exit 0; touch "$0"; exec sleep 60', "TIMEOUT 1")
        self.assertEqual(self.run_tests().returncode, 0)
        self.assertTrue(self.sum()[1][0].startswith("flaky: slow "))

    def test_a_run_that_does_not_come_to_testing_has_failed(self):
        self.command.write_text("#!/bin/sh\nexit 3\n")
        self.assertNotEqual(self.run_tests().returncode, 0)
        self.assertEqual(self.sum("2"), (1, ["failed: the run itself, with exit code 3 (run)",
                                             "0 passed, 3 failed, 0 skipped"]))

    def test_options_of_ctest_hold_the_second_time_too(self):
        for name in ("bad", "good", "left-out"):
            self.add(name, f'echo x >>"$0"; exit {int(name != "good")}')
        options = ["--", "--tests-regex", "^(bad|good|left-out)$", "--exclude-regex", "left"]
        self.assertNotEqual(self.run_tests(options=options).returncode, 0)
        self.assertEqual(self.sum()[1], ["failed: bad (run)", "1 passed, 1 failed, 0 skipped"])
        self.assertEqual((self.directory / "good").read_text(), "x\n", "it was run again, too")
        self.assertFalse((self.directory / "left-out").exists())

    def test_what_it_needs_is_run_again_with_it(self):
        self.add("before", 'echo x >>"$0"', "FIXTURES_SETUP room")
        self.add_flaky("in-room")
        with self.suite.open("a") as file:
            file.write("set_tests_properties(in-room PROPERTIES FIXTURES_REQUIRED room)\n")
        self.assertEqual(self.run_tests().returncode, 0)
        self.assertEqual((self.directory / "before").read_text(), "x\nx\n")
        self.assertEqual(self.sum()[1][-1], "2 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main()
