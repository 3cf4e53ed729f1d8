#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A slow and a hung device delay nobody on the same worker: the latency of a fast device beside them.

The slow device is a loop device on FUSE (nbdfuse), whose server takes SLOW_MS for whatever it is asked;
it hangs when the server is stopped. Clients keep it busy with DEPTH reads and DEPTH writes all the time.
They are stopped for the measurements of how it is without them, which alternate with the others, so
that whatever else the machine does meets both.
"""

import collections
import json
import os
import signal
import statistics
import subprocess
import unittest

import support
from support import MIB, NbdImage

SLOW_MS = 50
DEPTH = 32
ROUNDS = 2
SECONDS = 0.15
# A worker that waits for one slow transfer keeps a fast one waiting for SLOW_MS or more; with 64 of
# them in flight, that is nearly every one, and so also the one in the middle, which other load hardly moves.
BLOCKED_MS = SLOW_MS / 2


@unittest.skipUnless(os.environ.get("BLKD_BENCH"), "needs blkd-bench (libnbd was not there to build it)")
@support.needs_fuse
@support.needs("nbdkit", "nbdfuse", "losetup")
class Isolation(support.FailureTest):
    config = "[daemon]\nworkers = 1\n"

    def setUp(self):
        super().setUp()
        self.server = NbdImage(self, "slow", "--filter=delay", "memory", "1G",
                               f"rdelay={SLOW_MS}ms", f"wdelay={SLOW_MS}ms")
        self.slow = self.loop(self.server.path, "--direct-io=on")
        self.fast = [self.filled("ext4.img"), self.filled("tmpfs.img", memory=True)]
        self.looker = self.client("looker")

    def tearDown(self):
        self.server.resume()
        super().tearDown()

    def filled(self, name, memory=False):
        path = self.image(name, memory=memory)
        with open(path, "wb") as file:
            file.write(os.urandom(16 * MIB))
        return path

    # ---- clients ----

    def bench(self, target, workload, depth, seconds):
        return [os.environ["BLKD_BENCH"], f"--socket={self.daemon.socket_path}",
                f"--target=blkd:{target}", f"--rw={workload}", f"--depth={depth}",
                f"--seconds={seconds}", "--warmup=0.05", "--no-calibration", "--json"]

    def start_busy(self, target, workload):
        """Goes on until it is killed."""
        return self.start_process(*self.bench(target, workload, DEPTH, 3600),
                                  stdout=subprocess.DEVNULL)

    def in_flight(self):
        return next((device.in_flight for device in self.looker.devices()
                     if device.path == os.fsencode(self.slow)), 0)

    def wait_busy(self):
        support.wait_until(lambda: self.in_flight() >= DEPTH, "they are busy on the slow device")

    def pause_busy(self, clients):
        for client in clients:
            client.send_signal(signal.SIGSTOP)
        support.wait_until(lambda: self.in_flight() == 0, "what was in flight has ended")

    def go_on(self, clients):
        for client in clients:
            client.send_signal(signal.SIGCONT)
        self.wait_busy()

    # ---- measuring ----

    def measure(self, p50s):
        """Adds to the p50, in microseconds, of each fast device's reads and writes."""
        for path in self.fast:
            for workload in ("randread", "randwrite"):
                done = subprocess.run(self.bench(path, workload, 1, SECONDS), check=True,
                                      stdout=subprocess.PIPE, timeout=support.DEADLINE)
                p50s[os.path.basename(path), workload].append(
                    json.loads(done.stdout)["latency_us"]["p50"])

    def compare(self, alone, beside, what):
        """How much slower it is differs with the machine, and is printed; that nobody waits for the slow
        device does not: a worker that blocks makes nearly all requests wait for it, in every round."""
        for key, values in beside.items():
            usual, best = statistics.median(alone[key]), min(values)
            report = (f"{' '.join(key)}: p50 {usual:.0f} us alone ({alone[key]}), "
                      f"{best:.0f} us beside a {what} device ({values})")
            print(report)
            self.assertLess(best, support.patience(BLOCKED_MS * 1000), report)

    def keep_up_beside(self, target, *workloads):
        alone, slow, hung = (collections.defaultdict(list) for _ in range(3))
        clients = [self.start_busy(target, workload) for workload in workloads]
        self.wait_busy()
        for _ in range(ROUNDS):
            self.measure(slow)
            self.server.pause(server_only=True)
            self.measure(hung)
            self.assertGreaterEqual(self.in_flight(), DEPTH, "it does not hang")
            self.server.resume()
            self.pause_busy(clients)
            self.measure(alone)
            self.go_on(clients)
        for client in clients:
            client.kill()
            client.wait()
        self.compare(alone, slow, "slow")
        self.compare(alone, hung, "hung")

    def test_direct(self):
        self.keep_up_beside(f"file://{self.slow}?buffered=0&sync=none", "randread", "randwrite")

    def test_buffered(self):
        """Writes with a flush each: without, they would stay in memory, and keep a CPU busy."""
        self.keep_up_beside(f"file://{self.slow}?buffered=1", "randread", "writeflush")

    def test_fuse(self):
        """The FUSE file itself: a transfer blocks whoever begins it."""
        self.slow = self.server.path
        self.keep_up_beside(f"file://{self.slow}?buffered=0&sync=none", "randread", "randwrite")


if __name__ == "__main__":
    unittest.main()
