# SPDX-License-Identifier: MIT
"""What the tests of watchers have in common: clients that watch, and a way to say "until now"."""

import contextlib
import os

import support
from support import NOBODY, SECTOR, pb

WHAT = pb.Happening


class Watcher(support.Client):
    """One that has asked to watch. `untold` counts what it was told that it was not told."""

    def __init__(self, daemon):
        super().__init__(daemon, "watcher")
        self.sequence = 0
        self.untold = 0
        self.watch()

    def watch(self, stop=False):
        self.call("watch", pb.Watch(stop=stop))

    def next(self):
        """The next happening. Nothing else is sent to a watcher without sessions, and events are
        numbered without a gap."""
        event = self.wait_event("happening")
        assert event.session == 0
        assert event.sequence == self.sequence + 1, f"{event.sequence} after {self.sequence}"
        self.sequence = event.sequence
        self.untold += event.happening.left_out
        return event.happening

    def until(self, session, what=WHAT.WHAT_SESSION_OPENED):
        """All that happened before this one."""
        seen = []
        while True:
            happening = self.next()
            if happening.session == session and happening.what == what:
                return seen
            seen.append(happening)


def names(happenings):
    return [WHAT.What.Name(happening.what).removeprefix("WHAT_") for happening in happenings]


@contextlib.contextmanager
def other_user():
    """SO_PEERCRED tells of the effective uid at the time of connect."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class WatchTest(support.FailureTest):
    config = "[daemon]\nlog-level = notice\n[limits]\nunread-timeout-ms = 600000\n"

    def setUp(self):
        super().setUp()
        self.marks = 0

    def watcher(self):
        watcher = Watcher(self.daemon)
        self.addCleanup(watcher.close)
        return watcher

    def let_others_in(self):
        os.chmod(self.daemon.socket_path, 0o666)
        for path in self.directory, self.daemon.directory:
            os.chmod(path, 0o755)

    def mark(self):
        """Something that happens now: watchers are told everything in one order, so that what comes
        before it is all that happened before."""
        self.marks += 1
        return self.client("marker").open_path(self.image(f"mark-{self.marks}.img"))

    def lock(self, client, session, mode=pb.LOCK_MODE_EXCLUSIVE, **more):
        reply, _ = client.call("lock", pb.Lock(session=session, mode=mode, **more))
        return reply.lock

    def unlock(self, client, session, **more):
        client.call("unlock", pb.Unlock(session=session, **more))

    def lock_often(self, client, session, count):
        """So many locks and unlocks, each of which happens: 2 for each."""
        for first in range(0, count, 100):
            ids = []
            for _ in range(first, min(first + 100, count)):
                ids.append(client.start("lock", pb.Lock(session=session, offset_bytes=0,
                                                        length_bytes=SECTOR,
                                                        mode=pb.LOCK_MODE_EXCLUSIVE)))
                client.finish(ids[-1])
                ids.append(client.start("unlock", pb.Unlock(session=session, offset_bytes=0,
                                                            length_bytes=SECTOR)))
                client.finish(ids[-1])
