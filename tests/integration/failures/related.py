#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Devices that share bytes and have page caches of their own (contract S4, S5): a partition and its disk, a
loop device and its backing file."""

import os
import unittest

import failing
import locking
import support
from support import MIB, SECTOR, pb

PAGE = 4 * support.KIB
START = MIB  # of the first partition
OLD, NEW = b"O" * PAGE, b"N" * PAGE


class RelatedTest(failing.FailingTest):
    exit_status = 0

    def open(self, path, **config):
        """A client of its own, which speaks of locks, and its session."""
        client = locking.Client(self.daemon)
        self.addCleanup(client.close)
        return client, client.open_path(path, **config)

    def on_the_medium(self, path, offset):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(PAGE)

    def flush(self, opened):
        client, session = opened
        client.flush(session)


@support.needs_root
@support.needs("sfdisk", "losetup")
class Partitions(RelatedTest):
    def setUp(self):
        super().setUp()
        self.backing = self.image("disk.img", 16 * MIB)
        self.path, (self.part, self.other_part) = self.disk(self.backing)

    def test_a_flush_of_the_disk_syncs_the_partition(self):
        disk, part = self.open(self.path), self.open(self.part)
        self.flush(disk)
        self.flush(part)
        part[0].write(part[1], 0, NEW)
        self.assertEqual(self.on_the_medium(self.backing, START), bytes(PAGE))
        self.flush(disk)
        self.assertEqual(self.on_the_medium(self.backing, START), NEW)

    def test_a_flush_of_the_partition_syncs_the_disk(self):
        disk, part = self.open(self.path), self.open(self.part)
        self.flush(disk)
        self.flush(part)
        disk[0].write(disk[1], START, NEW)
        self.assertEqual(self.on_the_medium(self.backing, START), bytes(PAGE))
        self.flush(part)
        self.assertEqual(self.on_the_medium(self.backing, START), NEW)

    def test_a_closed_partition_was_synced_for_the_disk(self):
        disk, part = self.open(self.path), self.open(self.part, sync=pb.SYNC_NONE)
        # Another program has it open, so that the kernel does not write it back when it is closed.
        with open(self.part, "rb"):
            self.flush(disk)
            part[0].write(part[1], 0, NEW)
            part[0].close_session(part[1])
            self.daemon.wait_log("device-closed")
            self.flush(disk)
            self.assertEqual(self.on_the_medium(self.backing, START), NEW)

    def test_who_locks_the_disk_reads_what_the_partition_wrote(self):
        disk, part = self.open(self.path), self.open(self.part)
        part[0].write(part[1], 0, OLD)
        self.flush(part)
        self.assertEqual(disk[0].read(disk[1], START, PAGE), OLD)
        part[0].write(part[1], 0, NEW)
        disk[0].lock(disk[1])
        self.assertEqual(disk[0].read(disk[1], START, PAGE), NEW)

    def test_who_locks_the_partition_reads_what_the_disk_wrote(self):
        disk, part = self.open(self.path), self.open(self.part)
        self.assertEqual(part[0].read(part[1], 0, PAGE), bytes(PAGE))
        disk[0].write(disk[1], START, NEW)
        part[0].lock(part[1])
        self.assertEqual(part[0].read(part[1], 0, PAGE), NEW)

    def test_in_turn(self):
        """Each lock shows what was written under the one before."""
        disk, part = self.open(self.path), self.open(self.part)
        for i in range(8):
            data = bytes([1 + 2 * i]) * PAGE
            disk[0].lock(disk[1])
            disk[0].write(disk[1], START, data)
            disk[0].unlock(disk[1])
            part[0].lock(part[1])
            self.assertEqual(part[0].read(part[1], 0, PAGE), data)
            data = bytes([2 + 2 * i]) * PAGE
            part[0].write(part[1], 0, data)
            part[0].unlock(part[1])
            disk[0].lock(disk[1])
            self.assertEqual(disk[0].read(disk[1], START, PAGE), data)
            disk[0].unlock(disk[1])

    def test_who_locks_the_disk_reads_what_a_program_wrote_through_the_partition(self):
        disk = self.open(self.path)
        self.assertEqual(disk[0].read(disk[1], START, PAGE), bytes(PAGE))
        descriptor = os.open(self.part, os.O_RDWR)
        self.addCleanup(os.close, descriptor)
        os.pwrite(descriptor, NEW, 0)
        disk[0].lock(disk[1])
        self.assertEqual(disk[0].read(disk[1], START, PAGE), NEW)

    def test_the_other_partition_is_left_alone(self):
        one, other = self.open(self.part), self.open(self.other_part)
        self.flush(other)
        one[0].write(one[1], 0, NEW)
        before = self.device(*one).counters.syncs_issued
        self.flush(other)
        self.assertEqual(self.device(*one).counters.syncs_issued, before)


@support.needs_root
@support.needs("losetup")
class LoopDevice(RelatedTest):
    def setUp(self):
        super().setUp()
        self.backing = self.image("disk.img", MIB)
        self.path = self.loop(self.backing)

    def test_a_flush_of_the_file_syncs_the_loop_device(self):
        file, loop = self.open(self.backing), self.open(self.path)
        self.flush(file)
        self.flush(loop)
        loop[0].write(loop[1], 0, NEW)
        self.assertEqual(self.on_the_medium(self.backing, 0), bytes(PAGE))
        self.flush(file)
        self.assertEqual(self.on_the_medium(self.backing, 0), NEW)

    def test_who_locks_the_loop_device_reads_what_the_file_has(self):
        file, loop = self.open(self.backing), self.open(self.path)
        self.assertEqual(loop[0].read(loop[1], 0, PAGE), bytes(PAGE))
        file[0].write(file[1], 0, NEW)
        loop[0].lock(loop[1])
        self.assertEqual(loop[0].read(loop[1], 0, PAGE), NEW)


@support.needs_root
@support.needs("sfdisk", "losetup", "mount", "umount")
class FailedPartition(RelatedTest):
    """A partition of a disk without room for what is written."""

    def setUp(self):
        super().setUp()
        self.room = self.mount_tmpfs(MIB)
        self.backing = os.path.join(self.room, "disk.img")
        with open(self.backing, "wb") as file:
            file.truncate(16 * MIB)
        self.path, (self.part, self.other_part) = self.disk(self.backing)
        self.exit_status = 1

    def write_too_much(self, client, session):
        for i in range(4):
            client.write(session, i * MIB, os.urandom(MIB))

    def assert_both_failed(self, *pairs):
        for client, session in pairs:
            self.assertEqual(client.wait_event("sync_failed").session, session)
            self.assert_told(client, session)

    def test_a_flush_of_the_disk_is_told(self):
        disk, part = self.open(self.path), self.open(self.part)
        self.flush(disk)
        self.write_too_much(*part)
        self.assert_failed("EIO", disk[0].flush, disk[1])
        self.assert_both_failed(disk, part)

    def test_the_disk_fails_with_its_partition(self):
        disk, part, other = self.open(self.path), self.open(self.part), self.open(self.other_part)
        self.flush(disk)
        self.write_too_much(*part)
        self.assert_failed("EIO", part[0].flush, part[1])
        self.assert_both_failed(disk, part)
        self.assertFalse(other[0].get_info(other[1]).failed)
        lines = self.daemon.log_lines("device-failed")
        self.assertEqual(len(lines), 2, lines)
        self.assertIn(f"shares-bytes-with={self.part}", lines[1])

    def test_each_is_recovered(self):
        disk, part = self.open(self.path), self.open(self.part)
        self.flush(disk)
        self.write_too_much(*part)
        self.assert_failed("EIO", disk[0].flush, disk[1])
        for client, _ in (disk, part):
            client.wait_event("sync_failed")
        disk[0].close_session(disk[1])
        self.assert_failed("EIO", part[0].close_session, part[1])  # its changes are lost (S7)
        self.run_tool("mount", "-o", f"remount,size={128 * MIB}", self.room)
        client = self.client()
        for path in (self.path, self.part):
            failing.recover(client, path)
        for path in (self.path, self.part):
            session = client.open_path(path)
            self.assertFalse(client.get_info(session).failed)
            client.write(session, 2 * MIB, bytes(SECTOR))
            client.flush(session)
        self.exit_status = 0


if __name__ == "__main__":
    unittest.main()
