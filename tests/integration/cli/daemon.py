# SPDX-License-Identifier: MIT
"""A daemon of one's own for a test, on a socket in a temporary directory."""

import os
import select
import signal
import socket
import subprocess

STOP_SECONDS = 20
START_SECONDS = 20


class Daemon:
    """Runs $BLKD_BIN from start() to stop(). What it logged is in `log`."""

    def __init__(self, directory):
        self.socket_path = os.path.join(directory, "blkd.sock")
        self.log_path = os.path.join(directory, "blkd.log")
        self.notify_path = os.path.join(directory, "notify.sock")
        self.state_path = os.path.join(directory, "state")
        self.process = None

    def start(self):
        command = [os.environ["BLKD_BIN"], "--socket", self.socket_path,
                   "--state-dir", self.state_path]
        if os.environ.get("BLKD_ENGINE"):
            command += ["--engine", os.environ["BLKD_ENGINE"]]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(self.notify_path)
            environment = dict(os.environ, NOTIFY_SOCKET=self.notify_path)
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(command, env=environment, stderr=log,
                                                stdin=subprocess.DEVNULL)
            self._wait_ready(notify)
        os.unlink(self.notify_path)

    def _wait_ready(self, notify):
        """sd_notify(3) says when the daemon listens; its end would say that it never will."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            while True:
                ready, _, _ = select.select([notify, pidfd], [], [], START_SECONDS)
                if notify in ready and b"READY=1" in notify.recv(4096):
                    return
                if pidfd in ready or not ready:
                    raise RuntimeError(f"the daemon did not start:\n{self.log()}")
        finally:
            os.close(pidfd)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self, number=signal.SIGTERM):
        """Returns the exit status; a daemon that does not end is an error."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"the daemon did not end on signal {number}:\n{self.log()}")
