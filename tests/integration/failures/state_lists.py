#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the lists tell of locks and of stable storage, and to whom."""

import fcntl
import os
import time
import unittest

import support
from support import KIB, MIB, SECTOR, pb


class ListTest(support.FailureTest):
    def lock(self, client, session, mode=pb.LOCK_MODE_EXCLUSIVE, **more):
        reply, _ = client.call("lock", pb.Lock(session=session, mode=mode, **more))
        return reply.lock

    def start_lock(self, client, session, mode=pb.LOCK_MODE_EXCLUSIVE, **more):
        return client.start("lock", pb.Lock(session=session, mode=mode,
                                            wait_ms=pb.LOCK_WAIT_FOREVER, **more))

    def pages(self, client, device=0):
        after, more = 0, True
        while more:
            reply, _ = client.call("list_locks", pb.ListLocks(device=device, after_lock=after))
            yield list(reply.locks.locks)
            more = reply.locks.more
            after = reply.locks.locks[-1].lock if more else 0

    def locks(self, client, device=0):
        return [entry for page in self.pages(client, device) for entry in page]


class Locks(ListTest):
    def test_one_is_shown_as_it_is(self):
        path = self.image()
        client = self.client()
        before = int(time.time() * 1000)
        session = client.open_path(path, purpose="nightly")
        self.assertEqual(self.locks(client), [])
        granted = self.lock(client, session, offset_bytes=4 * KIB, length_bytes=8 * KIB,
                            isolate=True)
        (entry,) = self.locks(client)
        self.assertGreater(entry.lock, 0)
        self.assertEqual(entry.device, client.get_info(session).device)
        self.assertEqual((entry.session, entry.path), (session, os.fsencode(path)))
        self.assertEqual((entry.mode, entry.wanted, entry.position),
                         (pb.LOCK_MODE_EXCLUSIVE, pb.LOCK_MODE_NONE, 0))
        self.assertEqual((entry.offset_bytes, entry.length_bytes), (4 * KIB, 8 * KIB))
        self.assertTrue(entry.isolate)
        self.assertGreater(granted.token, 0)
        self.assertEqual(entry.token, granted.token)
        self.assertEqual((entry.pid, entry.uid), (os.getpid(), os.getuid()))
        with open("/proc/self/comm", encoding="ascii") as file:
            self.assertEqual(entry.command, file.read().rstrip("\n"))
        self.assertEqual(entry.purpose, "nightly")
        self.assertFalse(entry.waits_outside)
        self.assertLessEqual(before - 1000, entry.since_unix_ms)
        self.assertLessEqual(entry.since_unix_ms, int(time.time() * 1000) + 1000)
        client.close_session(session)
        self.assertEqual(self.locks(client), [])

    def test_the_whole_device_has_no_length(self):
        client = self.client()
        client.open_path(self.image(), lock=True)
        (entry,) = self.locks(client)
        self.assertEqual((entry.offset_bytes, entry.length_bytes), (0, 0))

    def test_who_waits_has_a_position_and_the_device_counts_them(self):
        path = self.image()
        client = self.client()
        sessions = [client.open_path(path) for _ in range(4)]
        self.lock(client, sessions[0])
        others = [self.client() for _ in range(3)]
        ids = [(other, self.start_lock(other, other.open_path(path), purpose=f"number {i}"))
               for i, other in enumerate(others) if not other.ping()]
        for other in others:
            other.ping()  # its request has been looked at
        entries = self.locks(client)
        self.assertEqual([entry.position for entry in entries], [0, 1, 2, 3])
        self.assertEqual([entry.wanted for entry in entries],
                         [pb.LOCK_MODE_NONE] + 3 * [pb.LOCK_MODE_EXCLUSIVE])
        self.assertEqual([entry.mode for entry in entries],
                         [pb.LOCK_MODE_EXCLUSIVE] + 3 * [pb.LOCK_MODE_NONE])
        self.assertEqual([entry.purpose for entry in entries[1:]],
                         ["number 0", "number 1", "number 2"])
        (device,) = client.devices()
        self.assertEqual((device.locks, device.lock_waiters), (1, 3))
        client.close_session(sessions[0])
        ids[0][0].finish(ids[0][1])
        entries = self.locks(client)
        self.assertEqual([entry.position for entry in entries], [0, 1, 2])
        self.assertEqual(entries[0].mode, pb.LOCK_MODE_EXCLUSIVE)

    def test_an_upgrade_that_waits_is_shown_once(self):
        path = self.image()
        client, other = self.client(), self.client()
        session = client.open_path(path)
        self.lock(client, session, pb.LOCK_MODE_SHARED)
        self.lock(other, other.open_path(path), pb.LOCK_MODE_SHARED)
        self.start_lock(client, session)
        client.ping()
        entries = [entry for entry in self.locks(client) if entry.session == session]
        self.assertEqual([(entry.mode, entry.wanted, entry.position) for entry in entries],
                         [(pb.LOCK_MODE_SHARED, pb.LOCK_MODE_EXCLUSIVE, 1)])
        (device,) = client.devices()
        self.assertEqual((device.locks, device.lock_waiters), (2, 1))

    def test_who_waits_for_a_program_outside(self):
        path = self.image()
        client = self.client()
        session = client.open_path(path)
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            request = self.start_lock(client, session)
            support.wait_until(lambda: any(entry.waits_outside for entry in self.locks(client)),
                               "it waits outside")
            (entry,) = self.locks(client)
            self.assertEqual((entry.mode, entry.wanted, entry.position),
                             (pb.LOCK_MODE_NONE, pb.LOCK_MODE_EXCLUSIVE, 0))
            (device,) = client.devices()
            self.assertEqual((device.locks, device.lock_waiters), (0, 1))
        client.finish(request)
        (entry,) = self.locks(client)
        self.assertFalse(entry.waits_outside)

    def test_of_one_device_and_of_all(self):
        client = self.client()
        sessions = [client.open_path(self.image(f"{i}.img"), lock=True) for i in range(3)]
        self.assertEqual([entry.session for entry in self.locks(client)], sessions)
        device = client.get_info(sessions[1]).device
        self.assertEqual([entry.session for entry in self.locks(client, device)], [sessions[1]])
        self.assertEqual(self.locks(client, 12345), [])

    def test_many_come_in_pages_in_the_order_of_their_numbers(self):
        """Also where a device keeps them in another order: upgrades go to the front, locks of two
        devices alternate."""
        client, other = self.client(), self.client()
        paths = [self.image("first.img", 4 * MIB), self.image("second.img", 4 * MIB)]
        sessions = [client.open_path(path) for path in paths]
        ids = [self.start_lock(client, sessions[i % 2], pb.LOCK_MODE_SHARED,
                               offset_bytes=i // 2 * SECTOR, length_bytes=SECTOR)
               for i in range(700)]
        for request in ids:
            client.finish(request)
        blocker = other.open_path(paths[0])
        self.lock(other, blocker, pb.LOCK_MODE_SHARED, offset_bytes=0, length_bytes=MIB)
        for i in reversed(range(100)):
            self.start_lock(client, sessions[0], offset_bytes=i * SECTOR, length_bytes=SECTOR)
        client.ping()
        pages = list(self.pages(client))
        self.assertGreater(len(pages), 3)
        entries = [entry for page in pages for entry in page]
        numbers = [entry.lock for entry in entries]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(len(numbers), 701)
        waiting = [entry for entry in entries if entry.position != 0]
        self.assertEqual([entry.position for entry in waiting], list(range(100, 0, -1)))

    def test_a_lost_lock_is_shown_with_the_session(self):
        client = self.client()
        session = client.open_path(self.image(), lock=True)
        device = client.get_info(session).device
        self.assertEqual([entry.lock_lost for entry in client.sessions()], [False])
        client.call("break_lock", pb.BreakLock(device=device))
        self.assertEqual([entry.lock_lost for entry in client.sessions()], [True])
        self.assertEqual(self.locks(client), [])
        client.call("unlock", pb.Unlock(session=session))
        self.assertEqual([entry.lock_lost for entry in client.sessions()], [False])


@support.needs_root
class Others(ListTest):
    def setUp(self):
        super().setUp()
        self.nobody = support.AsNobody(self)
        self.shared = self.image("shared.img")
        os.chmod(self.shared, 0o644)
        self.secret = self.image("secret.img")

    def told(self):
        """As nobody, with the shared image open: what the lists tell of locks and purposes."""
        with support.Client(self.daemon) as client:
            with open(self.shared, "rb") as file:
                opened = client.open(b"mine", descriptor=file.fileno(), purpose="my own")
            self.lock(client, opened.session, pb.LOCK_MODE_SHARED)
            locks = [(entry.path, entry.purpose) for entry in self.locks(client)]
            purposes = [entry.purpose for entry in client.sessions()]
            return (locks, purposes)

    def test_they_see_locks_of_what_they_have_open_and_no_names(self):
        root = self.client()
        for path in (self.shared, self.secret):
            session = root.open_path(path, purpose="a secret", access=pb.ACCESS_READ_ONLY)
            self.lock(root, session, pb.LOCK_MODE_SHARED)
        answer = self.nobody.run(self.told)
        locks = [(b"", ""), (b"mine", "my own")]
        self.assertEqual(answer, f"done {(locks, ['', '', 'my own'])}")
        self.assertEqual([entry.purpose for entry in root.sessions()][:2], 2 * ["a secret"])


class StableStorage(ListTest):
    def state(self, client):
        (device,) = client.devices()
        return device.sync

    def test_what_is_unsynced_and_since_when(self):
        path = self.image()
        client, other = self.client(), self.client()
        session = client.open_path(path)
        idle = other.open_path(path)
        client.flush(session)  # it was born unsynced
        clean = self.state(client)
        self.assertEqual((clean.unsynced_changes, clean.unsynced_since_unix_ms), (0, 0))
        self.assertGreater(clean.last_sync_unix_ms, 0)
        self.assertGreaterEqual(clean.longest_sync_us, clean.last_sync_us)
        before = int(time.time() * 1000)
        for i in range(3):
            client.write(session, i * SECTOR, b"x" * SECTOR)
        dirty = self.state(client)
        self.assertEqual(dirty.unsynced_changes, 3)
        self.assertLess(abs(dirty.unsynced_since_unix_ms - before), 5000)
        self.assertEqual({entry.session: entry.unsynced_changes for entry in client.sessions()},
                         {session: 3, idle: 0})
        since = {entry.session: entry.unsynced_since_unix_ms for entry in client.sessions()}
        self.assertEqual(since, {session: dirty.unsynced_since_unix_ms, idle: 0})
        other.flush(idle)
        self.assertEqual(self.state(client).unsynced_changes, 0)
        self.assertEqual(self.state(client).flushes_asked, clean.flushes_asked + 1)
        self.assertEqual({entry.unsynced_changes for entry in client.sessions()}, {0})

    def test_the_level_is_that_of_the_strictest_session(self):
        path = self.image()
        client = self.client()
        levels = []
        for sync in (pb.SYNC_NONE, pb.SYNC_OS, pb.SYNC_NONE, pb.SYNC_DRIVE, pb.SYNC_OS):
            client.open_path(path, sync=sync)
            levels.append(self.state(client).level)
        self.assertEqual(levels, [pb.SYNC_NONE, pb.SYNC_OS, pb.SYNC_OS, pb.SYNC_DRIVE,
                                  pb.SYNC_DRIVE])


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse")
class HungSync(ListTest):
    def test_a_sync_that_runs_and_who_waits_for_it(self):
        hung = support.NbdImage(self, "hung", "memory", "64M")
        client, other = self.client(), self.client()
        session = client.open_path(hung.path)
        client.write(session, 0, b"x" * SECTOR)
        hung.pause()
        flushes = [client.start("flush", pb.Flush(session=session)) for _ in range(3)]

        def state():
            (device,) = other.devices()
            return device.sync
        support.wait_until(lambda: state().running and state().waiting == 3, "three wait for it")
        self.assertEqual(state().failed, pb.STATUS_OK)
        hung.resume()
        for flush in flushes:
            client.finish(flush)
        self.assertEqual((state().running, state().waiting), (False, 0))


@support.needs_root
@support.needs("losetup", "mount", "umount")
class FailedDevice(ListTest):
    exit_status = 1

    def test_it_is_shown_with_its_error_and_when(self):
        image = os.path.join(self.mount_tmpfs(4 * MIB), "disk.img")
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        client = self.client()
        session = client.open_path(self.loop(image))
        for i in range(16):
            client.write(session, i * MIB, b"d" * MIB)
        before = int(time.time() * 1000)
        self.assert_failed("EIO", client.flush, session)
        (device,) = client.devices()
        self.assertEqual(device.sync.failed, pb.STATUS_EIO)
        self.assertLess(abs(device.sync.failed_unix_ms - before), 30000)
        self.assertGreater(device.sync.unsynced_changes, 0)


if __name__ == "__main__":
    unittest.main()
