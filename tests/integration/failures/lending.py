#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""L9: what the daemon may do as root, a client may not do through it."""

import os
import stat
import subprocess
import unittest

import support
from support import KIB, MIB, NOBODY, SECTOR, pb


@support.needs_root
class Lending(support.FailureTest):
    def setUp(self):
        super().setUp()
        self.nobody = support.AsNobody(self)

    def with_client(self, path, flags, function):
        """As nobody: opens it, and does this with the client, the session and the descriptor."""
        def run():
            fd = os.open(path, flags)
            with support.Client(self.daemon) as client:
                return function(client, client.open(b"", descriptor=fd).session, fd)
        return self.nobody.run(run)

    def test_a_reader_does_not_stop_the_writer(self):
        path = self.image()
        os.chmod(path, 0o644)
        root = self.client()
        session = root.open_path(path)
        root.write(session, 0, b"1" * SECTOR)

        def lock_and_wait(client, own, _fd):
            client.call("lock", pb.Lock(session=own, mode=pb.LOCK_MODE_SHARED))
            root.write(session, 0, b"2" * SECTOR)
            self.assert_failed("EBUSY", root.call, "lock",
                               pb.Lock(session=session, mode=pb.LOCK_MODE_EXCLUSIVE))
            return client.get_info(own).lock
        self.assertEqual(self.with_client(path, os.O_RDONLY, lock_and_wait),
                         f"done {pb.LOCK_MODE_SHARED}")

    def test_a_writers_lock_does(self):
        path = self.image()
        os.chmod(path, 0o666)
        root = self.client()
        session = root.open_path(path)

        def lock(client, own, _fd):
            client.call("lock", pb.Lock(session=own, mode=pb.LOCK_MODE_SHARED))
            root.write(session, 0, b"2" * SECTOR)
        self.assertIn("EBUSY", self.with_client(path, os.O_RDWR, lock))

    def test_a_write_takes_set_user_id_bits_away(self):
        for number, change in enumerate([
                lambda client, own, _fd: client.write(own, 0, b"E" * SECTOR),
                lambda client, own, _fd: client.zero(own, 0, 4 * KIB),
                lambda client, own, _fd: client.resize(own, 2 * MIB)]):
            path = self.image(f"{number}.img")
            os.chmod(path, 0o4777)
            self.assertEqual(self.with_client(path, os.O_RDWR, change), "done None")
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o777, f"change {number}")

    @support.needs("losetup", "mount", "mkfs.ext4")
    def test_the_blocks_reserved_for_root_are_not_lent(self):
        disk = self.image("ext4.img", 64 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "20", disk], check=True)
        mount = os.path.join(self.directory, "mnt")
        os.mkdir(mount)
        device = self.loop(disk)
        subprocess.run(["mount", device, mount], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", mount], check=True)
        os.chmod(mount, 0o777)
        path = os.path.join(mount, "big")
        with open(path, "wb"):
            os.chmod(path, 0o666)

        def fill(client, own, fd):
            end = 0
            try:
                while True:
                    end += os.pwrite(fd, bytes(64 * KIB), end)
            except OSError:
                client.resize(own, 64 * MIB)
            for kind in (lambda at: client.write(own, at, b"y" * 64 * KIB),
                         lambda at: client.write(own, at, b"y" * 64 * KIB, pb.WRITE_FLAG_FUA)):
                for step in range(1, 40):
                    try:
                        kind(end + step * 64 * KIB)
                    except support.wire.Failed as failure:
                        if failure.status == "ENOSPC":
                            break
                        raise
                else:
                    return "root's blocks were had"
            return "full"
        self.assertEqual(self.with_client(path, os.O_RDWR, fill), "done full")
        self.assertGreater(os.statvfs(mount).f_bfree * os.statvfs(mount).f_bsize, 4 * MIB)
        os.unlink(path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
