#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the daemon finds when it starts, and what the system does to it while it runs."""

import os
import unittest

import support


class StandardDescriptors(support.FailureTest):
    def setUp(self):
        self.directory = self.temporary("/tmp")
        self.daemon = None

    def test_what_is_closed_at_start_takes_no_line_of_the_log(self):
        for closed in ((0, 1, 2), (0, 2), (2,)):
            daemon = self.start_daemon(
                prepare=lambda closed=closed: [os.close(descriptor) for descriptor in closed])
            for descriptor in closed:
                self.assertEqual(os.readlink(f"/proc/{daemon.pid}/fd/{descriptor}"), "/dev/null")
            self.expect_no_log_in(os.path.join(daemon.directory, "state"))
            daemon.stop()

    def expect_no_log_in(self, directory):
        for entry in os.scandir(directory):
            if entry.is_file():
                with open(entry.path, "rb") as file:
                    self.assertNotIn(b"level=", file.read(), entry.name)


if __name__ == "__main__":
    unittest.main()
