#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Devices that fail: who asked is told, in words, and once in the log; a failed sync is never forgotten."""

import os
import subprocess
import unittest

import failing
import support
from support import KIB, MIB, SECTOR, NbdImage, pb


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse", "losetup")
class FailedTransfers(support.FailureTest):
    """nbdkit fails reads or writes as long as a file is there."""

    def setUp(self):
        super().setUp()
        self.read_trigger = os.path.join(self.memory, "reads-fail")
        self.write_trigger = os.path.join(self.memory, "writes-fail")
        self.failing = NbdImage(
            self, "failing", "--filter=error", "memory", "64M", "error-pread=EIO",
            "error-pread-rate=1", f"error-pread-file={self.read_trigger}", "error-pwrite=EIO",
            "error-pwrite-rate=1", f"error-pwrite-file={self.write_trigger}")

    def set(self, trigger, on):
        if on:
            open(trigger, "w", encoding="ascii").close()
        else:
            os.unlink(trigger)

    def assert_io_error(self, operation, path, offset, length, function, *arguments):
        before = len(self.daemon.log_lines("io-error"))
        message = self.assert_failed("EIO", function, *arguments)
        for part in (operation, path, str(offset), str(length)):
            self.assertIn(part, message)
        lines = self.daemon.log_lines("io-error")[before:]
        self.assertEqual(len(lines), 1, lines)
        for part in (f"operation={operation}", f"path={path}", f"offset={offset}",
                     f"length={length}", "errno=EIO"):
            self.assertIn(part, lines[0])

    def fail_and_recover(self, path, **config):
        client = self.client()
        session = client.open_path(path, **config)
        data = os.urandom(8 * KIB)
        client.write(session, 0, data)
        client.flush(session)
        subprocess.run(["sysctl", "-q", "vm.drop_caches=1"], check=True)
        self.set(self.read_trigger, True)
        self.assert_io_error("read", path, 16 * MIB, 4 * KIB,
                             client.read, session, 16 * MIB, 4 * KIB)
        self.set(self.read_trigger, False)
        self.assertEqual(client.read(session, 0, len(data)), data)
        self.assertEqual(client.read(session, 16 * MIB, 4 * KIB), bytes(4 * KIB))
        return client, session

    def fail_write(self, path, client, session, flags=0):
        self.set(self.write_trigger, True)
        self.assert_io_error("write", path, 32 * MIB, 4 * KIB, client.write, session, 32 * MIB,
                             b"x" * 4 * KIB, flags)
        self.set(self.write_trigger, False)

    def test_on_a_file(self):
        client, session = self.fail_and_recover(self.failing.path)
        self.fail_write(self.failing.path, client, session)
        client.write(session, 32 * MIB, b"y" * 4 * KIB)
        client.flush(session)

    def test_on_a_loop_device_buffered(self):
        self.fail_and_recover(self.loop(self.failing.path))

    def test_on_a_loop_device_direct(self):
        path = self.loop(self.failing.path)
        client, session = self.fail_and_recover(path, direct=True)
        self.fail_write(path, client, session)
        client.write(session, 32 * MIB, b"y" * 4 * KIB)
        client.flush(session)

    def test_a_failed_fua_write_fails_the_device(self):
        path = self.loop(self.failing.path)
        client, session = self.fail_and_recover(path)
        self.fail_write(path, client, session, pb.WRITE_FLAG_FUA)
        self.assert_failed("EIO", client.flush, session)
        self.assert_failed("EIO", client.write, session, 0, bytes(SECTOR))
        self.exit_status = 1


@support.needs_root
@support.needs("losetup", "mount", "umount")
class FailedSync(failing.FailingTest):
    """Buffered writes to a loop device whose file system has no room for them."""

    def setUp(self):
        super().setUp()
        self.path = self.full_loop()

    def test_it_is_told_to_everybody_for_ever(self):
        writer, other, careless = self.client(), self.client(), self.client()
        session = writer.open_path(self.path)
        other_session = other.open_path(self.path)
        careless_session = careless.open_path(self.path, sync=pb.SYNC_NONE)
        self.write_too_much(writer, session)
        message = self.assert_failed("EIO", writer.flush, session)
        self.assertIn(self.path, message)
        for client, number in ((writer, session), (other, other_session),
                               (careless, careless_session)):
            self.assertEqual(client.wait_event("sync_failed").session, number)
            self.assert_told(client, number)
        self.assertEqual([device.failed for device in other.devices()], [True])
        self.assertEqual(len(self.daemon.log_lines("device-failed")), 1)
        late = self.client()
        opened = late.open(os.fsencode(self.path))
        self.assertTrue(opened.info.failed)
        self.assert_told(late, opened.session)

    def test_it_is_told_to_who_opens_after_all_have_closed(self):
        writer = self.client()
        session = writer.open_path(self.path)
        self.write_too_much(writer, session)
        self.assert_failed("EIO", writer.flush, session)
        writer.close_session(session)
        for _ in range(2):
            opened = writer.open(os.fsencode(self.path))
            self.assertTrue(opened.info.failed)
            self.assert_told(writer, opened.session)
            writer.close_session(opened.session)

    def test_the_sync_of_the_last_close_fails(self):
        """Nobody has flushed. The close itself cannot fail; who opens it next is told."""
        writer = self.client()
        session = writer.open_path(self.path)
        self.write_too_much(writer, session)
        writer.close_session(session)
        self.assert_opener_is_told(self.path)

    def test_the_sync_after_a_client_that_died_fails(self):
        writer = self.client()
        self.write_too_much(writer, writer.open_path(self.path))
        writer.close()
        self.daemon.wait_log("device-failed")
        self.assert_opener_is_told(self.path)

    def test_many_flushes_in_flight_fail_all(self):
        writer = self.client()
        session = writer.open_path(self.path)
        self.write_too_much(writer, session)
        ids = [writer.start("flush", pb.Flush(session=session)) for _ in range(50)]
        self.assertEqual({writer.wait(i)[0].status for i in ids}, {pb.STATUS_EIO})

    def test_another_device_is_not_concerned(self):
        writer, other = self.client(), self.client()
        session = writer.open_path(self.path)
        image = other.open_path(self.image())
        self.write_too_much(writer, session)
        self.assert_failed("EIO", writer.flush, session)
        other.write(image, 0, b"x" * SECTOR)
        other.flush(image)
        self.assertFalse(other.get_info(image).failed)
        self.assertEqual(other.events, [])


if __name__ == "__main__":
    unittest.main()
