#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Programs that know nothing of blkd (contract L3, L4): flock(1), QEMU, mounts, and devices that share
bytes."""

import fcntl
import os
import subprocess
import unittest

import locking
import support
from locking import EXCLUSIVE, SHARED
from support import KIB, MIB, SECTOR, pace, pb, wire

DATA = b"d" * SECTOR


class Outside(locking.LockTest):
    def flock(self, *options, path=None):
        """Whether flock(1), which does not wait, gets it."""
        done = subprocess.run(["flock", "--nonblock", *options, path or self.path, "true"],
                              check=False, capture_output=True)
        return done.returncode == 0

    def hold_flock(self, *options, path=None):
        """An outside program that holds it until the returned function is called."""
        process = self.start_process("flock", "--no-fork", *options, path or self.path, "cat",
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assert_echo(process)

        def let_go():
            process.stdin.close()
            process.wait()
            process.stdout.close()

        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        return process.pid, let_go

    def assert_echo(self, process):
        process.stdin.write(b"x\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"x\n")

    def start_process(self, *command, **more):
        # The base class gives it no input.
        process = subprocess.Popen(command, **more)
        self.addCleanup(self._end_process, process)
        return process


@support.needs("flock")
class Flock(Outside):
    def test_it_is_kept_out_while_a_lock_is_held(self):
        client, session = self.opened()
        self.assertTrue(self.flock())
        client.lock(session)
        self.assertFalse(self.flock())
        self.assertFalse(self.flock("--shared"))
        client.lock(session, SHARED)
        self.assertTrue(self.flock("--shared"))
        self.assertFalse(self.flock())
        client.lock(session)
        self.assertFalse(self.flock("--shared"))
        client.unlock(session)
        self.assertTrue(self.flock())

    def test_a_range_keeps_it_out_of_all(self):
        client, session = self.opened()
        client.lock(session, offset_bytes=64 * KIB, length_bytes=KIB)
        self.assertFalse(self.flock("--shared"))

    def test_in_the_strongest_mode_that_is_held(self):
        one, s1 = self.opened()
        two, s2 = self.opened()
        one.lock(s1, offset_bytes=0, length_bytes=KIB)
        two.lock(s2, SHARED, offset_bytes=64 * KIB, length_bytes=KIB)
        self.assertFalse(self.flock("--shared"))
        one.close_session(s1)
        self.assertTrue(self.flock("--shared"))
        self.assertFalse(self.flock())
        two.close_session(s2)
        self.assertTrue(self.flock())

    def test_a_lock_at_open(self):
        client, session = self.opened(lock=True)
        self.assertFalse(self.flock("--shared"))
        client.close_session(session)
        self.assertTrue(self.flock())
        session = client.open_path(self.path, lock=True, access=pb.ACCESS_READ_ONLY)
        self.assertTrue(self.flock("--shared"))
        self.assertFalse(self.flock())

    def test_it_keeps_blkd_out_and_is_named(self):
        pid, let_go = self.hold_flock()
        client, session = self.opened()
        for message in (self.assert_failed("EBUSY", client.lock, session),
                        self.assert_failed("EBUSY", client.lock, session, SHARED),
                        self.assert_failed("EBUSY", client.open_path, self.path, lock=True)):
            for word in ("flock", str(pid), self.path):
                self.assertIn(word, message)
        let_go()
        client.lock(session)

    def test_shared_ones_live_side_by_side(self):
        self.hold_flock("--shared")
        client, session = self.opened()
        client.lock(session, SHARED)
        self.assertTrue(self.flock("--shared"))
        self.assert_failed("EBUSY", client.lock, session)
        self.assertEqual(client.get_info(session).lock, SHARED, "the refusal took it away")
        self.assertFalse(self.flock(), "the refusal let go of it outside")

    def test_a_wait_for_it_ends_soon_after_it(self):
        pid, let_go = self.hold_flock()
        client, session = self.opened()
        request = client.queue_lock(session)
        message = self.assert_failed("EBUSY", self.holder)
        self.assertIn(f"session {session}", message)
        self.assertTrue(client.receives_nothing(0.5), "it does not wait")
        let_go()
        self.assert_granted_soon(client, request)
        self.assertEqual(client.wait_event("lock_granted").session, session)
        self.assertFalse(self.flock("--shared"))

    def test_a_wait_for_it_ends_in_time(self):
        pid, _ = self.hold_flock()
        client, session = self.opened()
        watch = pace.Watch()
        message = self.assert_failed("ETIMEDOUT", client.lock, session, wait_ms=700)
        self.assertGreaterEqual(watch.seconds(), 0.65)
        self.assert_took(watch, 2, "the wait")
        self.assertIn(str(pid), message)
        self.assertTrue(self.flock("--shared") is False)

    def test_those_who_wait_behind_keep_their_order(self):
        _, let_go = self.hold_flock()
        waiters = [self.opened() for _ in range(3)]
        requests = [client.queue_lock(session) for client, session in waiters]
        waiters[0][0].close()
        let_go()
        for (client, session), request in list(zip(waiters, requests))[1:]:
            self.assert_granted_soon(client, request)
            client.unlock(session)

    def test_a_wait_for_it_is_given_up(self):
        _, let_go = self.hold_flock()
        client, session = self.opened()
        request = client.queue_lock(session)
        client.close_session(session)
        self.assert_refused("ECANCELED", client, request)
        let_go()
        self.assertTrue(self.flock())

    def test_a_wait_for_an_upgrade(self):
        _, let_go = self.hold_flock("--shared")
        client, session = self.opened()
        client.lock(session, SHARED)
        request = client.queue_lock(session)
        self.assertEqual(client.get_info(session).lock, SHARED)
        let_go()
        self.assert_granted_soon(client, request)
        self.assertFalse(self.flock("--shared"))

    def test_a_stop_waits_for_no_outside_program(self):
        self.hold_flock()
        client, session = self.opened()
        request = client.queue_lock(session)
        self.assertTrue(client.receives_nothing(0.5), "it does not wait")
        self.assert_within(3, "the stop", self.daemon.stop)
        self.daemon = None
        self.assert_refused("ECANCELED", client, request)

    def test_many_change_their_minds_while_it_is_held(self):
        """Each step looks at the outside anew, from two workers."""
        _, let_go = self.hold_flock()
        clients = [self.opened() for _ in range(4)]
        for _ in range(3):
            requests = [client.start_lock(session, mode, wait_ms)
                        for (client, session), mode, wait_ms in zip(
                            clients, (EXCLUSIVE, SHARED, SHARED, EXCLUSIVE), (300, 0, 400, 0))]
            for (client, _), request in zip(clients, requests):
                self.assertIn(client.wait(request)[0].status,
                              (pb.STATUS_ETIMEDOUT, pb.STATUS_EBUSY))
        let_go()
        for client, session in clients:
            client.lock(session)
            client.unlock(session)

    def test_a_momentary_lock_is_waited_out(self):
        _, let_go = self.hold_flock()
        client, session = self.opened()
        request = client.start_lock(session, wait_ms=0)
        let_go()
        self.assert_granted_soon(client, request)

    def test_a_dead_client_lets_go_outside(self):
        client, _ = self.holder()
        self.assertFalse(self.flock())
        client.close()
        support.wait_until(self.flock, "the lock is free", 1)

    def test_a_broken_lock_is_let_go_of_outside(self):
        client, session = self.holder()
        client.break_locks(self.number_of_device(client, session))
        self.assertTrue(self.flock())

    def test_a_program_like_mirage_block_unix(self):
        """It locks what it opens, at once or not at all, and keeps the descriptor."""
        with open(self.path, "rb+") as mirage:
            fcntl.flock(mirage, fcntl.LOCK_EX | fcntl.LOCK_NB)
            client = self.client()
            message = self.assert_failed("EBUSY", client.open_path, self.path, lock=True)
            self.assertIn(str(os.getpid()), message)
        client.open_path(self.path, lock=True)
        with open(self.path, "rb+") as mirage, self.assertRaises(BlockingIOError):
            fcntl.flock(mirage, fcntl.LOCK_EX | fcntl.LOCK_NB)


@support.needs("qemu-img", "qemu-io", "qemu-storage-daemon")
class Qemu(Outside):
    def qemu_io(self, *options):
        done = subprocess.run(["qemu-io", "-f", "raw", *options, self.path], check=False,
                              capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def assert_kept_out(self, result):
        self.assertNotEqual(result[0], 0, result[1])
        self.assertIn("lock", result[1])

    def test_it_is_kept_out_while_a_lock_is_held(self):
        client, session = self.opened()
        self.assertEqual(self.qemu_io("-c", "write 0 512")[0], 0)
        client.lock(session)
        self.assert_kept_out(self.qemu_io("-c", "write 0 512"))
        self.assert_kept_out(self.qemu_io("-r", "-c", "read 0 512"))
        done = subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", self.path,
                               f"{self.path}.copy"], check=False, capture_output=True, text=True)
        self.assert_kept_out((done.returncode, done.stderr))
        client.lock(session, SHARED)
        self.assert_kept_out(self.qemu_io("-c", "write 0 512"))
        self.assertEqual(self.qemu_io("-r", "-c", "read 0 512")[0], 0)
        client.unlock(session)
        self.assertEqual(self.qemu_io("-c", "write 0 512")[0], 0)

    def storage_daemon(self, read_only):
        socket_path = os.path.join(self.directory, "qmp.sock")
        process = self.start_process(
            "qemu-storage-daemon", "--blockdev",
            f"driver=file,node-name=disk,filename={self.path},read-only={read_only},locking=on",
            "--chardev", f"socket,id=qmp,path={socket_path},server=on,wait=off",
            "--monitor", "chardev=qmp",
            "--nbd-server", f"addr.type=unix,addr.path={self.directory}/nbd.sock",
            "--export", f"type=nbd,id=e,node-name=disk,writable={'off' if read_only == 'on' else 'on'}",
            stdin=subprocess.DEVNULL)
        support.wait_until(lambda: os.path.exists(f"{self.directory}/nbd.sock"), "QEMU has it")
        return process

    def test_one_that_writes_keeps_blkd_out_and_is_named(self):
        process = self.storage_daemon("off")
        client, session = self.opened()
        for mode in (SHARED, EXCLUSIVE):
            message = self.assert_failed("EBUSY", client.lock, session, mode)
            self.assertIn("QEMU", message)
            self.assertIn(str(process.pid), message)
            self.assertIn("qemu-storage-da", message)
        request = client.queue_lock(session)
        process.terminate()
        process.wait()
        self.assert_granted_soon(client, request)

    def test_one_that_reads_shares_it(self):
        self.storage_daemon("on")
        client, session = self.opened()
        client.lock(session, SHARED)
        message = self.assert_failed("EBUSY", client.lock, session)
        self.assertIn("qemu-storage-da", message)
        self.assertEqual(client.get_info(session).lock, SHARED)
        self.assertFalse(self.flock(), "the refusal let go of it outside")
        self.assertEqual(self.qemu_io("-r", "-c", "read 0 512")[0], 0)
        self.assert_kept_out(self.qemu_io("-c", "write 0 512"))


@support.needs_root
class Mounted(Outside):
    @support.needs("mkfs.ext4")
    def setUp(self):
        super().setUp()
        self.device = self.loop(self.image("ext4.img", 16 * MIB))
        self.run_tool("mkfs.ext4", "-q", self.device)
        self.mount = os.path.join(self.directory, "mnt")
        os.mkdir(self.mount)

    def mounted(self):
        self.run_tool("mount", self.device, self.mount)
        self.addCleanup(subprocess.run, ["umount", self.mount], check=False, stderr=subprocess.DEVNULL)

    def test_no_writing_and_no_locking(self):
        self.mounted()
        client = self.client()
        for config in ({"access": pb.ACCESS_READ_WRITE}, {"access": pb.ACCESS_READ_WRITE, "lock": True},
                       {"access": pb.ACCESS_READ_ONLY, "lock": True}):
            self.assertIn(self.mount, self.assert_failed("EBUSY", client.open_path, self.device,
                                                         **config), config)
        session = client.open_path(self.device, access=pb.ACCESS_READ_ONLY)
        self.assertEqual(len(client.read(session, 0, SECTOR)), SECTOR)
        self.assertIn(self.mount, self.assert_failed("EBUSY", client.lock, session, SHARED))
        self.run_tool("umount", self.mount)
        client.lock(session, SHARED)
        client.close_session(session)
        client.open_path(self.device, access=pb.ACCESS_READ_WRITE, lock=True)

    def test_mounted_after_it_was_opened(self):
        client = self.client()
        session = client.open_path(self.device, access=pb.ACCESS_READ_WRITE)
        self.mounted()
        self.assertIn(self.mount, self.assert_failed("EBUSY", client.lock, session))

    def test_a_lock_keeps_a_mount_out(self):
        client = self.client()
        session = client.open_path(self.device, lock=True)
        done = subprocess.run(["mount", self.device, self.mount], check=False, capture_output=True)
        self.assertNotEqual(done.returncode, 0, "mounted under the lock")
        client.close_session(session)
        self.mounted()

    def test_the_image_of_a_mounted_loop_device(self):
        self.mounted()
        client = self.client()
        image = os.path.join(self.directory, "ext4.img")
        message = self.assert_failed("EBUSY", client.open_path, image, lock=True)
        self.assertTrue(self.mount in message or self.device in message, message)


@support.needs_root
@support.needs("sfdisk", "losetup")
class Shared(Outside):
    """Devices that share bytes."""

    def check_apart(self, one, other):
        """Who holds the one keeps writers and lockers of the other out."""
        holder, client = self.client(), self.client()
        held = holder.open_path(one)
        session = client.open_path(other)
        client.write(session, 0, client.read(session, 0, SECTOR))
        for mode in (SHARED, EXCLUSIVE):
            holder.lock(held, mode)
            self.assert_failed("EBUSY", client.write, session, 0, DATA)
            self.assert_failed("EBUSY", client.lock, session)
            if mode == EXCLUSIVE:
                self.assertIn(f"session {held}",
                              self.assert_failed("EBUSY", client.lock, session, SHARED))
                self.assert_failed("EBUSY", client.open_path, other, lock=True)
            client.read(session, 0, SECTOR)
        request = client.queue_lock(session)
        holder.unlock(held)
        self.assert_granted_soon(client, request)
        client.close_session(session)
        holder.close_session(held)

    def test_a_partition_and_its_disk(self):
        disk, parts = self.disk()
        self.check_apart(parts[0], disk)
        self.check_apart(disk, parts[1])

    def test_two_partitions(self):
        _, parts = self.disk()
        client = self.client()
        sessions = [client.open_path(part) for part in parts]
        for session in sessions:
            client.lock(session, isolate=True)
        for session in sessions:
            client.write(session, 0, DATA)
            client.read(session, 0, SECTOR)

    def test_a_disk_waits_for_both_partitions(self):
        disk, parts = self.disk()
        holder, client = self.client(), self.client()
        sessions = [holder.open_path(part, lock=True) for part in parts]
        session = client.open_path(disk)
        request = client.queue_lock(session)
        holder.close_session(sessions[0])
        self.assertTrue(client.still_waits(request))
        holder.close_session(sessions[1])
        self.assert_granted_soon(client, request)

    def test_isolation_reaches_the_partition(self):
        disk, parts = self.disk()
        holder, client = self.client(), self.client()
        session = client.open_path(parts[0])
        holder.lock(holder.open_path(disk), isolate=True)
        self.assert_failed("EBUSY", client.read, session, 0, SECTOR)

    def test_a_loop_device_and_its_file(self):
        image = self.image("backing.img", 4 * MIB)
        loop = self.loop(image)
        client = self.client()
        self.assertIn(loop, self.assert_failed("EBUSY", client.open_path, image, lock=True))
        holder = self.client()
        held = holder.open_path(loop, lock=True)
        session = client.open_path(image)
        self.assertIn("shares bytes", self.assert_failed("EBUSY", client.write, session, 0, DATA))
        client.read(session, 0, SECTOR)
        holder.close_session(held)
        client.write(session, 0, DATA)


if __name__ == "__main__":
    unittest.main()
