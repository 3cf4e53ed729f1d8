#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A daemon for a test: $BLKD_BIN, with --engine $BLKD_ENGINE if that is set.

As a program: server.py COMMAND ARGUMENT..., runs the command with $BLKD_SOCKET set.
"""

import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keeper  # noqa: E402
import pace  # noqa: E402

START_SECONDS = 20
STOP_SECONDS = 20
SANITIZER = re.compile(r"Sanitizer|runtime error:|Assertion .* failed")


class Daemon:
    """Runs from its making to stop(); its files are in a directory that stop() removes."""

    def __init__(self, config="", mode=0o600):
        program = os.environ["BLKD_BIN"]
        self.directory = tempfile.mkdtemp(prefix="blkd-test-")
        keeper.keep_directory(self.directory)
        os.chmod(self.directory, 0o755)
        self.socket_path = os.path.join(self.directory, "blkd.sock")
        self.log_path = os.path.join(self.directory, "log")
        config_path = os.path.join(self.directory, "blkd.conf")
        with open(config_path, "w", encoding="utf-8") as file:
            file.write(config)
        command = [program, "--socket", self.socket_path, "--config", config_path,
                   "--state-dir", os.path.join(self.directory, "state")]
        if os.environ.get("BLKD_ENGINE"):
            command += ["--engine", os.environ["BLKD_ENGINE"]]
        # What a sanitizer keeps of freed memory would hide how much the daemon takes.
        options = "quarantine_size_mb=8:" + os.environ.get("ASAN_OPTIONS", "")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log,
                                            env=dict(os.environ, ASAN_OPTIONS=options))
        keeper.keep_process(self.process.pid)
        try:
            self._wait_ready()
            os.chmod(self.socket_path, mode)
        except BaseException:
            self._end()
            raise

    def _wait_ready(self):
        """It is ready when it can be connected to; its end would say that it never will be."""
        pidfd = os.pidfd_open(self.process.pid)
        watch = pace.Watch()
        try:
            while watch.within(START_SECONDS):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                    if probe.connect_ex(self.socket_path) == 0:
                        return
                if select.select([pidfd], [], [], 0.02)[0]:
                    break
            raise RuntimeError(f"the daemon did not start:\n{self.log()}")
        finally:
            os.close(pidfd)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def descriptors(self):
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def _end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory)

    def stop(self):
        """SIGTERM. Raises if it does not end well, or if a sanitizer reported something."""
        self.process.send_signal(signal.SIGTERM)
        watch = pace.Watch()
        while True:
            try:
                status = self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                if watch.within(STOP_SECONDS):
                    continue
                status = "none: it did not end"
            break
        log = self.log()
        self._end()
        if status != 0 or SANITIZER.search(log):
            raise AssertionError(f"the daemon's exit status is {status}; its log:\n{log}")


def main():
    daemon = Daemon()
    try:
        status = subprocess.call(sys.argv[1:], env=dict(os.environ, BLKD_SOCKET=daemon.socket_path))
    finally:
        daemon.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
