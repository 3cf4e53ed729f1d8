#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How a failed device ends (contract S5): recovered once nobody has it open, its mark kept until then."""

import mmap
import os
import signal
import subprocess
import unittest

import failing
import faults
import support
from support import MIB, SECTOR, pb


def evict(client, session):
    client.call("evict", pb.Evict(session=session))


@support.needs_root
@support.needs("losetup", "mount", "umount")
class Recovery(failing.FullTmpfsTest):
    def backing_bytes(self, offset, length):
        with open(self.backing, "rb") as file:
            return os.pread(file.fileno(), length, offset).ljust(length, b"\0")

    def assert_reads_what_is_stored(self, client, session):
        for number in range(16):
            self.assertEqual(client.read(session, number * MIB, MIB),
                             self.backing_bytes(number * MIB, MIB), f"MiB {number}")

    def test_recover_begins_anew_once_nobody_has_it_open(self):
        client, session = self.fail()
        admin = self.client()
        generation = client.get_info(session).generation
        message = self.assert_failed("EBUSY", failing.recover, admin, self.path)
        for part in (self.path, "session evict"):
            self.assertIn(part, message)
        self.assert_told(client, session)
        evict(admin, session)
        self.assertEqual(client.wait_event("evicted").session, session)
        self.assert_failed("EBADF", client.flush, session)
        self.make_room()
        reply = failing.recover(admin, self.path)
        self.assertEqual(reply.failed, pb.STATUS_EIO)
        self.assertGreater(reply.failed_unix_ms, 1600000000000)
        self.assertGreaterEqual(reply.generation, generation)
        self.assertEqual(len(self.daemon.log_lines("device-recovered")), 1)

        opened = client.open(os.fsencode(self.path))
        self.assertFalse(opened.info.failed)
        self.assertGreater(opened.info.generation, generation)
        self.assertTrue(self.device(client, opened.session).unsynced, "it is born unsynced")
        data = os.urandom(16 * MIB)
        for i in range(16):
            client.write(opened.session, i * MIB, data[i * MIB:(i + 1) * MIB])
        client.flush(opened.session)
        self.assertFalse(self.device(client, opened.session).unsynced)
        self.assertEqual(self.backing_bytes(0, len(data)), data)
        self.exit_status = 0

    def test_what_is_read_after_recover_is_what_is_stored(self):
        """Also while another program has it open, so that its cache does not go with the daemon's own
        descriptors."""
        client, session = self.fail()
        outsider = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, outsider)

        def is_lost(number):
            cached = client.read(session, number * MIB, MIB)
            return cached != self.backing_bytes(number * MIB, MIB)
        lost = [number for number in range(16) if is_lost(number)]
        self.assertGreater(len(lost), 0, "the cache still has what was lost")
        client.close_session(session)
        failing.recover(client, self.path)
        session = client.open_path(self.path)
        self.assert_reads_what_is_stored(client, session)
        self.exit_status = 0

    def test_recover_is_refused_while_a_program_has_it_mapped(self):
        """Its pages stay in the cache: what was lost could be read as if it were stored."""
        client, session = self.fail()
        client.close_session(session)
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            mapping = mmap.mmap(file.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ)
        self.addCleanup(mapping.close)
        for at in range(0, size, mmap.PAGESIZE):
            mapping[at]  # pylint: disable=pointless-statement
        message = self.assert_failed("EBUSY", failing.recover, client, self.path)
        self.assertIn(f"pid {os.getpid()} ", message)
        self.assert_opener_is_told(self.path)
        mapping.close()
        failing.recover(client, self.path)
        session = client.open_path(self.path)
        self.assert_reads_what_is_stored(client, session)
        self.exit_status = 0

    def test_recover_does_not_make_room(self):
        """It accepts what was lost, and what is written then can be lost again, and is told again."""
        client, session = self.fail()
        client.close_session(session)
        failing.recover(client, self.path)
        session = client.open_path(self.path)
        self.write_too_much(client, session)
        self.assert_failed("EIO", client.flush, session)
        self.assert_told(client, session)

    def test_recover_of_a_sound_device_is_refused(self):
        self.exit_status = 0
        client = self.client()
        message = self.assert_failed("EALREADY", failing.recover, client, self.path)
        self.assertIn("not failed", message)
        session = client.open_path(self.path)
        self.assert_failed("EALREADY", failing.recover, client, self.path)
        client.write(session, 0, b"x" * SECTOR)
        client.flush(session)

    def test_recover_of_a_device_by_its_number(self):
        client, session = self.fail()
        number = client.get_info(session).device
        client.close_session(session)
        client.call("recover", pb.Recover(device=number))
        self.assertFalse(client.open(os.fsencode(self.path)).info.failed)
        self.assert_failed("ENODEV", client.call, "recover", pb.Recover(device=number + 100))
        self.exit_status = 0

    def test_recover_is_roots_alone(self):
        nobody = support.AsNobody(self)
        client, session = self.fail()
        client.close_session(session)

        def try_it():
            with support.Client(self.daemon) as other:
                failing.recover(other, self.path)
        self.assertRegex(nobody.run(try_it), "^EPERM")
        self.assert_opener_is_told(self.path)


@support.needs_root
@support.needs("losetup", "mount", "umount")
class Mark(failing.FullTmpfsTest):
    def test_the_mark_survives_a_stop(self):
        self.fail()
        self.restart(lambda daemon: daemon.stop(1))
        self.assert_opener_is_told(self.path)
        self.restart(lambda daemon: daemon.stop(1))
        self.assert_opener_is_told(self.path)

    def test_the_mark_survives_a_kill(self):
        self.fail()
        self.kill_daemon()
        self.assert_opener_is_told(self.path)

    def test_recover_works_after_a_restart_and_takes_the_mark_away_for_good(self):
        self.fail()
        self.kill_daemon()
        client = self.client()
        self.assertEqual(failing.recover(client, self.path).failed, pb.STATUS_EIO)
        self.kill_daemon()
        self.assertFalse(self.client().open(os.fsencode(self.path)).info.failed)
        self.exit_status = 0

    def test_the_mark_does_not_hit_another_loop_device_of_the_same_number(self):
        client, session = self.fail()
        client.close_session(session)
        self.kill_daemon()
        subprocess.run(["losetup", "--detach", self.path], check=True)
        image = self.image()
        # Another test that runs beside this one may have taken the number meanwhile, and gives it back.
        support.wait_until(lambda: subprocess.run(["losetup", self.path, image], check=False).returncode == 0,
                           "the number is free")
        other = self.client().open(os.fsencode(self.path))
        self.assertFalse(other.info.failed)
        self.exit_status = 0


class FaultyTest(failing.FailingTest):
    """A file whose first sync fails, by the fault engine; the daemons that come later have no faults."""

    config = "[daemon]\nworkers = 1\n"

    def setUp(self):
        with faults.engine("sync@1=EIO"):
            super().setUp()
        self.path = self.image()

    def fail(self):
        client = self.client()
        session = client.open_path(self.path)
        client.write(session, 0, b"x" * SECTOR)
        self.assert_failed("EIO", client.flush, session)


@support.needs_root
class FaultyFile(FaultyTest):
    def test_the_mark_is_found_by_other_names(self):
        self.fail()
        self.kill_daemon()
        names = [os.path.join(self.directory, name) for name in ("hard", "soft", "moved")]
        os.link(self.path, names[0])
        os.symlink(self.path, names[1])
        self.assert_opener_is_told(names[0])
        self.assert_opener_is_told(names[1])
        self.kill_daemon()
        os.unlink(names[0])
        os.rename(self.path, names[2])
        self.assert_opener_is_told(names[2])

    def test_the_mark_does_not_hit_another_file_with_the_inode(self):
        self.fail()
        self.kill_daemon()
        inode = os.stat(self.path).st_ino
        os.unlink(self.path)
        for _ in range(100):
            self.image()
            if os.stat(self.path).st_ino == inode:
                break
            os.rename(self.path, f"{self.path}.{os.stat(self.path).st_ino}")
        else:
            self.skipTest("the file system does not use the inode again")
        client = self.client()
        opened = client.open(os.fsencode(self.path))
        self.assertFalse(opened.info.failed)
        client.flush(opened.session)
        self.exit_status = 0


@support.needs_root
@support.needs("losetup", "mount", "umount", "mkfs.ext4")
class CopiedFileSystem(FaultyTest):
    """Its files have the same keys as those of the original (contract L8)."""

    def setUp(self):
        super().setUp()
        self.original = self.image("original.img", 16 * MIB)
        self.run_tool("mkfs.ext4", "-q", self.original)
        self.point = os.path.join(self.directory, "point")
        os.mkdir(self.point)
        self.mount(self.original)
        self.path = os.path.join(self.point, "disk.img")
        with open(self.path, "wb") as file:
            file.truncate(MIB)
        self.fail()
        self.restart(lambda daemon: daemon.stop(1))

    def mount(self, image):
        self.run_tool("mount", self.loop(image), self.point)
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.point], check=False,
                        capture_output=True)

    def open_elsewhere(self, image):
        """The same path once more, on the file system of that image."""
        self.run_tool("umount", self.point)
        self.mount(image)
        client = self.client()
        session = client.open_path(self.path)
        self.assertTrue(client.get_info(session).failed)
        return client, session

    def test_that_the_mark_may_be_the_others_is_told(self):
        copy = os.path.join(self.directory, "copy.img")
        self.run_tool("umount", self.point)
        self.run_tool("cp", "--sparse=always", self.original, copy)
        self.mount(self.original)
        client, session = self.open_elsewhere(copy)
        (line,) = self.daemon.log_lines("mark-in-doubt")
        for said in (line, self.assert_failed("EIO", client.write, session, 0, bytes(SECTOR)),
                     self.assert_failed("EIO", client.flush, session)):
            self.assertIn("may belong to a copy of the file system", said)
            self.assertIn(self.path, said)
            self.assertIn("recover", said)
        client.close_session(session)
        failing.recover(client, self.path)
        session = client.open_path(self.path)
        self.assertFalse(client.get_info(session).failed)
        client.close_session(session)
        self.exit_status = 0

    def test_nothing_is_told_of_the_original_on_another_loop_device(self):
        self.loop(self.image("other.img", MIB))
        client, session = self.open_elsewhere(self.original)
        message = self.assert_failed("EIO", client.write, session, 0, bytes(SECTOR))
        self.assertNotIn("copy", message)
        self.assertEqual(self.daemon.log_lines("mark-in-doubt"), [])


@support.needs_root
@support.needs("strace")
class SlowMark(failing.FailingTest):
    """The state directory takes its time. Who has been told of a failure is right for ever: before the
    mark is on the disk nobody is told."""

    config = "[daemon]\nworkers = 1\n"
    rules = "sync@1=EIO"

    def setUp(self):
        with faults.engine(self.rules):
            super().setUp()
        self.path = self.image()
        self.trace = failing.Trace(self, "trace=fsync", "inject=fsync:delay_enter=300ms")

    def kill_and_look(self):
        """As long as strace is there, the dead daemon's tasks are not gone."""
        os.kill(self.daemon.pid, signal.SIGKILL)
        self.trace.end()
        self.kill_daemon()
        self.assert_opener_is_told(self.path)

    def open_written(self):
        client = self.client()
        session = client.open_path(self.path)
        client.write(session, 0, b"x" * SECTOR)
        return client, session

    def test_a_flush(self):
        client, session = self.open_written()
        self.assert_failed("EIO", client.flush, session)
        self.kill_and_look()

    def test_an_event(self):
        client, session = self.open_written()
        client.start("flush", pb.Flush(session=session))
        client.wait_event("sync_failed")
        self.kill_and_look()


class SlowMarkOfFua(SlowMark):
    rules = "write@2=EIO"

    def test_a_flush(self):
        client, session = self.open_written()
        self.assert_failed("EIO", client.write, session, 0, b"y" * SECTOR, pb.WRITE_FLAG_FUA)
        self.kill_and_look()

    def test_an_event(self):
        client, session = self.open_written()
        client.start_write(session, 0, b"y" * SECTOR, pb.WRITE_FLAG_FUA)
        client.wait_event("sync_failed")
        self.kill_and_look()


if __name__ == "__main__":
    unittest.main(verbosity=2)
