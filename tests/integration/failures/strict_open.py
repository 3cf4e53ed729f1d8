#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""strict=1 refuses what cannot be had, with the reason; without it get_info tells what is effective."""

import os
import unittest

import support
from support import MIB, NbdImage, pb


class Strict(support.FailureTest):
    def assert_refused(self, path, *words, **config):
        """With strict. It has left nothing open, and without strict the same is taken, with less."""
        client = self.client()
        before = len(client.devices())
        message = self.assert_failed("EOPNOTSUPP", client.open_path, path, strict=True, **config)
        for word in (path, "strict=1", *words):
            self.assertIn(word, message)
        support.wait_until(lambda: len(client.devices()) == before, "the device is closed again")
        self.assertEqual(client.sessions(), self.client().sessions())
        opened = client.open(os.fsencode(path), **config)
        self.addCleanup(client.close)
        return opened.info

    def assert_taken(self, path, **config):
        client = self.client()
        opened = client.open(os.fsencode(path), strict=True, **config)
        return client, opened

    def test_what_can_be_had_is_had(self):
        _, opened = self.assert_taken(self.image(), direct=True, sync=pb.SYNC_DRIVE, lock=True,
                                      discard=True)
        info = opened.info
        self.assertTrue(info.direct and info.asked_direct and info.asked_lock and info.asked_discard)
        self.assertEqual(info.sync, pb.SYNC_DRIVE)
        self.assertFalse(info.volatile_storage)
        self.assertEqual(info.lock, pb.LOCK_MODE_EXCLUSIVE)
        self.assertEqual(info.discard, pb.DISCARD_METHOD_PUNCH_HOLE)

    def test_direct_where_others_are_buffered(self):
        path = self.image()
        self.client().open_path(path)
        info = self.assert_refused(path, "direct", "buffered", direct=True)
        self.assertFalse(info.direct)
        self.assertTrue(info.asked_direct)

    def test_buffered_where_others_are_direct(self):
        path = self.image()
        self.client().open_path(path, direct=True)
        info = self.assert_refused(path, "buffered", "direct")
        self.assertTrue(info.direct)
        self.assertFalse(info.asked_direct)

    def test_the_last_closed_its_mode_goes_with_it(self):
        path = self.image()
        client = self.client()
        client.close_session(client.open_path(path))
        self.assertTrue(self.assert_taken(path, direct=True)[1].info.direct)

    def test_sync_on_memory(self):
        for level in (pb.SYNC_OS, pb.SYNC_DRIVE):
            path = self.image(f"level-{level}", memory=True)
            info = self.assert_refused(path, "power failure", sync=level)
            self.assertEqual(info.asked_sync, level)
            self.assertTrue(info.volatile_storage)

    def test_no_sync_on_memory_is_what_was_asked_for(self):
        self.assert_taken(self.image(memory=True), sync=pb.SYNC_NONE)

    @support.needs_root
    @support.needs("losetup")
    def test_sync_on_a_loop_device_over_memory(self):
        path = self.loop(self.image(memory=True))
        info = self.assert_refused(path, "power failure", sync=pb.SYNC_OS)
        self.assertTrue(info.volatile_storage)

    @support.needs_root
    @support.needs("losetup")
    def test_a_loop_device_over_a_disk_can_do_all(self):
        info = self.assert_taken(self.loop(self.image(size=4 * MIB)), direct=True, discard=True,
                                 sync=pb.SYNC_DRIVE)[1].info
        self.assertEqual(info.discard, pb.DISCARD_METHOD_PUNCH_HOLE)

    @support.needs_fuse
    @support.needs("nbdkit", "nbdfuse", "losetup")
    def test_discard_where_only_zeroes_can_be_written(self):
        """A server that can neither trim nor zero: that is known once it was tried."""
        stored = os.path.join(self.directory, "stored")
        with open(stored, "wb") as file:
            file.truncate(4 * MIB)
        image = NbdImage(self, "plain", "eval", f"get_size=echo {4 * MIB}",
                         f"pread=dd if={stored} iflag=skip_bytes,count_bytes skip=$4 count=$3 "
                         "status=none", f"pwrite=dd of={stored} oflag=seek_bytes seek=$4 "
                         "conv=notrunc status=none", "can_write=exit 0", "can_zero=exit 3",
                         "can_trim=exit 3")
        for path in (image.path, self.loop(image.path)):
            with self.subTest(path):
                client = self.client()
                session = client.open_path(path)
                client.write(session, 0, b"x" * MIB)
                client.discard(session, 0, MIB)
                self.assertEqual(client.read(session, 0, MIB), bytes(MIB))
                method = client.get_info(session).discard
                self.assertNotEqual(method, pb.DISCARD_METHOD_PUNCH_HOLE)
                info = self.assert_refused(path, "release space", discard=True)
                self.assertTrue(info.asked_discard)
                self.assertEqual(info.discard, method)


if __name__ == "__main__":
    unittest.main(verbosity=2)
