# SPDX-License-Identifier: MIT
"""What the tests of locks have in common: clients that ask for locks, and ways to see who waits.

Requests of one connection are carried out in the order in which they came, up to where they wait. So
after a ping's answer, a lock request that was sent before it is granted, refused or in the queue.
"""

import ctypes
import os
import signal
import time

import support
from support import KIB, NOBODY, SECTOR, pb, wire

PR_SET_DUMPABLE = 4
FOREVER = 0x7fffffff
SHARED, EXCLUSIVE = pb.LOCK_MODE_SHARED, pb.LOCK_MODE_EXCLUSIVE
WHOLE = {}
FIRST = {"offset_bytes": 0, "length_bytes": 4 * KIB}
SECOND = {"offset_bytes": 4 * KIB, "length_bytes": 4 * KIB}
BOTH = {"offset_bytes": 0, "length_bytes": 8 * KIB}
DATA = b"d" * SECTOR


class Client(support.Client):
    def start_lock(self, session, mode=EXCLUSIVE, wait_ms=FOREVER, **more):
        return self.start("lock", pb.Lock(session=session, mode=mode, wait_ms=wait_ms, **more))

    def lock(self, session, mode=EXCLUSIVE, wait_ms=0, **more):
        """The LockReply."""
        return self.finish(self.start_lock(session, mode, wait_ms, **more))[0].lock

    def queue_lock(self, session, mode=EXCLUSIVE, wait_ms=FOREVER, **more):
        """Asks, and comes back when the request waits. Its id."""
        request = self.start_lock(session, mode, wait_ms, **more)
        self.ping()
        if request in self.replies:
            raise AssertionError(f"it does not wait: {self.replies[request]}")
        return request

    def still_waits(self, request):
        self.ping()
        return request not in self.replies

    def unlock(self, session, **more):
        self.call("unlock", pb.Unlock(session=session, **more))

    def break_locks(self, device, session=0, wait_ms=0):
        """How many were broken."""
        reply, _ = self.call("break_lock",
                             pb.BreakLock(device=device, session=session, wait_ms=wait_ms))
        return reply.break_lock.broken

    def evict(self, session):
        self.call("evict", pb.Evict(session=session))


class LockTest(support.FailureTest):
    """`self.path` is an image; clients speak of locks."""

    config = "[daemon]\nworkers = 2\n"

    def setUp(self):
        super().setUp()
        self.path = self.image()

    def client(self, *arguments, **more):
        client = Client(self.daemon, *arguments, **more)
        self.addCleanup(client.close)
        return client

    def opened(self, path=None, **config):
        """A client of its own with a session of its own."""
        client = self.client()
        return client, client.open_path(path or self.path, **config)

    def holder(self, mode=EXCLUSIVE, **more):
        client, session = self.opened()
        client.lock(session, mode, **more)
        return client, session

    def assert_refused(self, status, client, request):
        """The started request ends so; its message."""
        return self.assert_failed(status, client.finish, request)

    def assert_granted_soon(self, client, request, seconds=1):
        return self.assert_within(seconds, "the grant", client.finish, request)[0].lock

    def number_of_device(self, client, session):
        return client.get_info(session).device


def run_as_nobody(test, function):
    """In a child without privileges: what the function returns, or what it failed with, as text."""
    os.chmod(test.daemon.socket_path, 0o666)
    for path in (test.directory, test.daemon.directory):
        os.chmod(path, 0o755)

    def child(report):
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # or its /proc files are root's
        try:
            report(f"done {function()}".encode())
        except wire.Failed as failure:
            report(str(failure).encode())
        signal.pause()

    pid, read_end = support.fork_client(child)
    try:
        return os.read(read_end, 65536).decode()
    finally:
        support.kill_client(pid, read_end)


def seconds_of(function):
    begin = time.monotonic()
    function()
    return time.monotonic() - begin
