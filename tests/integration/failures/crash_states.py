#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a power cut would leave, while the real daemon does what chance says: on a file system that
records it (crashfs.c). $BLKD_CRASH_SEED and $BLKD_CRASH_SCHEDULES say which schedules, and how many."""

import os
import random
import subprocess
import unittest
from unittest import mock

import failing
import locking
import support
from support import KIB, SECTOR, pb, wire

SEED = int(os.environ.get("BLKD_CRASH_SEED", "1"))
SCHEDULES = int(os.environ.get("BLKD_CRASH_SCHEDULES", "3" if support.sanitized() else "8"))
STEPS = 120
BLOCK = 4 * KIB
BLOCKS = 24  # of each session, which alone changes them
SESSIONS = 3
IMAGE = BLOCK * BLOCKS * SESSIONS
ZEROES = bytes(BLOCK)
EIO, ENOSPC = 5, 28


class CrashFs:
    def __init__(self, test, size):
        mount = test.temporary("/dev/shm")
        self.mount = mount
        self.path = os.path.join(mount, "disk")
        self.process = test.start_process(os.environ["BLKD_CRASHFS"], mount, str(size))
        test.addCleanup(self.unmount)
        support.wait_until(lambda: os.path.ismount(mount) or self.process.poll() is not None,
                           "crashfs mounts")
        test.assertIsNone(self.process.poll(), "crashfs does not mount")

    def unmount(self):
        if not os.path.ismount(self.mount):
            return
        self.control("release")
        subprocess.run(["umount", "--lazy", self.mount], check=False, stderr=subprocess.DEVNULL)
        self.process.wait(support.DEADLINE)

    def read(self, name):
        with open(os.path.join(self.mount, name), "rb") as file:
            return file.read()

    def control(self, words):
        fd = os.open(os.path.join(self.mount, "control"), os.O_WRONLY)
        try:
            os.write(fd, words.encode())
        finally:
            os.close(fd)

    def waiting(self):
        return int(self.read("status").split()[3])


class Block:
    """What it has been, in order, and from where on that must be stable. A change that was not
    acknowledged may have happened or not."""

    def __init__(self):
        self.values = [ZEROES]
        self.acknowledged = 0
        self.must = 0

    def change(self, value):
        self.values.append(value)

    def may_be(self, value):
        return value in self.values[self.must:]


@unittest.skipUnless(os.environ.get("BLKD_CRASHFS"), "needs crashfs (libfuse3 was not there to build it)")
@support.needs_fuse
class CrashTest(locking.LockTest):
    exit_status = None

    def setUp(self):
        super().setUp()
        self.disk = CrashFs(self, IMAGE)

    def tearDown(self):
        self.disk.control("release")
        self.disk.control("fail 0")
        failed = any(device.failed for device in self.client().devices())
        self.daemon.stop(int(failed))
        self.daemon = None
        super().tearDown()

    def restart(self):
        self.daemon.kill()
        self.daemon = self.start_daemon(self.config, self.daemon.directory)


class Schedule:
    """One schedule: sessions that change and flush, each its own blocks."""

    def __init__(self, test, number, direct):
        self.test = test
        self.disk = test.disk
        self.random = random.Random(number)
        self.number = number
        self.direct = direct
        self.blocks = [Block() for _ in range(BLOCKS * SESSIONS)]
        self.stamp = 0
        self.open()

    def open(self):
        self.client = self.test.client()
        self.sessions = [self.client.open_path(self.disk.path, direct=self.direct)
                         for _ in range(SESSIONS)]

    def verify(self, condition, what):
        self.test.assertTrue(condition, f"schedule {self.number}: {what}")

    def check(self, what):
        """Whatever had to be stable is."""
        stable = self.disk.read("stable")
        for i, block in enumerate(self.blocks):
            self.verify(block.may_be(stable[i * BLOCK:(i + 1) * BLOCK]),
                        f"{what}: block {i} would be lost")

    def covered(self):
        return [block.acknowledged for block in self.blocks]

    def cover(self, covered):
        for block, acknowledged in zip(self.blocks, covered):
            block.must = max(block.must, acknowledged)

    def data(self):
        self.stamp += 1
        return self.stamp.to_bytes(8, "little") * (BLOCK // 8)

    # ---- steps ----

    def start_change(self, session, index, kind, fua):
        offset = index * BLOCK
        handle = self.sessions[session]
        flags = pb.WRITE_FLAG_FUA if fua else 0
        if kind == "write":
            data = self.data()
            self.blocks[index].change(data)
            return self.client.start("write", pb.Write(session=handle, offset_bytes=offset, flags=flags),
                                     data)
        self.blocks[index].change(ZEROES)
        message = {"session": handle, "offset_bytes": offset, "length_bytes": BLOCK}
        if kind == "discard":
            return self.client.start("discard", pb.Discard(**message))
        return self.client.start("write_zeroes", pb.WriteZeroes(flags=flags, **message))

    def step_change(self):
        session = self.random.randrange(SESSIONS)
        index = session * BLOCKS + self.random.randrange(BLOCKS)
        kind = self.random.choice(["write", "write", "zero", "discard"])
        fua = kind != "discard" and self.random.random() < 0.2
        block = self.blocks[index]
        self.client.finish(self.start_change(session, index, kind, fua))
        block.acknowledged = len(block.values) - 1
        if fua:
            block.must = block.acknowledged
            self.check("FUA")

    def step_flush(self):
        covered = self.covered()
        self.client.flush(self.random.choice(self.sessions))
        self.cover(covered)
        self.check("flush")

    def step_outside(self):
        """Another program, which keeps to the locks: what it wrote is flushed under the next lock."""
        session = self.random.randrange(SESSIONS)
        index = session * BLOCKS + self.random.randrange(BLOCKS)
        data = self.data()
        with open(self.disk.path, "r+b", buffering=0) as file:
            file.seek(index * BLOCK)
            file.write(data)
        self.blocks[index].change(data)
        self.blocks[index].acknowledged = len(self.blocks[index].values) - 1
        self.client.call("lock", pb.Lock(session=self.sessions[session], mode=locking.EXCLUSIVE))
        covered = self.covered()
        self.client.flush(self.sessions[session])
        self.client.call("unlock", pb.Unlock(session=self.sessions[session]))
        self.cover(covered)
        self.check("flush under a lock")

    def step_close(self):
        """The last close syncs, and whoever opens next finds that done."""
        covered = self.covered()
        for session in self.sessions:
            self.client.close_session(session)
        self.open()
        self.cover(covered)
        self.check("last close")

    def step_kill(self):
        """In the middle of whatever was begun, or of a sync that then fails or not."""
        covered = self.covered()
        ends = self.random.choice(["nothing", "sync", "failing sync"])
        changed = []
        if ends != "nothing":
            self.disk.control("hold")
            self.client.start("flush", pb.Flush(session=self.sessions[0]))
            held = self.test.daemon.process.poll() is None and self.sync_runs()
        else:
            for session in range(SESSIONS):
                index = session * BLOCKS + self.random.randrange(BLOCKS)
                self.start_change(session, index, "write", self.random.random() < 0.3)
                changed.append(index)
            held = False
        failing_sync = held and ends == "failing sync"
        if failing_sync:
            self.disk.control(f"fail {EIO}")
        self.test.daemon.signal(9)
        self.disk.control("release")
        self.test.daemon.wait()
        support.wait_until(lambda: self.disk.waiting() == 0, "the sync has ended")
        self.disk.control("fail 0")
        for index in changed:  # both are possible from here on
            self.blocks[index].acknowledged = min(self.blocks[index].acknowledged,
                                                  len(self.blocks[index].values) - 2)
        self.test.restart()
        self.client = self.test.client()
        self.after_kill(held, failing_sync, covered)

    def sync_runs(self):
        """Whether the flush has led to a sync; there may have been nothing to do."""
        while not self.client.replies:
            if self.disk.waiting() > 0:
                return True
            if self.client.receives_nothing(0.01):
                continue
            reply, payload = self.client.receive()
            if reply.id != 0:
                self.client.replies[reply.id] = (reply, payload)
        return False

    def after_kill(self, held, lost, covered):
        session = self.client.open_path(self.disk.path, direct=self.direct)
        failed = self.client.get_info(session).failed
        if held:
            self.verify(failed, "killed in a sync, and the device is sound")
        if failed:
            self.test.assert_failed("EIO", self.client.flush, session)
            self.client.close_session(session)
            failing.recover(self.client, self.disk.path)
            session = self.client.open_path(self.disk.path, direct=self.direct)
            self.restart_history()
        else:
            self.client.flush(session)
            self.verify(not lost, "a lost sync was flushed")
            self.cover(covered)
            self.check("flush after a kill")
        self.client.close_session(session)
        self.open()

    def step_failure(self):
        """A flush fails; nothing becomes stable by a later one until the device is recovered."""
        session = self.random.choice(self.sessions)
        self.step_change()
        self.disk.control(f"fail {self.random.choice([EIO, ENOSPC])}")
        expected = self.client.get_info(session).failed or \
            any(block.must < block.acknowledged for block in self.blocks)
        try:
            self.client.flush(session)
            failed = False
        except wire.Failed:
            failed = True
        self.disk.control("fail 0")
        self.verify(failed or not expected, "a failed sync was a success")
        if not failed:
            return
        for handle in self.sessions:
            self.test.assert_failed("EIO", self.client.flush, handle)
        for handle in self.sessions:
            self.client.close_session(handle)
        failing.recover(self.client, self.disk.path)
        self.open()
        self.restart_history()

    def restart_history(self):
        """What was lost stays lost: what is there now is what counts from here on."""
        stable = self.disk.read("stable")
        for i, block in enumerate(self.blocks):
            value = stable[i * BLOCK:(i + 1) * BLOCK]
            self.verify(block.may_be(value), f"block {i} has gone back behind what was stable")
            block.__init__()
            block.values = [value]

    def run(self):
        steps = [self.step_change] * 24 + [self.step_flush] * 6 + [self.step_outside, self.step_close] + \
            [self.step_kill, self.step_failure]
        for _ in range(STEPS):
            self.random.choice(steps)()
        self.step_flush()
        for session in self.sessions:
            self.client.close_session(session)


class Schedules(CrashTest):
    def test_buffered(self):
        for number in range(SCHEDULES):
            Schedule(self, SEED * 1000 + number, direct=False).run()
            self.disk.unmount()
            self.disk = CrashFs(self, IMAGE)

    def test_direct(self):
        for number in range(SCHEDULES):
            Schedule(self, SEED * 1000 + number, direct=True).run()
            self.disk.unmount()
            self.disk = CrashFs(self, IMAGE)


@support.needs("mount")
class Unnamed(CrashTest):
    def test_a_device_that_nothing_names_for_good_is_told_at_open(self):
        """A file on FUSE has no birth time and no generation; without a boot id there is nothing else."""
        wrapper = os.path.join(self.directory, "blkd-without-boot-id")
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n[ -n \"$INSIDE\" ] || INSIDE=1 exec unshare --mount \"$0\" \"$@\"\n"
                       "mount --bind /dev/null /proc/sys/kernel/random/boot_id\n"
                       f"exec {os.environ['BLKD_BIN']} \"$@\"\n")
        os.chmod(wrapper, 0o700)
        client = self.client()
        self.assertFalse(client.get_info(client.open_path(self.disk.path)).forgets_failure)
        self.daemon.stop()
        with mock.patch.dict(os.environ, BLKD_BIN=wrapper):
            self.daemon = self.start_daemon()
        client = self.client()
        with open(self.disk.path, "rb") as file:  # its path means nothing in the daemon's namespace
            session = client.open(b"", descriptor=file.fileno()).session
        self.assertTrue(client.get_info(session).forgets_failure)
        self.assertEqual(len(self.daemon.log_lines("failure-not-kept")), 1)
        self.assertEqual(len(self.daemon.log_lines("record-not-kept")), 1)


class Sizes(CrashTest):
    def test_a_flushed_resize_is_stable(self):
        client = self.client()
        session = client.open_path(self.disk.path)
        for size in (IMAGE * 2, IMAGE // 2, IMAGE):
            if size < IMAGE:
                client.call("lock", pb.Lock(session=session, mode=locking.EXCLUSIVE))
            client.resize(session, size)
            client.write(session, size - SECTOR, b"e" * SECTOR)
            client.flush(session)
            stable = self.disk.read("stable")
            self.assertEqual(len(stable), size)
            self.assertEqual(stable[-SECTOR:], b"e" * SECTOR)


if __name__ == "__main__":
    unittest.main(verbosity=2)
