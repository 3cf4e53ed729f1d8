#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The kernel refuses the n-th call of a kind, or all of them (refuse.c): while the daemon starts, opens,
transfers, locks and stops. It never hangs, never aborts, and never fails without a word."""

import errno
import os
import subprocess
import unittest

import support
from support import MIB, pb, wire

ALL = 1 << 30
POINTS = 3  # of each kind of call that are refused
CALLS = {
    "clone3": errno.EAGAIN,
    "epoll_create1": errno.EMFILE,
    "epoll_ctl": errno.ENOMEM,
    "eventfd2": errno.EMFILE,
    "fallocate": errno.ENOSPC,
    "flock": errno.ENOLCK,
    "io_uring_enter": errno.EPERM,
    "io_uring_register": errno.ENOMEM,
    "io_uring_setup": errno.EPERM,
    "memfd_create": errno.ENOSYS,
    "mmap": errno.ENOMEM,
    "openat": errno.EMFILE,
    "pidfd_open": errno.EMFILE,
    "preadv2": errno.ENOSYS,
    "pwritev2": errno.EPERM,
}
LIBEVENT = r"(?m)^\[(warn|err|msg)\]"  # its own lines, which are not the log's
# What there must not be any of for the daemon to start; without the others it can do.
NEEDED = {"clone3", "epoll_create1", "epoll_ctl", "eventfd2", "flock", "mmap", "openat"}


class RefusedCalls(support.FailureTest):
    def setUp(self):
        self.directory = self.temporary("/tmp")
        self.daemon = None
        self.path = self.image()
        self.report = os.path.join(self.directory, "report")

    def start(self, call, first, count):
        """None: it has said that it cannot start."""
        if os.path.exists(self.report):
            os.unlink(self.report)
        refuse = [os.environ["BLKD_REFUSE"], call, str(first), str(count), str(CALLS[call]),
                  self.report]
        try:
            return self.start_daemon("[daemon]\nworkers = 1\n", wrapper=refuse)
        except RuntimeError as error:
            self.assertRegex(str(error), "level=error|\nblkd: ")
            self.assertNotRegex(str(error), support.REPORT)
            self.assertNotRegex(str(error), LIBEVENT)
            return None

    def use(self, daemon):
        """The words with which steps failed."""
        failures = []
        client = None
        try:
            client = support.Client(daemon, greet=False)
            client.call("hello", pb.Hello(version=1, client_name="refused", features=pb.FEATURE_RING))
            session = client.open_path(self.path)
            steps = [
                lambda: client.write(session, 0, b"x" * 8192),
                lambda: client.write(session, 0, b"x" * 8192, flags=pb.WRITE_FLAG_FUA),
                lambda: client.read(session, 0, 8192),
                lambda: client.read(session, MIB // 2, 4096),
                lambda: client.call("lock", pb.Lock(session=session, mode=pb.LOCK_MODE_EXCLUSIVE)),
                lambda: client.call("setup_ring", pb.SetupRing(entries=64)),
                lambda: client.zero(session, 0, 4096),
                lambda: client.flush(session),
                lambda: client.close_session(session),
            ]
            for step in steps:
                try:
                    step()
                except wire.Failed as failure:
                    failures.append(str(failure))
        except wire.Failed as failure:
            failures.append(str(failure))
        except (wire.Closed, ConnectionError):
            failures.append("closed")  # the daemon has said so in its log
            self.assertRegex(daemon.log(), "level=(warning|error) |errno=")
        finally:
            if client is not None:
                client.close()
        return failures

    def go_through(self, call, first, count):
        """From start to stop. Returns whether it started."""
        daemon = self.start(call, first, count)
        if daemon is None:
            return False
        failures = self.use(daemon)
        if failures:
            self.assertTrue(all(failures), failures)
        if count == 1 and failures:
            self.assertEqual(self.lasting(daemon), [], f"one refused {call} is not got over")
        self.end(daemon)
        return True

    def lasting(self, daemon):
        """What still fails, but for what the log says is not available."""
        return [words for words in self.use(daemon)
                if "rings are not available" not in words or
                not daemon.log_lines("rings-unavailable")]

    def end(self, daemon):
        daemon.signal(support.signal.SIGTERM)
        self.assertIn(daemon.wait(), (0, 1), daemon.log())
        self.assertNotRegex(daemon.log(), support.REPORT)
        self.assertNotRegex(daemon.log(), LIBEVENT)

    def count_of_loader(self, call):
        """What the dynamic linker calls: not blkd's to get over."""
        self.run_tool(os.environ["BLKD_REFUSE"], call, str(ALL), "1", "1", self.report,
                      os.environ["BLKD_BIN"], "--version")
        return self.read_count()

    def count_calls(self, call):
        self.go_through(call, ALL, 1)
        return self.read_count()

    def read_count(self):
        support.wait_until(lambda: os.path.exists(self.report) and os.path.getsize(self.report),
                           "the supervisor's report")
        with open(self.report, encoding="ascii") as file:
            return int(file.read().split()[0])

    def sweep(self, call):
        loader = self.count_of_loader(call)
        count = self.count_calls(call)
        ours = count - loader
        for first in sorted({loader + 1 + ours * point // POINTS for point in range(POINTS)}):
            if first <= count:
                with self.subTest(call=call, refused=first, of=count):
                    self.go_through(call, first, 1)
        with self.subTest(call=call, refused="all"):
            started = self.go_through(call, loader + 1, ALL)
            if call not in NEEDED:
                self.assertTrue(started or os.environ.get("BLKD_ENGINE") == "io_uring")


def why_not():
    """Why no call can be refused here, or None."""
    done = subprocess.run([os.environ["BLKD_REFUSE"], "flock", "1", "1", "1", "/dev/null", "true"],
                          capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no filter can be installed: {done.stderr.strip()}"


def add_test(call):
    def test(self):
        if why_not():
            self.skipTest(why_not())
        if call == "mmap" and support.sanitized():
            self.skipTest("a sanitizer ends without memory")
        self.sweep(call)
    setattr(RefusedCalls, f"test_{call}", test)


for name in CALLS:
    add_test(name)


if __name__ == "__main__":
    unittest.main()
