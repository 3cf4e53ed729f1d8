# SPDX-License-Identifier: MIT
"""How slow this machine is right now, so that a limit on the daemon's time judges the daemon.

A test that limits a time calls it too long only if the machine was quick enough, before and after:

    watch = pace.Watch()
    ...
    self.assertTrue(watch.within(1), watch)

The measure is what tests and daemon do all the time: start a process and wait for it, compute, sync a
file. Each is compared with what it takes on a quiet machine of two CPUs; the worst of them counts.
"""

import functools
import os
import re
import tempfile
import time

SPAWN_SECONDS = 0.004  # until the end of a program that does nothing is noticed
SPINS_SECONDS = 0.01   # of CPU time
SYNC_SECONDS = 0.02
SPAWNS = 4
SANITIZER_FACTOR = 5
FRESH_SECONDS = 5
EVER_SECONDS = 120  # what has not come by then never will, however busy the machine


def _spawn_seconds():
    begin = time.monotonic()
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return time.monotonic() - begin


def _spin_seconds():
    begin = time.monotonic()
    end = time.thread_time() + SPINS_SECONDS
    while time.thread_time() < end:
        pass
    return time.monotonic() - begin


def _sync_seconds():
    with tempfile.TemporaryFile(dir="/tmp", buffering=0) as file:
        file.write(bytes(4096))
        begin = time.monotonic()
        os.fsync(file.fileno())
        return time.monotonic() - begin


class _Measured:
    """The last two results: a limit looks at the one before what it limits, too."""

    at = -FRESH_SECONDS
    slowness = 1.0


def slowness():
    """1 on a quiet machine; N where the same things take N times as long now."""
    value = max(1.0,
                max(_spawn_seconds() for _ in range(SPAWNS)) / SPAWN_SECONDS,
                _spin_seconds() / SPINS_SECONDS,
                _sync_seconds() / SYNC_SECONDS)
    _Measured.at, _Measured.slowness = time.monotonic(), value
    return value


def look():
    """Before something whose time is limited: measures, if that has not just been done. It may take a
    second on a busy machine; so a Watch does not do it itself."""
    if time.monotonic() - _Measured.at > FRESH_SECONDS:
        slowness()


def last():
    return _Measured.slowness


@functools.cache
def sanitized():
    """Whether the daemon is built with a sanitizer: it is slow then, and its memory is not its own."""
    with open(os.environ["BLKD_BIN"], "rb") as file:
        return re.search(rb"__[at]san_init", file.read()) is not None


def patience(seconds):
    """A limit on the daemon's time: stretched for a sanitizer, and for a machine that was busy at the
    last measurement or is so now."""
    before = last()
    return seconds * (SANITIZER_FACTOR if sanitized() else 1) * max(before, slowness())


class Watch:
    """Runs from its making."""

    def __init__(self):
        self.before = last()
        self.begin = time.monotonic()
        self.after = None

    def seconds(self):
        return time.monotonic() - self.begin

    def within(self, limit, took=None):
        """Whether it has taken less until now (or in `took` seconds), or the machine was too busy to
        say that it should have."""
        took = self.seconds() if took is None else took
        limit *= SANITIZER_FACTOR if sanitized() else 1
        if took < limit:
            return True
        if took > max(limit, EVER_SECONDS):
            return False
        self.after = slowness()
        return took < limit * max(self.before, self.after)

    def __str__(self):
        after = "" if self.after is None else f", {self.after:.1f} after"
        return f"{self.seconds():.2f} s on a machine {self.before:.1f} times slower than quiet{after}"
