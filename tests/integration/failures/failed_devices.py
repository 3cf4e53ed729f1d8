#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The failure path on real storage that fails (contract S5, S7, L8): who is told, and for how long."""

import contextlib
import os
import signal
import subprocess
import unittest

import failing
import support
from support import MIB, SECTOR, NbdImage, pb

PAGE = 4 * support.KIB


@support.needs_root
@support.needs("losetup", "mount", "umount")
class FullTmpfs(failing.FullTmpfsTest):
    def assert_each_is_told(self, count):
        careless = self.client()
        none = careless.open_path(self.path, sync=pb.SYNC_NONE)
        pairs = self.fail_for(count)
        for client, session in pairs:
            self.assertGreater(client.get_info(session).unsynced_changes, 0)
        for client, session in pairs:
            message = self.assert_failed("EIO", client.flush, session)
            self.assertIn(self.path, message)
        for client, session in pairs + [(careless, none)]:
            self.assertEqual(client.wait_event("sync_failed").session, session)
            self.assert_told(client, session)
        self.assert_opener_is_told(self.path)
        self.assert_opener_is_told(self.path, sync=pb.SYNC_NONE)
        self.assertEqual(len(self.daemon.log_lines("device-failed")), 1)

    def test_one_session_is_told(self):
        self.assert_each_is_told(1)

    def test_each_of_eight_sessions_is_told(self):
        self.assert_each_is_told(8)

    def test_flushes_of_eight_sessions_at_once_all_fail(self):
        pairs = self.fail_for(8)
        ids = [client.start("flush", pb.Flush(session=session)) for client, session in pairs]
        for (client, _), number in zip(pairs, ids):
            self.assertEqual(client.wait(number)[0].status, pb.STATUS_EIO)

    def test_direct_writes_are_told_at_once(self):
        """Nothing of them is only in a cache, so what was acknowledged is there, and the device is not
        failed by a write that was refused."""
        client = self.client()
        opened = client.open(os.fsencode(self.path), direct=True)
        self.assertTrue(opened.info.direct)
        written = 0
        with contextlib.suppress(support.wire.Failed):
            while written < 16 * MIB:
                client.write(opened.session, written, b"d" * MIB)
                written += MIB
        self.assertLess(written, 16 * MIB)
        self.assertFalse(client.get_info(opened.session).failed)
        client.flush(opened.session)
        self.exit_status = 0

    def test_a_fua_write_fails_the_device(self):
        (client, session), (other, other_session) = self.fail_for(2)
        with self.assertRaises(support.wire.Failed) as caught:
            for i in range(8):
                client.write(session, (40 + i) * MIB, b"f" * MIB, pb.WRITE_FLAG_FUA)
        self.assertEqual(caught.exception.status, "EIO")
        self.assertEqual(client.wait_event("sync_failed").session, session)
        self.assert_told(client, session)
        self.assertEqual(other.wait_event("sync_failed").session, other_session)
        self.assert_told(other, other_session)

    def test_a_fua_zeroing_fails_the_device(self):
        ((client, session),) = self.fail_for(1)
        self.assert_failed("EIO", client.call, "write_zeroes",
                           pb.WriteZeroes(session=session, offset_bytes=40 * MIB,
                                          length_bytes=PAGE, flags=pb.WRITE_FLAG_FUA))
        self.assert_told(client, session)

    # ---- close (S7) ----

    def assert_close_told(self, client, session, status):
        message = self.assert_failed(status, client.close_session, session)
        self.assertIn(self.path, message)
        self.assert_failed("EBADF", client.flush, session)

    def test_a_close_after_a_failure_that_took_its_changes_is_told(self):
        (client, session), (other, other_session) = self.fail_for(2)
        self.assert_failed("EIO", other.flush, other_session)
        status = pb.Status.Name(self.device(other, other_session).sync.failed).removeprefix("STATUS_")
        self.assert_close_told(client, session, status)

    def test_a_close_is_told_with_sync_none_too(self):
        (client, session), = self.fail_for(1)
        other = self.client()
        none = other.open_path(self.path, sync=pb.SYNC_NONE)
        other.write(none, 0, bytes(PAGE))
        self.assert_failed("EIO", client.flush, session)
        status = pb.Status.Name(self.device(client, session).sync.failed).removeprefix("STATUS_")
        self.assert_close_told(other, none, status)

    def test_who_was_told_by_a_flush_closes_without_an_error(self):
        client, session = self.fail()
        client.close_session(session)

    def test_who_was_told_by_a_fua_write_closes_without_an_error(self):
        ((client, session),) = self.fail_for(1)
        self.assert_failed("EIO", client.call, "write_zeroes",
                           pb.WriteZeroes(session=session, offset_bytes=40 * MIB,
                                          length_bytes=PAGE, flags=pb.WRITE_FLAG_FUA))
        client.close_session(session)

    def test_who_changed_nothing_closes_without_an_error(self):
        client = self.client()
        session = client.open_path(self.path)
        self.fail()
        client.close_session(session)

    def test_whose_changes_were_stable_closes_without_an_error(self):
        client = self.client()
        session = client.open_path(self.path)
        client.write(session, 0, bytes(PAGE))
        client.flush(session)
        self.fail()
        client.close_session(session)


@support.needs_root
class Zram(failing.FailingTest):
    """A compressed RAM disk with less memory than it says it has."""

    def setUp(self):
        super().setUp()
        try:
            with open("/sys/class/zram-control/hot_add", encoding="ascii") as file:
                number = int(file.read())
        except OSError as error:
            self.exit_status = 0
            self.skipTest(f"needs zram: {error}")
        self.addCleanup(self._set, "/sys/class/zram-control/hot_remove", str(number))
        self.addCleanup(self._set, f"/sys/block/zram{number}/reset", "1")
        self._set(f"/sys/block/zram{number}/disksize", "64M")
        self._set(f"/sys/block/zram{number}/mem_limit", "1M")
        self.path = f"/dev/zram{number}"

    @staticmethod
    def _set(path, text):
        def write():
            try:
                with open(path, "w", encoding="ascii") as file:
                    file.write(text)
            except OSError:
                return False
            return True
        support.wait_until(write, f"{path} takes {text}")

    def test_buffered(self):
        client, other = self.client(), self.client()
        session, other_session = client.open_path(self.path), other.open_path(self.path)
        for i in range(16):
            client.write(session, i * MIB, os.urandom(MIB))
        self.assert_failed("EIO", client.flush, session)
        for who, number in ((client, session), (other, other_session)):
            self.assert_told(who, number)
            who.close_session(number)
        self.assert_opener_is_told(self.path)
        failing.recover(client, self.path)
        session = client.open_path(self.path)
        client.flush(session)
        client.close_session(session)
        self.exit_status = 0

    def test_direct(self):
        client = self.client()
        session = client.open_path(self.path, direct=True)
        with self.assertRaises(support.wire.Failed) as caught:
            for i in range(16):
                client.write(session, i * MIB, os.urandom(MIB))
        self.assertIn(caught.exception.status, ("EIO", "ENOMEM"))
        client.flush(session)
        self.assert_failed("EIO", client.write, session, 60 * MIB, os.urandom(MIB),
                           pb.WRITE_FLAG_FUA)
        self.assert_told(client, session)
        client.close_session(session)


@support.needs_root
@support.needs("losetup", "mount", "umount", "mkfs.ext4")
class FullExt4(failing.FailingTest):
    """A sparse image on an ext4 file system that has no room for it."""

    def mount_ext4(self, device):
        path = os.path.join(self.directory, "ext4")
        os.mkdir(path)
        self.run_tool("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", device)
        self.run_tool("mount", device, path)
        self.addCleanup(subprocess.run, ["umount", "--lazy", path], check=False)
        image = os.path.join(path, "disk.img")
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        return image

    def assert_no_room(self, **config):
        self.exit_status = 0
        backing = self.image("backing.img", 16 * MIB)
        path = self.mount_ext4(self.loop(backing))
        client = self.client()
        session = client.open_path(path, **config)
        written = []
        with self.assertRaises(support.wire.Failed) as caught:
            for i in range(64):
                client.write(session, i * MIB, bytes([i + 1]) * MIB)
                written.append(i)
        self.assertEqual(caught.exception.status, "ENOSPC", caught.exception.message)
        client.flush(session)
        self.assertFalse(client.get_info(session).failed)
        for i in written:
            self.assertEqual(client.read(session, i * MIB, MIB), bytes([i + 1]) * MIB)
        client.discard(session, 0, MIB)
        client.flush(session)
        client.close_session(session)

    def test_a_buffered_write_that_has_no_room_fails_alone(self):
        self.assert_no_room()

    def test_a_direct_write_that_has_no_room_fails_alone(self):
        self.assert_no_room(direct=True)

    def test_writeback_that_has_no_room_fails_the_device(self):
        """ext4 believes that it has room; the loop device below it has none."""
        small = self.mount_tmpfs(12 * MIB)
        backing = os.path.join(small, "backing.img")
        with open(backing, "wb") as file:
            file.truncate(96 * MIB)
        path = self.mount_ext4(self.loop(backing))
        client = self.client()
        session = client.open_path(path)
        self.write_too_much(client, session)
        with self.assertRaises(support.wire.Failed) as caught:
            client.flush(session)
        self.assertIn(caught.exception.status, ("EIO", "ENOSPC"))
        self.assert_told(client, session)
        client.close_session(session)


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse", "losetup")
class NthWrite(failing.FailingTest):
    """A loop device whose server fails its n-th write, and that one only."""

    FAILS = 3

    def setUp(self):
        super().setUp()
        counter = os.path.join(self.memory, "writes")
        self.stored = os.path.join(self.memory, "stored")
        with open(self.stored, "wb") as file:
            file.truncate(16 * MIB)
        self.armed = os.path.join(self.memory, "armed")
        pwrite = (f"if [ -e {self.armed} ]; then echo >>{counter}; "
                  f"if [ $(wc -l <{counter}) = {self.FAILS} ]; then cat >/dev/null; "
                  "echo EIO the n-th >&2; exit 1; fi; fi; "
                  f"dd of={self.stored} oflag=seek_bytes seek=$4 conv=notrunc status=none")
        image = NbdImage(self, "nth", "eval", f"get_size=echo {16 * MIB}",
                         f"pread=dd if={self.stored} iflag=skip_bytes,count_bytes skip=$4 count=$3 "
                         "status=none", f"pwrite={pwrite}", "can_write=exit 0",
                         "flush=exit 0", "can_flush=exit 0", "thread_model=echo serialize_requests")
        self.path = self.loop(image.path)

    def arm(self):
        open(self.armed, "w", encoding="ascii").close()

    def test_buffered(self):
        client, other = self.client(), self.client()
        session, other_session = client.open_path(self.path), other.open_path(self.path)
        self.arm()
        failures = 0
        for i in range(self.FAILS + 2):
            client.write(session, i * PAGE, bytes([i + 1]) * PAGE)
            try:
                client.flush(session)
            except support.wire.Failed as failed:
                self.assertEqual(failed.status, "EIO")
                failures += 1
                break
        self.assertEqual((i, failures), (self.FAILS - 1, 1))
        self.assert_told(client, session)
        self.assert_told(other, other_session)
        with open(self.stored, "rb") as file:
            stored = file.read(self.FAILS * PAGE)
        self.assertEqual(stored, b"".join(bytes([i + 1]) * PAGE for i in range(self.FAILS - 1)) +
                         bytes(PAGE), "what was flushed is there, what was refused is not")

    def test_direct(self):
        """Who wrote is told by the write itself; the others have lost nothing."""
        client = self.client()
        session = client.open_path(self.path, direct=True)
        self.arm()
        for i in range(1, self.FAILS + 3):
            if i == self.FAILS:
                self.assert_failed("EIO", client.write, session, i * PAGE, b"x" * PAGE)
            else:
                client.write(session, i * PAGE, b"x" * PAGE)
        client.flush(session)
        self.assertFalse(client.get_info(session).failed)
        self.exit_status = 0

    def test_direct_fua(self):
        client = self.client()
        session = client.open_path(self.path, direct=True)
        self.arm()
        for i in range(1, self.FAILS):
            client.write(session, i * PAGE, b"x" * PAGE, pb.WRITE_FLAG_FUA)
        self.assert_failed("EIO", client.write, session, 0, b"x" * PAGE, pb.WRITE_FLAG_FUA)
        self.assert_told(client, session)


class DyingClient(failing.FailingTest):
    """A client that writes and is killed, or closes, without a flush (contract S7)."""

    exit_status = 0

    def write_in_child(self, path, **config):
        def run(report):
            client = support.Client(self.daemon)
            session = client.open_path(path, **config)
            client.write(session, 0, b"x" * SECTOR)
            report(b"w")
            signal.pause()
        pid, pipe = support.fork_client(run)
        self.assertEqual(os.read(pipe, 1), b"w")
        return pid, pipe

    def syncs_until_closed(self, function):
        trace = failing.Trace(self, "trace=fdatasync,fsync")
        function()
        self.daemon.wait_log("device-closed")
        trace.end()
        return trace.calls("fdatasync")

    @support.needs_root
    @support.needs("strace")
    def test_what_it_wrote_is_synced(self):
        child = self.write_in_child(self.image())
        self.assertEqual(self.syncs_until_closed(lambda: support.kill_client(*child)), 1)

    @support.needs_root
    @support.needs("strace")
    def test_without_a_sync_level_nothing_is(self):
        child = self.write_in_child(self.image(), sync=pb.SYNC_NONE)
        self.assertEqual(self.syncs_until_closed(lambda: support.kill_client(*child)), 0)

    @support.needs_root
    @support.needs("strace")
    def test_one_session_with_a_level_that_wrote_is_enough(self):
        """The last to go has none, and only read."""
        path = self.image()
        last = self.client()
        session = last.open_path(path, sync=pb.SYNC_NONE)
        support.kill_client(*self.write_in_child(path))
        self.daemon.wait_log("session-closed")
        self.assertEqual(self.syncs_until_closed(lambda: last.close_session(session)), 1)

    @support.needs_root
    @support.needs("strace")
    def test_who_only_read_causes_none(self):
        client = self.client()
        session = client.open_path(self.image())
        client.read(session, 0, SECTOR)
        self.assertEqual(self.syncs_until_closed(lambda: client.close_session(session)), 0)

    @support.needs_root
    @support.needs("losetup", "mount", "umount")
    def test_the_next_opener_sees_what_was_lost(self):
        path = self.full_loop()

        def run(report):
            client = support.Client(self.daemon)
            self.write_too_much(client, client.open_path(path))
            report(b"w")
            signal.pause()
        pid, pipe = support.fork_client(run)
        self.assertEqual(os.read(pipe, 1), b"w")
        support.kill_client(pid, pipe)
        self.daemon.wait_log("device-failed")
        self.assert_opener_is_told(path)
        self.kill_daemon()
        self.assert_opener_is_told(path)
        self.exit_status = 1


if __name__ == "__main__":
    unittest.main(verbosity=2)
