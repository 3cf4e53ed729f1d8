#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Who has a device, in blkd and outside: asked by name and by descriptor, by root and by others."""

import fcntl
import os
import subprocess
import sys
import time
import unittest

import support
from support import MIB, NOBODY, SECTOR, NbdImage, pb

# Locks and unlocks without end: /proc/locks is another for each of its pages.
CHURN = """
import fcntl, sys
files = [open(sys.argv[1], "rb") for _ in range(20)]
print("ready", flush=True)
while True:
    for operation in (fcntl.LOCK_SH, fcntl.LOCK_UN):
        for file in files:
            fcntl.flock(file, operation)
"""


class WhoTest(support.FailureTest):
    def who(self, client, path):
        reply, _ = client.call("who", pb.Who(path=os.fsencode(path)))
        return reply.who

    def who_passed(self, client, fd):
        reply, _ = client.call("who", pb.Who(descriptor=True), b"", (fd,))
        return reply.who

    def lock(self, client, session, mode=pb.LOCK_MODE_EXCLUSIVE, **more):
        client.call("lock", pb.Lock(session=session, mode=mode, **more))


class Sessions(WhoTest):
    def test_nobody(self):
        answer = self.who(self.client(), self.image())
        self.assertEqual((list(answer.holders), answer.device, answer.failed, answer.more),
                         ([], 0, False, False))
        self.assertTrue(answer.safe)

    def test_one_that_holds_a_lock_one_that_waits_and_one_that_reads(self):
        path = self.image()
        client, other = self.client(), self.client()
        before = int(time.time() * 1000)
        reader = client.open_path(path, access=pb.ACCESS_READ_ONLY, purpose="looks")
        holder = client.open_path(path, purpose="session")
        self.lock(client, holder, purpose="nightly")
        waiter = other.open_path(path)
        other.start("lock", pb.Lock(session=waiter, mode=pb.LOCK_MODE_SHARED,
                                    wait_ms=pb.LOCK_WAIT_FOREVER))
        other.ping()
        answer = self.who(client, path)
        self.assertEqual(answer.device, client.get_info(holder).device)
        self.assertEqual({entry.kind for entry in answer.holders}, {pb.HOLDER_KIND_SESSION})
        self.assertEqual([(entry.session, entry.lock, entry.exclusive, entry.waiting,
                           entry.read_write, entry.purpose) for entry in answer.holders],
                         [(holder, pb.LOCK_MODE_EXCLUSIVE, True, False, True, "nightly"),
                          (waiter, pb.LOCK_MODE_SHARED, False, True, True, ""),
                          (reader, pb.LOCK_MODE_NONE, False, False, False, "looks")])
        for entry in answer.holders:
            self.assertEqual((entry.pid, entry.uid), (os.getpid(), os.getuid()))
            self.assertEqual(entry.detail, os.fsencode(path))
            self.assertFalse(entry.via)
            self.assertLess(abs(entry.since_unix_ms - before), 20000)

    def test_by_another_name_and_by_descriptor(self):
        path = self.image()
        link = os.path.join(self.directory, "link")
        os.link(path, link)
        client = self.client()
        session = client.open_path(path)
        count = self.daemon.descriptors()
        with open(link, "rb") as file:
            for answer in (self.who(client, link), self.who_passed(client, file.fileno())):
                (entry,) = answer.holders
                self.assertEqual((entry.session, entry.detail), (session, os.fsencode(path)))
        self.wait_descriptors(count)

    def test_whether_it_is_safe(self):
        path = self.image()
        client = self.client()
        session = client.open_path(path)
        client.write(session, 0, b"x" * SECTOR)
        self.assertFalse(self.who(client, path).safe)
        client.flush(session)
        self.assertTrue(self.who(client, path).safe)

    def test_more_than_fit(self):
        path = self.image()
        client = self.client()
        for _ in range(200):
            client.open_path(path)
        last = client.open_path(path)
        self.lock(client, last)
        answer = self.who(client, path)
        self.assertTrue(answer.more)
        self.assertEqual(answer.holders[0].session, last, "who holds it is told first")


@support.needs_root
class Outside(WhoTest):
    def kinds(self, answer):
        return {entry.kind for entry in answer.holders}

    def test_flock_by_another_program(self):
        path = self.image()
        client = self.client()
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            (entry,) = self.who(client, path).holders
        self.assertEqual((entry.kind, entry.exclusive), (pb.HOLDER_KIND_FLOCK, False))
        self.assertEqual((entry.pid, entry.uid), (os.getpid(), 0))
        self.assertNotEqual(entry.command, "")
        self.assertEqual(list(self.who(client, path).holders), [])

    def test_flocks_are_told_once_while_others_lock_and_unlock(self):
        paths = [self.image(name="%d.img" % i) for i in range(60)]
        client = self.client()
        churning = subprocess.Popen([sys.executable, "-c", CHURN, self.image(name="churn")],
                                    stdout=subprocess.PIPE)
        try:
            churning.stdout.readline()
            files = [open(path, "rb") for path in paths]
            for file in files:
                fcntl.flock(file, fcntl.LOCK_SH)
            told = [len(self.who(client, path).holders) for _ in range(10) for path in paths]
        finally:
            churning.kill()
            churning.communicate()
        for file in files:
            file.close()
        self.assertEqual(set(told), {1})

    def test_the_daemons_own_guard_is_not_told_as_anothers(self):
        path = self.image()
        client = self.client()
        session = client.open_path(path, lock=True)
        (entry,) = self.who(client, path).holders
        self.assertEqual((entry.kind, entry.session), (pb.HOLDER_KIND_SESSION, session))

    @support.needs("losetup")
    def test_a_loop_device_and_its_file_are_told_of_each_other(self):
        path = self.image(size=4 * MIB)
        device = self.loop(path)
        client = self.client()
        session = client.open_path(device, access=pb.ACCESS_READ_ONLY)
        (own,) = self.who(client, device).holders
        self.assertEqual((own.session, own.via), (session, False))
        answer = self.who(client, path)
        self.assertEqual(answer.device, 0, "the file itself is not open")
        holders = {entry.kind: entry for entry in answer.holders}
        self.assertEqual(set(holders), {pb.HOLDER_KIND_SESSION, pb.HOLDER_KIND_LOOP})
        self.assertTrue(holders[pb.HOLDER_KIND_SESSION].via)
        self.assertEqual(holders[pb.HOLDER_KIND_SESSION].detail, os.fsencode(device))
        self.assertIn(os.fsencode(device), holders[pb.HOLDER_KIND_LOOP].detail)

    @support.needs("losetup", "mkfs.ext4", "mount", "umount")
    def test_a_mounted_device(self):
        device = self.loop(self.image(size=4 * MIB))
        self.run_tool("mkfs.ext4", "-q", device)
        point = os.path.join(self.directory, "mounted")
        os.mkdir(point)
        self.run_tool("mount", device, point)
        try:
            answer = self.who(self.client(), device)
            (entry,) = [entry for entry in answer.holders if entry.kind == pb.HOLDER_KIND_MOUNT]
            self.assertEqual((entry.detail, entry.exclusive), (os.fsencode(point), True))
        finally:
            subprocess.run(["umount", point], check=True)


class Refusals(WhoTest):
    def test_what_is_no_device(self):
        client = self.client()
        fifo = os.path.join(self.directory, "fifo")
        os.mkfifo(fifo)
        for path in (fifo, self.directory, "/dev/null"):
            self.assertIn(path, self.assert_failed("ENOTBLK", self.who, client, path))
        self.assert_failed("ENOENT", self.who, client, os.path.join(self.directory, "missing"))

    def test_paths_that_are_none(self):
        client = self.client()
        for path in ("", "relative", "/with\0nul", "/" + "x" * 5000):
            self.assert_failed("EINVAL", self.who, client, path)

    def test_descriptors_that_are_no_good(self):
        client = self.client()
        count = self.daemon.descriptors()
        path = self.image()
        read_end, write_end = os.pipe()
        bare = os.open(path, os.O_PATH)
        try:
            self.assert_failed("ENOTBLK", self.who_passed, client, read_end)
            self.assertEqual(len(self.who_passed(client, bare).holders), 0)
            self.assertEqual(support.AsNobody(self).run(lambda: self.who_passed(self.client(), bare))[:6],
                             "EACCES")
        finally:
            for fd in (read_end, write_end, bare):
                os.close(fd)
        request = client.start("who", pb.Who(descriptor=True))
        self.assertEqual(client.wait(request)[0].status, pb.STATUS_EINVAL)
        self.wait_descriptors(count)

    def test_a_request_that_is_refused_keeps_no_descriptor(self):
        client = self.client()
        count = self.daemon.descriptors()
        with open(self.image(), "rb") as file:
            request = client.start("who", pb.Who(descriptor=True), b"payload", (file.fileno(),))
        self.assertEqual(client.wait(request)[0].status, pb.STATUS_EINVAL)
        client.ping()
        self.wait_descriptors(count)

    def test_a_descriptor_with_a_request_that_takes_none(self):
        client = self.client()
        with open(self.image(), "rb") as file:
            client.start("who", pb.Who(path=b"/"), b"", (file.fileno(),))
            self.assertEqual(client.wait_closed().status, pb.STATUS_EPROTO)


@support.needs_root
class Others(WhoTest):
    def setUp(self):
        super().setUp()
        self.nobody = support.AsNobody(self)
        self.path = self.image()
        os.chmod(self.path, 0o644)

    def ask(self, path):
        with support.Client(self.daemon) as client:
            return self.who(client, path)

    def test_paths_are_refused_the_same_whether_or_not_they_exist(self):
        secret = os.path.join(self.directory, "secret")
        os.mkdir(secret, 0o700)
        there = os.path.join(secret, "there")
        with open(there, "wb"):
            pass
        answers = {self.nobody.run(lambda path=path: self.ask(path))
                   for path in (self.path, there, there + "-not", "/fifo", secret)}
        (answer,) = answers
        self.assertTrue(answer.startswith("EACCES: "), answer)

    def ask_passed(self):
        """As nobody: what is told of sessions on a file that it may read."""
        with support.Client(self.daemon) as client:
            with open(self.path, "rb") as file:
                client.open(b"mine", descriptor=file.fileno(), purpose="my own")
                answer = self.who_passed(client, file.fileno())
            return sorted((entry.uid, entry.detail, entry.purpose) for entry in answer.holders)

    def test_a_passed_descriptor_tells_no_names_of_others(self):
        self.client().open_path(self.path, purpose="a secret")
        answer = self.nobody.run(self.ask_passed)
        self.assertEqual(answer, f"done {[(0, b'', ''), (NOBODY, b'mine', 'my own')]}")


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse")
class Hung(WhoTest):
    config = "[daemon]\nworkers = 1\n"

    def test_who_asks_about_a_hung_file_holds_up_nobody(self):
        hung = NbdImage(self, "hung", "memory", "1M")
        client, other = self.client(), self.client()
        session = client.open_path(hung.path)
        path = self.image()
        hung.pause()
        asked = [client.start("who", pb.Who(path=os.fsencode(hung.path))) for _ in range(20)]
        for _ in range(5):
            answer = self.assert_within(2, "another's question", self.who, other, path)
            self.assertEqual(list(answer.holders), [])
        hung.resume()
        for request in asked:
            reply, _ = client.finish(request)
            self.assertIn(session, [entry.session for entry in reply.who.holders])


@support.needs_root
@support.needs("losetup", "mount", "umount")
class Failed(WhoTest):
    exit_status = 1

    def test_a_failed_device_is_not_safe_also_when_it_is_closed(self):
        image = os.path.join(self.mount_tmpfs(4 * MIB), "disk.img")
        with open(image, "wb") as file:
            file.truncate(64 * MIB)
        device = self.loop(image)
        client = self.client()
        session = client.open_path(device)
        for i in range(16):
            client.write(session, i * MIB, b"d" * MIB)
        self.assert_failed("EIO", client.flush, session)
        answer = self.who(client, device)
        self.assertEqual((answer.failed, answer.safe), (True, False))
        client.close_session(session)
        answer = self.who(client, device)
        self.assertEqual((answer.failed, answer.safe), (True, False))

    def test_the_mark_is_told_by_the_next_daemon(self):
        self.test_a_failed_device_is_not_safe_also_when_it_is_closed()
        device = self.client().devices()[0].path
        directory = self.daemon.directory
        self.daemon.stop(1)
        self.daemon = self.start_daemon(directory=directory)
        self.exit_status = 0
        answer = self.who(self.client(), os.fsdecode(device))
        self.assertEqual((answer.device, answer.failed, answer.safe), (0, True, False))


if __name__ == "__main__":
    unittest.main()
