#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a user tries who may talk to the daemon and wants more: descriptors that root must not reopen,
names that are no text, a log that nobody reads, a server with many files that hangs."""

import os
import signal
import unittest

import support
from support import KIB, MIB, NOBODY, SECTOR, pb, wire

HUNG = 40  # devices


@support.needs_root
class Descriptors(support.FailureTest):
    def setUp(self):
        super().setUp()
        self.nobody = support.AsNobody(self)

    def open_and_write(self, path, flags, data):
        """As a client does who wants `data` in the file."""
        fd = os.open(path, flags)
        with support.Client(self.daemon) as client:
            session = client.open(b"", descriptor=fd).session
            client.resize(session, len(data))
            client.write(session, 0, data)
        return "written"

    def test_a_file_of_the_kernel_is_not_written_with_roots_power(self):
        """The daemon would write with its own credentials, which these files look at."""
        for path, data in {"/proc/self/oom_score_adj": b"-1000\n",
                           "/proc/self/comm": b"renamed\n"}.items():
            with self.subTest(path):
                answer = self.nobody.run(lambda path=path, data=data: self.open_and_write(
                    path, os.O_RDWR, data.ljust(SECTOR, b"\0")))
                self.assertRegex(answer, "^EACCES: open.* proc")

    def test_a_descriptor_that_only_appends_does_not_overwrite(self):
        path = self.image()
        os.chown(path, NOBODY, NOBODY)
        answer = self.nobody.run(lambda: self.open_and_write(path, os.O_RDWR | os.O_APPEND,
                                                             b"overwritten".ljust(SECTOR)))
        self.assertIn("EROFS", answer)
        answer = self.nobody.run(lambda: self.open_and_write(path, os.O_RDWR,
                                                             b"overwritten".ljust(SECTOR)))
        self.assertEqual(answer, "done written")


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse")
class ManyHungDevices(support.FailureTest):
    config = "[daemon]\nworkers = 1\ndrain-timeout-ms = 60000\n"

    def setUp(self):
        super().setUp()
        self.nobody = support.AsNobody(self)
        self.hung = [None] * HUNG
        first = support.NbdImage(self, "0", "memory", "1M")
        self.images = [first]
        for i in range(1, HUNG):
            self.images.append(support.NbdImage(self, str(i), server=first))

    def tearDown(self):
        self.images[0].resume()
        super().tearDown()

    def work(self, path, direct):
        """Every verb, as another user."""
        with support.Client(self.daemon) as client:
            fd = os.open(path, os.O_RDWR)
            session = client.open(b"", descriptor=fd, direct=direct, lock=True).session
            client.write(session, 0, b"x" * 4 * KIB)
            client.read(session, 0, 4 * KIB)
            client.flush(session)
            client.discard(session, 0, 4 * KIB)
            client.resize(session, 2 * MIB)
            client.close_session(session)
        return "worked"

    def test_another_user_goes_on(self):
        clients = [self.client() for _ in range(4)]
        sessions = []
        for i, image in enumerate(self.images):
            client = clients[i % 4]
            session = client.open_path(image.path)
            client.write(session, 0, bytes(4 * KIB))
            sessions.append((client, session))
        self.images[0].pause(server_only=True)
        ids = []
        for client, session in sessions:
            ids.append((client, client.start("flush", pb.Flush(session=session))))
            for _ in range(2):
                ids.append((client, client.start("discard", pb.Discard(session=session,
                                                                       length_bytes=4 * KIB))))
            for i in range(16):
                ids.append((client, client.start_read(session, i * 4 * KIB, 4 * KIB)))
        watcher = self.client()
        support.wait_until(lambda: sum(d.in_flight > 0 for d in watcher.devices()) == HUNG,
                           "all have I/O in flight")
        path = self.image()
        os.chown(path, NOBODY, NOBODY)
        for direct in (False, True):
            answer = self.assert_within(3, "another user's work", self.nobody.run,
                                        lambda direct=direct: self.work(path, direct))
            self.assertEqual(answer, "done worked")
        self.images[0].resume()
        for client, request_id in ids:
            client.finish(request_id)

    def test_another_user_goes_on_while_all_are_closed(self):
        client = self.client()
        for image in self.images:
            client.write(client.open_path(image.path), 0, bytes(4 * KIB))
        self.images[0].pause(server_only=True)
        client.close()
        watcher = self.client()
        support.wait_until(lambda: not watcher.sessions(), "their sessions have ended")
        path = self.image()
        os.chown(path, NOBODY, NOBODY)
        answer = self.assert_within(3, "another user's work", self.nobody.run,
                                    lambda: self.work(path, False))
        self.assertEqual(answer, "done worked")
        self.images[0].resume()
        support.wait_until(lambda: not watcher.devices(), "all are closed")


class Names(support.FailureTest):
    def test_a_name_that_is_no_text_is_told_as_text(self):
        """Python's protobuf refuses a message with a string that is not UTF-8."""
        client = self.client()
        name = os.path.join(os.fsencode(self.directory), b"\xff\xfe\x80" * 20 + b".img")
        message = self.assert_failed("ENOENT", client.open, name)
        self.assertIn("?", message)
        with open(name, "wb") as file:
            file.truncate(MIB)
        session = client.open(name).session
        self.assert_failed("EINVAL", client.read, session, MIB, SECTOR)
        self.assertEqual([entry.path for entry in client.sessions()], [name])

    def test_a_client_with_a_strange_command_is_listed(self):
        with open("/proc/self/comm", "w+b") as comm:
            before = comm.read()
            comm.write(b"\xff\xfe\n=\"")
            comm.flush()
            try:
                strange = self.client()
            finally:
                comm.write(before)
        strange.open_path(self.image())
        self.assertEqual(len(self.client().sessions()), 1)
        for line in self.daemon.log_lines("session-opened"):
            self.assertNotIn("\n", line)


class Log(support.FailureTest):
    def test_a_log_that_nobody_reads_stops_nobody(self):
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        self.daemon.stop()
        self.daemon = self.start_daemon(log=write_end)
        os.close(write_end)
        client = self.client()
        path = self.image()
        for _ in range(300):
            client.close_session(client.open_path(path))
            self.assert_failed("ENOENT", client.open_path, "/nowhere/" + "x" * 1000)
        os.set_blocking(read_end, False)
        while len(os.read(read_end, MIB)) == MIB:
            pass
        client.close_session(client.open_path(path))
        os.set_blocking(read_end, True)
        self.assertRegex(os.read(read_end, MIB).decode(), "event=log-lost lines=[1-9]")


if __name__ == "__main__":
    unittest.main()
