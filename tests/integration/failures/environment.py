#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the daemon finds when it starts, and what the system does to it while it runs."""

import fcntl
import os
import resource
import signal
import termios
import unittest

import support

FEW_THREADS_UID = 1 << 20 | os.getpid()  # nobody else's: the limit counts all of a user's processes


class StandardDescriptors(support.FailureTest):
    def setUp(self):
        self.directory = self.temporary("/tmp")
        self.daemon = None

    def test_what_is_closed_at_start_takes_no_line_of_the_log(self):
        for closed in ((0, 1, 2), (0, 2), (2,)):
            daemon = self.start_daemon(
                prepare=lambda closed=closed: [os.close(descriptor) for descriptor in closed])
            for descriptor in closed:
                self.assertEqual(os.readlink(f"/proc/{daemon.pid}/fd/{descriptor}"), "/dev/null")
            self.expect_no_log_in(os.path.join(daemon.directory, "state"))
            daemon.stop()

    def expect_no_log_in(self, directory):
        for entry in os.scandir(directory):
            if entry.is_file():
                with open(entry.path, "rb") as file:
                    self.assertNotIn(b"level=", file.read(), entry.name)


class Signals(support.FailureTest):
    config = "[daemon]\nworkers = 1\n"

    def test_signal_without_a_meaning_is_ignored(self):
        client = self.client()
        numbers = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
                   signal.SIGPIPE, signal.SIGXFSZ, signal.SIGIO, signal.SIGPWR, signal.SIGRTMIN,
                   signal.SIGRTMAX}
        for number in sorted(numbers):
            self.daemon.signal(number)
            client.ping()
        self.assertIsNone(self.daemon.process.poll())

    def test_hangup_without_a_terminal_is_logged_and_survived(self):
        daemon = self.start_daemon(prepare=os.setsid)
        daemon.signal(signal.SIGHUP)
        self.assertIn("level=warning", daemon.wait_log("reload-refused")[0])
        daemon.stop()

    def test_hangup_of_the_terminal_stops_as_sigterm_does(self):
        master, slave = os.openpty()
        try:
            daemon = self.start_daemon(prepare=lambda: take_terminal(slave))
        finally:
            os.close(slave)
        client = support.Client(daemon)
        path = self.image()
        session = client.open_path(path)
        client.write(session, 0, b"x" * support.SECTOR)
        os.close(master)
        self.assertEqual(daemon.wait(), 0)
        self.assertTrue(daemon.log_lines("stopped"))
        client.close()

    def test_nohup_is_respected(self):
        daemon = self.start_daemon(
            prepare=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        daemon.signal(signal.SIGHUP)
        support.Client(daemon).close()
        self.assertFalse(daemon.log_lines("reload-refused"))
        daemon.stop()

    def test_write_beyond_the_limit_on_file_sizes_fails_with_efbig(self):
        limit = (resource.RLIMIT_FSIZE, (8 * support.MIB, 8 * support.MIB))
        daemon = self.start_daemon(limits=[limit])
        client = support.Client(daemon)
        for memory in (False, True):
            session = client.open_path(self.image(size=16 * support.MIB, memory=memory))
            self.assert_failed("EFBIG", client.write, session, 12 * support.MIB, b"x" * 4096)
            client.write(session, 0, b"x" * 4096)
        client.close()
        daemon.stop()


@support.needs_root
class NoThreads(support.FailureTest):
    """A user who may have few threads: TasksMax= and pids.max do the same."""

    def setUp(self):
        self.directory = self.temporary("/tmp")
        self.daemon = None
        os.chmod(self.directory, 0o755)
        self.path = self.image()
        os.chmod(self.path, 0o666)

    def start_with(self, count):
        """None: it says that it cannot start."""
        directory = os.path.join(self.directory, f"daemon-{count}")
        os.mkdir(directory)
        os.chown(directory, FEW_THREADS_UID, FEW_THREADS_UID)
        try:
            return self.start_daemon("[daemon]\nworkers = 1\n", directory,
                                     prepare=lambda: become_user_with(count))
        except RuntimeError as error:
            self.assertRegex(str(error), "level=error event=start-failed .*thread")
            return None

    def use(self, daemon):
        client = support.Client(daemon)
        session = client.open_path(self.path, lock=True)
        writes = [client.start_write(session, number * 4096, b"x" * 4096)
                  for number in range(64)]
        for request in writes:
            client.finish(request)
        client.flush(session)
        self.assertEqual(client.read(session, 0, 4096), b"x" * 4096)
        client.close_session(session)
        client.close()

    def test_daemon_works_with_the_threads_that_it_has_or_does_not_start(self):
        started = 0
        for count in range(2, 9):
            daemon = self.start_with(count)
            if daemon is not None:
                started += 1
                self.use(daemon)
                daemon.stop()
        self.assertGreater(started, 0)

    def test_shortage_is_logged_once(self):
        count = 2
        while (daemon := self.start_with(count)) is None:
            count += 1
        client = support.Client(daemon)
        for _ in range(3):
            asked = [client.start("open", support.pb.Open(
                config=support.pb.Config(path=os.fsencode(self.path)))) for _ in range(32)]
            for request in asked:
                client.finish(request)
        client.close()
        lines = daemon.log_lines("threads-unavailable")
        self.assertEqual({line.split()[0] for line in lines}, {"level=warning"})
        self.assertLessEqual(len(lines), 6)  # two pools, each three times
        daemon.stop()


def become_user_with(threads):
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
    os.setgroups([])
    os.setresgid(FEW_THREADS_UID, FEW_THREADS_UID, FEW_THREADS_UID)
    os.setresuid(FEW_THREADS_UID, FEW_THREADS_UID, FEW_THREADS_UID)


def take_terminal(slave):
    """It becomes the controlling terminal of the process, in a session of its own."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


if __name__ == "__main__":
    unittest.main()
