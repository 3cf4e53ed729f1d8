#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""the contract's bad input, as far as paths and passed descriptors go."""

import array
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import hostile
import keeper
import pace
import wire
from hostile import SECTOR, SIZE, as_nobody, needs_root
from wire import pb

PING = pb.Request(id=9, ping=pb.Ping())
FUSE = shutil.which("nbdfuse") and shutil.which("nbdkit")


def fuse_opens():
    """It may be there and not allowed."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return True


# name, status, path
PATHS = [
    ("empty", "EINVAL", b""),
    ("relative", "EINVAL", b"etc/passwd"),
    ("dot", "EINVAL", b"."),
    ("only a nul", "EINVAL", b"\0"),
    ("with a nul", "EINVAL", b"/dev/zero\0.img"),
    ("with a nul at its end", "EINVAL", b"/dev/zero\0"),
    ("of 4096 bytes", "EINVAL", b"/" + b"x" * 4095),
    ("of 60000 bytes", "EINVAL", b"/" + b"x" * 59999),
    ("to nothing", "ENOENT", b"/nonexistent/image"),
    ("with a component over NAME_MAX", "ENAMETOOLONG", b"/" + b"x" * 256),
    ("through a file", "ENOTDIR", b"/proc/version/x"),
    ("to a directory", "ENOTBLK", b"/"),
    ("to a character device", "ENOTBLK", b"/dev/null"),
    ("to a tty", "ENOTBLK", b"/dev/tty"),
]

# name, fields of Config besides the path; all are EINVAL
CONFIGS = [
    ("unknown sync", dict(sync=9)),
    ("negative sync", dict(sync=-1)),
    ("unknown access", dict(access=9)),
    ("sector size 1", dict(sector_size=1)),
    ("sector size 513", dict(sector_size=513)),
    ("sector size 131072", dict(sector_size=131072)),
    ("sector size 4294967295", dict(sector_size=2**32 - 1)),
]


def open_by(connection, descriptor, **config):
    """Returns the session's OpenReply as bytes, or the status of the refusal."""
    try:
        return connection.open(b"", descriptor=descriptor, **config).SerializeToString()
    except wire.Failed as failure:
        return failure.status


class BadPaths(hostile.HostileTest):
    """What may not be opened by its path."""

    def check_path(self, status, path):
        self.expect_answer(status, "open", pb.Open(config=pb.Config(path=path)))

    def check_config(self, config):
        self.expect_answer("EINVAL", "open", pb.Open(config=pb.Config(path=self.image, **config)))

    def path(self, name):
        return os.fsencode(os.path.join(self.daemon.directory, name))

    def test_open_without_a_config_is_answered(self):
        self.expect_answer("EINVAL", "open", pb.Open())

    def test_fifo_does_not_block(self):
        path = self.path("fifo")
        os.mkfifo(path)
        self.check_path("ENOTBLK", path)
        self.expect_answer("ENOTBLK", "open", pb.Open(
            config=pb.Config(path=path, access=pb.ACCESS_READ_ONLY)))

    def test_socket_is_answered(self):
        with self.assertRaises(wire.Failed) as context:
            self.connection.open(os.fsencode(self.daemon.socket_path))
        self.assertIn(context.exception.status, ("ENOTBLK", "ENXIO"))

    def test_symlink_loop_is_answered(self):
        path = self.path("loop")
        os.symlink(path, path)
        self.check_path("ELOOP", path)

    def test_file_that_is_not_whole_sectors_is_answered(self):
        odd = self.make_image("odd.img")
        os.truncate(odd, SIZE + 1)
        message = self.expect_failure("EINVAL", self.connection.open, odd)
        self.assertIn(str(SIZE + 1), message)

    def test_longest_path_is_not_refused_for_its_length(self):
        path = b"/" + b"./" * 2047
        self.check_path("ENOTBLK", path)

    @needs_root
    def test_not_allowed_is_the_same_whether_or_not_it_exists(self):
        paths = [self.image, self.path("missing"), self.path("fifo2"), b"/dev/null", b"/",
                 b"/root/.profile", b"/root/missing/deeper", self.path("straight")]
        os.mkfifo(self.path("fifo2"))
        os.symlink(self.path("straight"), self.path("straight"))

        def try_all():
            answers = set()
            with self.greeted() as connection:
                for path in paths:
                    for access in (pb.ACCESS_AUTO, pb.ACCESS_READ_ONLY):
                        reply, _ = connection.wait(connection.start("open", pb.Open(
                            config=pb.Config(path=path, access=access))))
                        text = reply.message.replace(os.fsdecode(path), "PATH")
                        answers.add((wire.status_name(reply.status), text))
                connection.ping()
            return answers

        answers = as_nobody(try_all)
        self.assertEqual(len(answers), 1, answers)
        self.assertEqual(answers.pop()[0], "EACCES")

    @needs_root
    def test_lists_tell_others_no_paths(self):
        """Root has the same image open, and another one."""
        other = self.make_image("other.img")
        os.chmod(other, 0o644)
        self.connection.open(other)

        def look():
            with self.greeted() as connection:
                before = self.listed(connection)
                with open(other, "rb") as file:
                    connection.open(b"a name of nobody's", descriptor=file.fileno())
                return before, self.listed(connection)

        before, after = as_nobody(look)
        self.assertEqual(before, {b""})
        self.assertEqual(after, {b"", b"a name of nobody's"})
        self.assertIn(os.fsencode(other), self.listed(self.connection))

    @staticmethod
    def listed(connection):
        """All paths in both lists."""
        devices, _ = connection.call("list_devices", pb.ListDevices())
        sessions, _ = connection.call("list_sessions", pb.ListSessions())
        return {entry.path for entry in [*devices.devices.devices, *sessions.sessions.sessions]}


class BadDescriptors(hostile.HostileTest):
    """What may not be passed, and what a passed descriptor does not allow."""

    @contextlib.contextmanager
    def opened(self, path, flags):
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def check_passed(self, status, descriptor, **config):
        """R from root and, with the same answer, from nobody."""
        message = pb.Open(config=pb.Config(**config), descriptor=True)
        self.expect_answer(status, "open", message, b"", (descriptor,))
        if os.geteuid() == 0:
            self.assertEqual(as_nobody(lambda: self.pass_anew(descriptor, config)), status)

    def pass_anew(self, descriptor, config):
        with self.greeted() as connection:
            answer = open_by(connection, descriptor, **config)
            connection.ping()
            return answer

    def test_o_path_is_einval(self):
        with self.opened(self.image, os.O_PATH) as descriptor:
            self.check_passed("EINVAL", descriptor)

    def test_write_only_is_einval(self):
        with self.opened(self.image, os.O_WRONLY) as descriptor:
            self.check_passed("EINVAL", descriptor)

    def test_directory_is_enotblk(self):
        with self.opened("/tmp", os.O_RDONLY) as descriptor:
            self.check_passed("ENOTBLK", descriptor)

    def test_character_device_is_enotblk(self):
        with self.opened("/dev/null", os.O_RDWR) as descriptor:
            self.check_passed("ENOTBLK", descriptor)

    def test_pipe_is_enotblk(self):
        reader, writer = os.pipe()
        try:
            self.check_passed("ENOTBLK", reader)
        finally:
            os.close(reader)
            os.close(writer)

    def test_socket_is_enotblk(self):
        self.check_passed("ENOTBLK", self.connection.socket.fileno())

    def test_eventfd_is_enotblk(self):
        descriptor = os.eventfd(0)
        try:
            self.check_passed("ENOTBLK", descriptor)
        finally:
            os.close(descriptor)

    def test_read_only_descriptor_is_not_widened(self):
        """Root could open the file for writing; the descriptor's owner perhaps could not."""
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            self.check_passed("EACCES", descriptor, access=pb.ACCESS_READ_WRITE)
            opened = self.connection.open(b"", descriptor=descriptor)
        self.assertFalse(opened.info.read_write)
        self.expect_failure("EROFS", self.connection.write, opened.session, 0, bytes(SECTOR))

    def test_read_only_descriptor_of_a_device_open_for_writing_is_not_widened(self):
        """The daemon has the file open for writing already, for another session."""
        def try_to_write():
            with self.greeted() as connection:
                session = connection.open(b"", descriptor=descriptor).session
                try:
                    connection.write(session, 0, b"x" * SECTOR)
                except wire.Failed as failure:
                    return failure.status
            return "it was written"

        with self.opened(self.image, os.O_RDONLY) as descriptor:
            answer = as_nobody(try_to_write) if os.geteuid() == 0 else try_to_write()
        self.assertEqual(answer, "EROFS")

    def test_position_and_flags_of_the_peers_description_stay(self):
        with self.opened(self.image, os.O_RDWR) as descriptor:
            os.lseek(descriptor, 77, os.SEEK_SET)
            session = self.connection.open(b"", descriptor=descriptor, direct=True).session
            self.connection.write(session, 0, b"x" * 4096)
            self.assertEqual(os.lseek(descriptor, 0, os.SEEK_CUR), 77)
            self.connection.close_session(session)

    def test_missing_descriptor_is_einval(self):
        self.expect_answer("EINVAL", "open", pb.Open(config=pb.Config(), descriptor=True))

    # ---- too many, or where none belongs ----

    def check_closed_with(self, count, data):
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            self.connection.send_bytes(data, [descriptor] * count)
        self.expect_closed(self.connection, "EPROTO")

    def open_frame(self, descriptor=True):
        return wire.frame(pb.Request(id=9, open=pb.Open(config=pb.Config(path=self.image),
                                                        descriptor=descriptor)))

    def test_two_descriptors_close(self):
        self.check_closed_with(2, self.open_frame())

    def test_as_many_descriptors_as_fit_a_message_close(self):
        self.check_closed_with(253, self.open_frame())

    def test_descriptor_with_a_ping_closes(self):
        self.check_closed_with(1, wire.frame(PING))

    def test_many_descriptors_with_a_ping_close(self):
        self.check_closed_with(253, wire.frame(PING))

    def test_descriptor_with_an_open_by_path_closes(self):
        self.check_closed_with(1, self.open_frame(descriptor=False))

    def test_descriptor_with_hello_closes(self):
        connection = self.connect()
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            connection.send_bytes(wire.frame(pb.Request(id=1, hello=pb.Hello(version=1))),
                                  [descriptor])
        self.expect_closed(connection, "EPROTO")

    def test_second_descriptor_in_the_middle_of_the_frame_closes(self):
        data = self.open_frame()
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            self.connection.send_bytes(data[:5], [descriptor])
            self.connection.send_bytes(data[5:], [descriptor])
        self.expect_closed(self.connection, "EPROTO")

    def test_three_hundred_descriptors_in_two_messages_close(self):
        data = self.open_frame()
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            self.connection.send_bytes(data[:5], [descriptor] * 150)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.connection.send_bytes(data[5:], [descriptor] * 150)
        self.expect_closed(self.connection, "EPROTO")

    def test_descriptors_with_every_byte_close(self):
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for byte in self.open_frame():
                    self.connection.send_bytes(bytes([byte]), [descriptor])
        self.expect_closed(self.connection, "EPROTO")

    def test_client_gone_before_the_frame_of_its_descriptor_ended(self):
        with self.opened(self.image, os.O_RDONLY) as descriptor:
            self.connection.send_bytes(self.open_frame()[:5], [descriptor])
        self.connection.close()

    def test_socket_queue_full_of_descriptors_is_bounded(self):
        """Descriptors in flight to a connection that is refused are closed, too."""
        rights = array.array("i", [self.connection.socket.fileno()] * 200)
        for _ in range(20):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, OSError):
                self.connection.socket.sendmsg(
                    [b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        self.expect_closed(self.connection, "EPROTO")


@unittest.skipUnless(FUSE and os.geteuid() == 0 and fuse_opens(),
                     "needs root, /dev/fuse, nbdfuse and nbdkit")
class FuseDescriptors(hostile.HostileTest):
    """Files whose server is another program, and can be stopped."""

    def setUp(self):
        super().setUp()
        self.mount = tempfile.mkdtemp(prefix="mount-", dir=self.daemon.directory)
        self.addCleanup(os.rmdir, self.mount)
        self.server = subprocess.Popen(
            ["nbdfuse", os.path.join(self.mount, "image"), "--command", "nbdkit", "-s",
             "--exit-with-parent", "memory", str(SIZE)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        keeper.keep_process(self.server.pid)
        self.addCleanup(self.stop_server)
        self.file = os.path.join(self.mount, "image")
        watch = pace.Watch()
        while not os.path.exists(self.file):
            if self.server.poll() is not None or not watch.within(hostile.SETTLE_SECONDS):
                self.fail(f"nbdfuse did not start: {self.server.stderr.read().decode()}")
            hostile.pause(0.02)

    def stop_server(self):
        self.server.send_signal(signal.SIGCONT)
        subprocess.run(["fusermount3", "-u", "-z", self.mount], check=False)
        self.server.wait()
        self.server.stderr.close()

    def pass_it(self, descriptor):
        with self.greeted() as connection:
            answer = open_by(connection, descriptor)
            connection.ping()
            return answer

    def test_fuse_is_eacces_for_others_than_root(self):
        descriptor = os.open(self.file, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.assertEqual(as_nobody(lambda: self.pass_it(descriptor)), "EACCES")
        finally:
            os.close(descriptor)

    def test_stopped_fuse_is_eacces_without_hanging(self):
        """Closing the descriptor hangs, here and in the daemon: nobody else may notice."""
        def resume():
            self.check_witness()
            self.connection.ping()
            self.server.send_signal(signal.SIGCONT)

        descriptor = os.open(self.file, os.O_RDWR | os.O_CLOEXEC)
        self.server.send_signal(signal.SIGSTOP)
        try:
            self.assertEqual(as_nobody(lambda: self.pass_it(descriptor), resume), "EACCES")
        finally:
            self.server.send_signal(signal.SIGCONT)
            os.close(descriptor)

    def test_root_may_pass_fuse(self):
        descriptor = os.open(self.file, os.O_RDWR | os.O_CLOEXEC)
        try:
            opened = self.connection.open(b"", descriptor=descriptor)
        finally:
            os.close(descriptor)
        self.connection.write(opened.session, 0, b"f" * SECTOR)
        self.assertEqual(self.connection.read(opened.session, 0, SECTOR), b"f" * SECTOR)
        self.connection.close_session(opened.session)

    def test_stopped_fuse_by_path_delays_nobody_else(self):
        self.server.send_signal(signal.SIGSTOP)
        hung = self.connection.start("open", pb.Open(config=pb.Config(
            path=os.fsencode(self.file))))
        for _ in range(20):
            self.check_witness()
            self.connection.ping()
        self.server.send_signal(signal.SIGCONT)
        reply, _ = self.connection.wait(hung)
        self.assertEqual(reply.status, pb.STATUS_OK, reply.message)
        self.connection.close_session(reply.open.session)


hostile.add_tests(BadPaths, "path", PATHS, BadPaths.check_path)
hostile.add_tests(BadPaths, "config_with", CONFIGS, BadPaths.check_config)


if __name__ == "__main__":
    unittest.main(verbosity=2)
