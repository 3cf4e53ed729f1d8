#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-bench against a real daemon: that it measures what it says, not how fast anything is.

BLKD_BIN and BLKD_BENCH in the environment name the programs.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

from contestants import die_with_parent  # noqa: E402

IMAGE_BYTES = 8 << 20
START_SECONDS = 20
SECONDS = 0.3


class Bench(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="blkd-bench-test-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.image = self.directory / "image"
        self.image.write_bytes(bytes(IMAGE_BYTES))
        self.socket = self.directory / "blkd.sock"

    def start(self, configuration=""):
        config = self.directory / "blkd.conf"
        config.write_text(configuration)
        log = open(self.directory / "log", "wb")
        self.addCleanup(log.close)
        self.daemon = subprocess.Popen(
            [os.environ["BLKD_BIN"], f"--config={config}", f"--socket={self.socket}",
             f"--state-dir={self.directory / 'state'}"],
            stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.addCleanup(self.stop)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.daemon.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.01)
        self.fail("blkd does not listen: " + (self.directory / "log").read_text())

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(30), 0)

    def run_bench(self, target, *arguments, environment=None):
        return subprocess.run(
            [os.environ["BLKD_BENCH"], f"--target={target}", f"--seconds={SECONDS}",
             "--no-calibration", "--json", *arguments], capture_output=True, text=True,
            timeout=100, check=False, env={**os.environ, **(environment or {})})

    def measure(self, target, *arguments, environment=None):
        done = self.run_bench(target, *arguments, environment=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertGreater(result["iops"], 0)
        return result

    def measure_blkd(self, *arguments, environment=None):
        return self.measure(f"blkd:{self.image}", f"--socket={self.socket}",
                            f"--server-pid={self.daemon.pid}", *arguments,
                            environment=environment)

    def test_the_tier_that_was_asked_for_is_the_one_that_is_measured(self):
        self.start()
        for tier, buffers in (("ring", "arena"), ("socket", "foreign")):
            for depth in (1, 8):
                result = self.measure_blkd(f"--tier={tier}", f"--depth={depth}",
                                           environment={"BLKD_TIER": "socket"})
                self.assertEqual((result["tier"], result["buffers"]), (tier, buffers))
        result = self.measure_blkd(environment={"BLKD_TIER": "socket"})
        self.assertEqual(result["tier"], "socket")

    def test_rings_that_are_not_to_be_had_are_no_measurement(self):
        self.start("[limits]\narena-mib-per-connection = 0\n")
        self.assertEqual(self.measure_blkd("--tier=auto")["tier"], "socket")
        done = self.run_bench(f"blkd:{self.image}", f"--socket={self.socket}", "--tier=ring",
                              "--clients=16")
        self.assertEqual(done.returncode, 1)
        lines = done.stderr.splitlines()
        self.assertTrue(all(line.startswith("blkd-bench: ") for line in lines), done.stderr)
        self.assertLess(len(lines), 8)
        self.assertIn("further messages", lines[-1])

    def test_hundreds_of_clients(self):
        self.start()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        try:
            for kind in ([], ["--processes"]):
                result = self.measure_blkd("--clients=256", "--depth=2", "--tier=socket", *kind)
                self.assertEqual(result["errors"], 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_idle_connections_are_there_and_their_cost_is_told(self):
        for extra, is_open in ((), False), (("--idle-open",), True):
            with self.subTest(extra):
                self.start()
                idle = self.measure_blkd("--idle=400", *extra)["idle"]
                self.assertEqual((idle["connections"], idle["open"]), (400, is_open))
                before, after = idle["server_rss_bytes"]
                self.assertGreater(after, before)
                self.assertAlmostEqual(idle["server_rss_bytes_each"], (after - before) / 400,
                                       delta=0.1)
                self.assertLess(idle["server_cpu_percent"], 50)
                log = (self.directory / "log").read_text()
                self.assertGreaterEqual(log.count("event=session-opened"), 401 if is_open else 1)
                self.assertLess(log.count("event=session-opened"), 410 if is_open else 10)
                self.doCleanups()
                self.setUp()

    def check_cpu(self, *arguments):
        """That the CPU time an operation adds up to what the kernel says about all of it."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = self.measure(f"direct:{self.image}", "--warmup=0", "--clients=4", *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        counted = result["cpu_us_per_op"]["client"] * result["iops"] * SECONDS / 1e6
        self.assertTrue(0.4 * used < counted < 1.6 * used, (used, counted))

    def test_cpu_time_is_that_of_all_threads(self):
        self.check_cpu()

    def test_cpu_time_is_that_of_all_processes(self):
        self.check_cpu("--processes")

    def test_no_more_is_done_than_cpus_can_do(self):
        # Each operation's CPU time is known from one client; hundreds that wait for a CPU do not
        # have more of it.
        alone = self.measure(f"direct:{self.image}")["iops"]
        many = self.measure(f"direct:{self.image}", "--clients=200")["iops"]
        self.assertLess(many, alone * len(os.sched_getaffinity(0)) * 3)

    def test_percentiles_go_up(self):
        latency = self.measure(f"uring:{self.image}", "--depth=8")["latency_us"]
        values = [latency[name] for name in ("p50", "p90", "p99", "p99.9", "p99.99", "max")]
        self.assertEqual(values, sorted(values))


if __name__ == "__main__":
    unittest.main()
