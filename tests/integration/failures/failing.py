# SPDX-License-Identifier: MIT
"""Storage that fails a sync, and what everybody is to see from then on (contract S5)."""

import os
import re
import signal

import support
from support import MIB, pb


class FailingTest(support.FailureTest):
    exit_status = 1  # a daemon with a device that failed says so when it ends

    def full_loop(self):
        """A loop device whose file system has no room for it: buffered writes succeed, the sync that
        follows does not. Its backing file is self.backing."""
        self.room = self.mount_tmpfs(4 * MIB)
        self.backing = os.path.join(self.room, "disk.img")
        with open(self.backing, "wb") as file:
            file.truncate(64 * MIB)
        return self.loop(self.backing)

    def make_room(self):
        self.run_tool("mount", "-o", f"remount,size={128 * MIB}", self.room)

    def write_too_much(self, client, session):
        for i in range(16):
            client.write(session, i * MIB, b"d" * MIB)

    def assert_told(self, client, session):
        """Every later flush and write fails, reads go on."""
        for _ in range(3):
            self.assert_failed("EIO", client.flush, session)
        for flags in (0, pb.WRITE_FLAG_FUA):
            self.assert_failed("EIO", client.write, session, 0, bytes(4096), flags)
        self.assert_failed("EIO", client.discard, session, 0, MIB)
        self.assert_failed("EIO", client.zero, session, 0, MIB)
        size = client.get_info(session).size_sectors * client.get_info(session).sector_size
        self.assertEqual(len(client.read(session, size - 4096, 4096)), 4096)
        self.assertTrue(client.get_info(session).failed)

    def assert_opener_is_told(self, path, **config):
        client = self.client()
        opened = client.open(os.fsencode(path), **config)
        self.assertTrue(opened.info.failed)
        self.assert_told(client, opened.session)
        client.close_session(opened.session)

    def restart(self, how):
        """Another daemon with the same state directory: the old one is ended by `how`."""
        old = self.daemon
        how(old)
        self.daemon = self.start_daemon(self.config, directory=old.directory)

    def kill_daemon(self):
        self.restart(lambda daemon: daemon.kill())

    def device(self, client, session):
        """The session's device in the list."""
        number = client.get_info(session).device
        return next(entry for entry in client.devices() if entry.device == number)


class FullTmpfsTest(FailingTest):
    """A loop device over a tmpfs that is too small."""

    def setUp(self):
        super().setUp()
        self.path = self.full_loop()

    def fail_for(self, count, **config):
        """`count` sessions have unsynced writes, more in all than there is room for."""
        clients = [self.client() for _ in range(count)]
        sessions = [client.open_path(self.path, **config) for client in clients]
        for i in range(16):
            clients[i % count].write(sessions[i % count], i * MIB, b"d" * MIB)
        return list(zip(clients, sessions))

    def fail(self):
        ((client, session),) = self.fail_for(1)
        self.assert_failed("EIO", client.flush, session)
        return client, session


def recover(client, path):
    reply, _ = client.call("recover", pb.Recover(path=os.fsencode(path)))
    return reply.recover


class Trace:
    """The daemon's system calls, seen from outside. Skips the test where strace may not attach."""

    def __init__(self, test, *expressions):
        self.path = os.path.join(test.directory, "trace")
        self.messages = os.path.join(test.directory, "trace-messages")
        arguments = [part for expression in expressions for part in ("-e", expression)]
        with open(self.messages, "wb") as file:
            self.process = test.start_process("strace", "-f", "-o", self.path, *arguments, "-p",
                                              str(test.daemon.pid), stderr=file)
        support.wait_until(lambda: "attached" in self._said() or self.process.poll() is not None,
                           "strace attaches")
        if self.process.poll() is not None:
            test.skipTest(f"strace cannot attach: {self._said().strip()}")

    def _said(self):
        with open(self.messages, encoding="utf-8", errors="replace") as file:
            return file.read()

    def calls(self, name):
        """How often it was begun. A call that was interrupted by another thread's has two lines."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return len(re.findall(rf"^\d+ +{name}\(", file.read(), re.MULTILINE))

    def end(self):
        """SIGKILL: what is delayed of a daemon that was killed would never let strace detach."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
