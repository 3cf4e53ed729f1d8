#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An image's size that is changed behind blkd's back: it is seen within a second or two, and before a
transfer is refused for its bounds."""

import os
import subprocess
import threading
import time
import unittest

import support
from support import KIB, MIB, SECTOR, NbdImage, pb, wire

SEEN = 2.5  # seconds: there is a look each second


class OutsideTest(support.FailureTest):
    def wait_resized(self, client, session, size, sector=SECTOR):
        """The event that tells of this size; nothing else has to happen for it."""
        event = self.assert_within(SEEN, "the event", client.wait_event, "resized")
        self.assertEqual((event.session, event.resized.size_sectors), (session, size // sector))
        return event.resized.generation

    def assert_size(self, client, session, size):
        info = client.get_info(session)
        self.assertEqual(info.size_sectors * info.sector_size, size)
        return info


class Files(OutsideTest):
    def test_growing_is_told_to_all_sessions(self):
        path = self.image(size=MIB)
        first, second = self.client(), self.client()
        sessions = [(client, client.open_path(path)) for client in (first, second)]
        first.flush(sessions[0][1])
        before = first.get_info(sessions[0][1])
        os.truncate(path, 3 * MIB)
        for client, session in sessions:
            generation = self.wait_resized(client, session, 3 * MIB)
            self.assertGreater(generation, before.generation)
            self.assertEqual(self.assert_size(client, session, 3 * MIB).generation, generation)
        (device,) = first.devices()
        self.assertEqual(device.size_bytes, 3 * MIB)
        self.assertTrue(device.unsynced, "whoever did that may have written, too")
        (line,) = self.daemon.log_lines("resized-outside")
        for part in (f"path={path}", f"before={MIB}", f"size={3 * MIB}"):
            self.assertIn(part, line)
        first.write(sessions[0][1], 2 * MIB, b"x" * SECTOR)
        self.assertEqual(second.read(sessions[1][1], 2 * MIB, SECTOR), b"x" * SECTOR)

    def test_shrinking_is_told_and_what_is_past_the_end_is_refused(self):
        path = self.image(size=4 * MIB)
        client = self.client()
        session = client.open_path(path)
        os.truncate(path, MIB)
        self.wait_resized(client, session, MIB)
        self.assert_size(client, session, MIB)
        self.assert_failed("EINVAL", client.read, session, MIB, SECTOR)
        self.assert_failed("ENOSPC", client.write, session, MIB, bytes(SECTOR))
        self.assertEqual(os.path.getsize(path), MIB)

    def test_it_is_looked_at_again_and_again(self):
        path = self.image(size=MIB)
        client = self.client()
        session = client.open_path(path)
        for size in (2 * MIB, MIB, 0, 5 * MIB):
            os.truncate(path, size)
            self.wait_resized(client, session, size)
        self.assertEqual(len(self.daemon.log_lines("resized-outside")), 4)

    def test_a_watcher_is_told(self):
        path = self.image(size=MIB)
        client, watcher = self.client(), self.client()
        session = client.open_path(path)
        watcher.call("watch", pb.Watch())
        os.truncate(path, 2 * MIB)
        happening = watcher.wait_event("happening").happening
        self.assertEqual((happening.what, happening.session, happening.size_bytes),
                         (pb.Happening.WHAT_RESIZED, 0, 2 * MIB))
        info = client.get_info(session)
        self.assertEqual((happening.device, happening.generation), (info.device, info.generation))

    def test_odd_sizes_are_rounded_down(self):
        path = self.image(size=MIB)
        client = self.client()
        small = client.open_path(path)
        large = client.open_path(path, sector_size=4 * KIB)
        os.truncate(path, MIB + 3 * SECTOR + 100)
        self.assertEqual({client.wait_event("resized").session for _ in range(2)}, {small, large})
        self.assert_size(client, small, MIB + 3 * SECTOR)
        self.assert_size(client, large, MIB)
        os.truncate(path, MIB + 3 * SECTOR + 200)
        time.sleep(SEEN)  # that is no change
        self.assertEqual(len(self.daemon.log_lines("resized-outside")), 1)
        self.assert_failed("ENOSPC", client.write, small, MIB + 3 * SECTOR, bytes(SECTOR))
        client.write(small, MIB + 2 * SECTOR, b"e" * SECTOR)
        self.assertEqual(os.path.getsize(path), MIB + 3 * SECTOR + 200)

    def test_what_has_just_grown_can_be_used_at_once(self):
        """Far more often than there is a look each second."""
        for memory in (False, True):
            with self.subTest(memory=memory):
                self.use_at_once(self.image(f"{memory}.img", MIB, memory))

    def use_at_once(self, path):
        client = self.client()
        session = client.open_path(path)
        size = MIB
        for i in range(20):
            data = os.urandom(256 * KIB)
            os.truncate(path, size + MIB)
            # Others follow on the same connection before the first has been looked into.
            ids = [client.start_write(session, size, data),
                   client.start_write(session, size + 512 * KIB, bytes([i]) * SECTOR),
                   client.start_read(session, size + MIB - SECTOR, SECTOR)]
            for request in ids:
                client.finish(request)
            self.assertEqual(client.read(session, size, len(data)), data)
            self.assertEqual(client.read(session, size + 512 * KIB, SECTOR), bytes([i]) * SECTOR)
            size += MIB
            os.truncate(path, size + MIB)
            self.assertEqual(client.read(session, size, MIB), bytes(MIB))
            size += MIB
            os.truncate(path, size + MIB)
            client.zero(session, size, MIB)
            size += MIB
            os.truncate(path, size + MIB)
            client.discard(session, size, MIB)
            size += MIB
            os.truncate(path, size + MIB)
            reply, _ = client.call("seek", pb.Seek(session=session, offset_bytes=size + MIB,
                                                   target=pb.SEEK_TARGET_MAPPED))
            self.assertEqual(reply.seek.offset_bytes, size + MIB)
            os.truncate(path, size)
            self.assert_failed("EINVAL", client.call, "seek",
                               pb.Seek(session=session, offset_bytes=size + 2 * MIB))
        with open(path, "rb") as file:
            file.seek(size - 4 * MIB)
            self.assertEqual(file.read(len(data)), data)

    def test_what_waits_for_a_look_keeps_its_payload(self):
        """Others come meanwhile, into the buffer that it came in."""
        path = self.image(size=MIB, memory=True)
        client = self.client()
        session = client.open_path(path)
        for i in range(300):
            size = MIB + (i + 1) * SECTOR
            os.truncate(path, size)
            ids = [client.start_write(session, size - SECTOR, b"w" * SECTOR)]
            ids += [client.start_write(session, 0, b"o" * SECTOR) for _ in range(4)]
            for request in ids:
                client.finish(request)
        self.assertEqual(client.read(session, MIB, 300 * SECTOR), 300 * SECTOR * b"w")

    def test_blkds_own_changes_are_not_taken_for_anothers(self):
        """Looks of both kinds while it is resized: none of them undoes what was answered."""
        path = self.image(size=MIB)
        client, other = self.client(), self.client()
        session = client.open_path(path)
        beyond = other.open_path(path)
        done = threading.Event()

        def look():
            while not done.is_set():
                ids = [other.start_read(beyond, 64 * MIB, SECTOR) for _ in range(20)]
                for request in ids:
                    self.assertEqual(other.wait(request)[0].status, pb.STATUS_EINVAL)
        thread = threading.Thread(target=look)
        thread.start()
        try:
            end = time.monotonic() + 3
            i = 0
            while time.monotonic() < end:
                i += 1
                size = (1 + i % 7) * MIB
                lock = pb.Lock(session=session, mode=pb.LOCK_MODE_EXCLUSIVE)
                client.call("lock", lock)  # to shrink beside another session
                client.resize(session, size)
                client.call("unlock", pb.Unlock(session=session))
                self.assert_size(client, session, size)
        finally:
            done.set()
            thread.join()
        self.assertGreater(i, 50)
        self.assertEqual(self.daemon.log_lines("resized-outside"), [])


@support.needs_root
@support.needs("losetup")
class BlockDevices(OutsideTest):
    def setUp(self):
        super().setUp()
        self.backing = self.image(size=4 * MIB)
        self.device = self.loop(self.backing)
        self.own = self.client()
        self.session = self.own.open_path(self.device)

    def resize(self, size):
        os.truncate(self.backing, size)
        subprocess.run(["losetup", "--set-capacity", self.device], check=True)

    def test_a_disk_that_grows_and_shrinks(self):
        for size in (8 * MIB, 2 * MIB):
            self.resize(size)
            self.wait_resized(self.own, self.session, size)
            self.assert_size(self.own, self.session, size)

    def test_it_can_be_used_at_once(self):
        for i in range(1, 10):
            self.resize((4 + i) * MIB)
            self.own.write(self.session, (3 + i) * MIB, bytes([i]) * MIB)
            self.assertEqual(self.own.read(self.session, (3 + i) * MIB, MIB), bytes([i]) * MIB)

    def test_a_disk_without_bytes_is_gone_and_nothing_changes(self):
        self.resize(0)
        (line,) = self.daemon.wait_log("look-failed")
        self.assertIn("errno=ENOMEDIUM", line)
        self.assert_size(self.own, self.session, 4 * MIB)
        self.assert_failed("EINVAL", self.own.read, self.session, 4 * MIB, SECTOR)
        self.assertEqual(len(self.daemon.log_lines("look-failed")), 1)
        self.resize(8 * MIB)
        self.wait_resized(self.own, self.session, 8 * MIB)


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse")
class Hung(OutsideTest):
    config = "[daemon]\nworkers = 1\ndrain-timeout-ms = 2000\n"

    def test_others_go_on_beside_devices_that_cannot_be_looked_at(self):
        hung = NbdImage(self, "hung", "memory", "64M")
        client, other = self.client(), self.client()
        path = self.image(size=MIB)
        stuck = client.open_path(hung.path)
        session = other.open_path(path)
        hung.pause()
        beyond = [client.start_read(stuck, 64 * MIB, SECTOR) for _ in range(50)]
        for i in range(2, 5):
            os.truncate(path, i * MIB)
            self.wait_resized(other, session, i * MIB)
        os.truncate(path, 9 * MIB)
        self.assert_within(1, "a write past the old end", other.write, session, 8 * MIB,
                           bytes(MIB))
        helpers = self.helpers()
        self.assertLessEqual(helpers, 6, "a device that hangs costs more and more")
        self.assert_within(1, "the list", other.devices)
        hung.resume()
        for request in beyond:
            self.assertEqual(client.wait(request)[0].status, pb.STATUS_EINVAL)

    def helpers(self):
        names = []
        for thread in os.listdir(f"/proc/{self.daemon.pid}/task"):
            with open(f"/proc/{self.daemon.pid}/task/{thread}/comm", encoding="ascii") as file:
                names.append(file.read().strip())
        return sum(name.startswith("helper") for name in names)

    def test_who_dies_waiting_for_a_look_is_gone_when_it_ends(self):
        hung = NbdImage(self, "hung", "memory", "64M")
        victim, other = self.client(), self.client()
        stuck = victim.open_path(hung.path)
        hung.pause()
        for _ in range(10):
            victim.start_read(stuck, 64 * MIB, SECTOR)
            victim.start_write(stuck, 64 * MIB, bytes(SECTOR))
        other.ping()
        victim.close()
        other.ping()
        hung.resume()
        support.wait_until(lambda: not other.sessions(), "its session is gone")
        support.wait_until(lambda: not other.devices(), "its device is closed")

    def test_a_device_that_has_gone_is_logged_once_and_stays_as_it_was(self):
        gone = NbdImage(self, "gone", "memory", "64M")
        client = self.client()
        session = client.open_path(gone.path)
        gone.nbdfuse.kill()
        (line,) = self.daemon.wait_log("look-failed")
        self.assertIn(gone.path, line)
        for _ in range(10):
            self.assert_failed("EINVAL", client.read, session, 64 * MIB, SECTOR)
        self.assert_size(client, session, 64 * MIB)
        self.assertEqual(len(self.daemon.log_lines("look-failed")), 1)


class Flood(OutsideTest):
    def setUp(self):
        super().setUp()
        self.hostile, self.own = self.client(), self.client()
        path = self.image(size=MIB)
        self.theirs = self.hostile.open_path(path)
        self.session = self.own.open_path(path)

    def flood(self, count):
        """Requests past the end, as many in flight as may be."""
        ids = []
        for i in range(count):
            if i % 2 == 0:
                ids.append((self.hostile.start_read(self.theirs, MIB, SECTOR), pb.STATUS_EINVAL))
            else:
                ids.append((self.hostile.start_write(self.theirs, MIB, bytes(SECTOR)),
                            pb.STATUS_ENOSPC))
            if len(ids) == 1000:
                self.drain(ids)
        self.drain(ids)

    def drain(self, ids):
        for request, status in ids:
            self.assertEqual(self.hostile.wait(request)[0].status, status)
        ids.clear()

    def test_each_is_answered_and_others_go_on(self):
        done = threading.Event()

        def others():
            while not done.is_set():
                self.assert_within(1, "another's write", self.own.write, self.session, 0,
                                   b"o" * 4 * KIB)
        thread = threading.Thread(target=others)
        thread.start()
        try:
            self.flood(20000)
        finally:
            done.set()
            thread.join()
        self.assertEqual(self.daemon.log_lines("resized-outside"), [])

    def test_looks_are_shared(self):
        """Those that come together wait together for one look."""
        before = self.switches()
        read = pb.Read(session=self.theirs, offset_bytes=MIB, length_bytes=SECTOR)
        ids = range(self.hostile.next_id, self.hostile.next_id + 1000)
        self.hostile.send_bytes(b"".join(wire.frame(pb.Request(id=i, read=read)) for i in ids))
        for i in ids:
            self.assertEqual(self.hostile.wait(i)[0].status, pb.STATUS_EINVAL)
        self.assertLess(self.switches() - before, 200)

    def switches(self):
        """How often a helper thread has gone to sleep: at least once for each job that it waited
        for."""
        count = 0
        for thread in os.listdir(f"/proc/{self.daemon.pid}/task"):
            directory = f"/proc/{self.daemon.pid}/task/{thread}"
            with open(f"{directory}/comm", encoding="ascii") as file:
                if not file.read().startswith("helper"):
                    continue
            with open(f"{directory}/status", encoding="ascii") as file:
                for line in file:
                    if line.startswith("voluntary_ctxt_switches"):
                        count += int(line.split()[1])
        return count


if __name__ == "__main__":
    unittest.main()
