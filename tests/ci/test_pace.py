#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The integration tests' limits on time: who is blamed, the daemon or the machine."""

import os
import pathlib
import subprocess
import sys
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import pace  # noqa: E402


class Limits(unittest.TestCase):
    def setUp(self):
        self.sanitized = mock.patch.object(pace, "sanitized", lambda: False)
        self.sanitized.start()
        self.addCleanup(self.sanitized.stop)

    def within(self, before, after, took, limit=1.0):
        """Whether it is in time on a machine that is so slow before and after."""
        with mock.patch.object(pace, "last", lambda: before):
            watch = pace.Watch()
        with mock.patch.object(pace, "slowness", lambda: after):
            return watch.within(limit, took)

    def test_on_a_quiet_machine_the_limit_is_the_limit(self):
        self.assertTrue(self.within(1, 1, 0.9))
        self.assertFalse(self.within(1, 1, 1.1))

    def test_a_busy_machine_before_or_after_is_to_blame(self):
        self.assertTrue(self.within(10, 1, 9))
        self.assertTrue(self.within(1, 10, 9))

    def test_not_for_everything(self):
        self.assertFalse(self.within(10, 10, 11))

    def test_nothing_takes_for_ever(self):
        self.assertTrue(self.within(1000, 1000, pace.EVER_SECONDS - 1))
        self.assertFalse(self.within(1000, 1000, pace.EVER_SECONDS + 1))

    def test_a_sanitizer_is_slow(self):
        with mock.patch.object(pace, "sanitized", lambda: True):
            self.assertTrue(self.within(1, 1, 4.9))
            self.assertFalse(self.within(1, 1, 5.1))

    def test_what_is_in_time_costs_no_measurement(self):
        with mock.patch.object(pace, "slowness", side_effect=AssertionError):
            self.assertTrue(pace.Watch().within(60))

    def test_a_busy_machine_is_seen_to_be_slow(self):
        """Each CPU has eight who never wait."""
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
                for _ in range(8 * len(os.sched_getaffinity(0)))]
        try:
            self.assertGreater(min(pace.slowness() for _ in range(3)), 2)
        finally:
            for process in busy:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main()
