# SPDX-License-Identifier: MIT
"""What the failure tests have in common: a daemon that can be looked at from outside, clients on the
bare wire, and images on several kinds of storage.

$BLKD_BIN names the daemon, $BLKD_ENGINE (optional) its engine. Nothing here waits for a fixed time: it
waits for an event, with a deadline that only a hang exceeds. Limits on the daemon's time follow what the
machine can do at that moment (pace.py).
"""

import contextlib
import ctypes
import functools
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "wire"),
                str(pathlib.Path(__file__).resolve().parents[1])]

import keeper  # noqa: E402
import pace  # noqa: E402
import wire  # noqa: E402
from pace import patience, sanitized  # noqa: E402,F401
from wire import pb  # noqa: E402

KIB = 1024
MIB = 1024 * KIB
SECTOR = 512
NOBODY = 65534
PR_SET_DUMPABLE = 4
DEADLINE = 120  # seconds: an event that has not come by then never will
STOP_SECONDS = 60
REPORT = re.compile(r"Sanitizer|runtime error:|Assertion .* failed")


def wait_until(condition, what, seconds=DEADLINE):
    """For what the kernel or the daemon shows but does not announce. Returns the condition's value."""
    watch = pace.Watch()
    while True:
        value = condition()
        if value:
            return value
        if not watch.within(seconds):
            raise AssertionError(f"after {watch} still not: {what}")
        time.sleep(0.01)


def needs_root(test):
    return unittest.skipUnless(os.geteuid() == 0, "needs root")(test)


@functools.cache
def why_no_fuse():
    """Why nothing can be mounted on FUSE here, or None. Being there does not mean being allowed."""
    if os.geteuid() != 0:
        return "needs root and /dev/fuse"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"cannot open /dev/fuse: {error.strerror}"
    return why_no_mount()


@functools.cache
def why_no_mount():
    """The same for any file system."""
    with tempfile.TemporaryDirectory(prefix="blkd-failures-") as path:
        done = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "blkd-failures", path],
                              capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"nothing can be mounted here: {done.stderr.strip()}"


@functools.cache
def why_no_loop():
    """Why there is no loop device here, or None."""
    with tempfile.NamedTemporaryFile(prefix="blkd-failures-") as file:
        file.truncate(MIB)
        done = subprocess.run(["losetup", "--find", "--show", file.name], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            return f"no loop device can be had here: {done.stderr.strip()}"
        subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)
    return None


def needs(*programs):
    """Programs, and what losetup and mount need."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        return unittest.skip(f"needs {', '.join(missing)}")
    reason = (why_no_loop() if "losetup" in programs else None) or \
        (why_no_mount() if "mount" in programs else None)
    return unittest.skipIf(reason, reason)


def needs_fuse(test):
    return unittest.skipIf(why_no_fuse(), why_no_fuse())(test)


def process_stat(pid):
    """The fields of /proc/PID/stat behind the name (proc(5)): the state is the first."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def process_state(pid):
    return process_stat(pid)[0]


def process_exits(pid):
    """Whether it runs no more, though the kernel may still have something to end for it: that is done by
    whichever thread is last, and only if that is not the first one the process looks like a zombie."""
    pf_exiting = 4  # include/linux/sched.h
    state, *_, flags = process_stat(pid)[:7]
    return state == "Z" or int(flags) & pf_exiting != 0


def remove_record(state_directory):
    """What a killed daemon has left in memory for a successor that will never come."""
    try:
        with open(os.path.join(state_directory, "record"), encoding="utf-8") as file:
            os.unlink(file.read().split()[3])
    except FileNotFoundError:
        pass


class Daemon:
    """Runs from its making to stop() or kill(). `prepare` is called in its process before it runs;
    `wrapper` is a program that runs it."""

    def __init__(self, directory, config="", log=None, limits=(), prepare=None, wrapper=()):
        self.directory = directory
        self.socket_path = os.path.join(self.directory, "blkd.sock")
        self.log_path = os.path.join(self.directory, "log")
        config_path = os.path.join(self.directory, "blkd.conf")
        with open(config_path, "w", encoding="utf-8") as file:
            file.write(config)
        command = [*wrapper, os.environ["BLKD_BIN"], "--socket", self.socket_path,
                   "--config", config_path, "--state-dir", os.path.join(self.directory, "state")]
        if os.environ.get("BLKD_ENGINE"):
            command += ["--engine", os.environ["BLKD_ENGINE"]]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify_path = os.path.join(self.directory, "notify")
            notify.bind(notify_path)
            os.chmod(notify_path, 0o666)  # whoever `prepare` makes of it
            with open(self.log_path, "ab") as file:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stderr=log or file,
                    # A daemon that gives up its drain joins nobody.
                    env=dict(os.environ, NOTIFY_SOCKET=notify_path,
                             TSAN_OPTIONS="report_thread_leaks=0"),
                    preexec_fn=lambda: self._prepare(limits, prepare))
            self.pid = self.process.pid
            keeper.keep_process(self.pid)
            self._wait_ready(notify)
            os.unlink(notify_path)

    @staticmethod
    def _prepare(limits, prepare):
        for limit in limits:
            resource.setrlimit(*limit)
        if prepare is not None:
            prepare()

    def _wait_ready(self, notify):
        """sd_notify(3) says when it serves; its end would say that it never will."""
        pidfd = os.pidfd_open(self.pid)
        try:
            while True:
                ready, _, _ = select.select([notify, pidfd], [], [], DEADLINE)
                if notify in ready and b"READY=1" in notify.recv(4096):
                    return
                if pidfd in ready or not ready:
                    raise RuntimeError(f"the daemon did not start ({self.process.poll()}):\n"
                                       f"{self.log()}")
        finally:
            os.close(pidfd)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def log_lines(self, event):
        return [line for line in self.log().splitlines() if f"event={event}" in line.split()]

    def wait_log(self, event, count=1):
        wait_until(lambda: len(self.log_lines(event)) >= count, f"{count} times {event} in the log")
        return self.log_lines(event)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * KIB

    def cpu_ticks(self):
        fields = process_stat(self.pid)
        return int(fields[11]) + int(fields[12])

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=STOP_SECONDS):
        watch = pace.Watch()
        while True:
            try:
                return self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                if watch.within(seconds):
                    continue
                self.kill()
                raise AssertionError(f"the daemon did not end; its log:\n{self.log()}") from None

    def stop(self, expected=0):
        """It ends well on SIGTERM, and no sanitizer has anything to say. Where a device has failed,
        it says so by an exit status of 1."""
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon has ended, {self.process.returncode}:\n{self.log()}")
        self.signal(signal.SIGTERM)
        status = self.wait()
        if status != expected or REPORT.search(self.log()):
            raise AssertionError(f"the daemon's exit status is {status}; its log:\n{self.log()}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Client(wire.Connection):
    """A connection that has said Hello."""

    def __init__(self, daemon, name="failures", greet=True):
        super().__init__(daemon.socket_path)
        self.socket.settimeout(DEADLINE)
        if greet:
            self.hello(name)

    def open_path(self, path, **config):
        return self.open(os.fsencode(path), **config).session

    def discard(self, session, offset, length):
        self.call("discard", pb.Discard(session=session, offset_bytes=offset, length_bytes=length))

    def zero(self, session, offset, length):
        self.call("write_zeroes",
                  pb.WriteZeroes(session=session, offset_bytes=offset, length_bytes=length))

    def resize(self, session, size):
        self.call("resize", pb.Resize(session=session, size_bytes=size))

    def start_read(self, session, offset, length):
        return self.start("read", pb.Read(session=session, offset_bytes=offset,
                                          length_bytes=length))

    def start_write(self, session, offset, data, flags=0):
        return self.start("write", pb.Write(session=session, offset_bytes=offset, flags=flags),
                          data)

    def sessions(self):
        """All pages of the list of sessions."""
        entries, after, more = [], 0, True
        while more:
            reply, _ = self.call("list_sessions", pb.ListSessions(after_session=after))
            entries += reply.sessions.sessions
            more = reply.sessions.more
            after = entries[-1].session if entries else 0
        return entries

    def devices(self):
        reply, _ = self.call("list_devices", pb.ListDevices())
        return list(reply.devices.devices)

    def wait_closed(self):
        """Until the daemon closes the connection; its reason, or None."""
        try:
            while True:
                reply, _ = self.receive()
                if reply.id != 0:
                    self.replies[reply.id] = (reply, b"")
        except wire.Closed as closed:
            return closed.reason

    def wait_event(self, field):
        """The next event of this kind."""
        while True:
            for event in self.events:
                if event.WhichOneof("what") == field:
                    self.events.remove(event)
                    return event
            reply, payload = self.receive()
            if reply.id == 0:
                self.events.append(reply.event)
            else:
                self.replies[reply.id] = (reply, payload)

    def receives_nothing(self, seconds):
        return not select.select([self.socket], [], [], seconds)[0]


class FailureTest(unittest.TestCase):
    """A directory on ext4 (or whatever /tmp is), one on tmpfs, a daemon."""

    config = ""
    exit_status = 0

    def setUp(self):
        pace.look()
        self.directory = self.temporary("/tmp")
        self.memory = self.temporary("/dev/shm")
        self.daemon = self.start_daemon(self.config)

    def temporary(self, root):
        path = tempfile.mkdtemp(prefix="blkd-failures-", dir=root)
        keeper.keep_directory(path)
        self.addCleanup(shutil.rmtree, path)
        return path

    def start_daemon(self, config="", directory=None, **more):
        directory = directory or tempfile.mkdtemp(prefix="daemon-", dir=self.directory)
        daemon = Daemon(directory, config, **more)
        self.addCleanup(remove_record, os.path.join(directory, "state"))
        self.addCleanup(daemon.kill)
        return daemon

    def tearDown(self):
        if self.daemon is not None:
            self.daemon.stop(self.exit_status)

    def client(self, *arguments, **more):
        client = Client(self.daemon, *arguments, **more)
        self.addCleanup(client.close)
        return client

    def image(self, name="disk.img", size=MIB, memory=False):
        path = os.path.join(self.memory if memory else self.directory, name)
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def assert_failed(self, status, function, *arguments, **more):
        with self.assertRaises(wire.Failed) as caught:
            function(*arguments, **more)
        self.assertEqual(caught.exception.status, status, caught.exception.message)
        return caught.exception.message

    def assert_within(self, seconds, what, function, *arguments, **more):
        """The daemon does this in time, whatever else goes on."""
        watch = pace.Watch()
        result = function(*arguments, **more)
        self.assert_took(watch, seconds, what)
        return result

    def assert_took(self, watch, seconds, what):
        """It is not longer than that ago that the watch was started, as far as the machine allows."""
        self.assertTrue(watch.within(seconds), f"{what} took {watch}; the limit is {seconds} s")

    def skipTest(self, reason):
        self.exit_status = 0  # no device has failed
        super().skipTest(reason)

    def wait_descriptors(self, count):
        wait_until(lambda: self.daemon.descriptors() <= count,
                   f"no more than {count} descriptors")

    # ---- storage ----

    def run_tool(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=DEADLINE)
        if done.returncode != 0 and command[0] == "mount" and why_no_mount():
            self.skipTest(why_no_mount())
        self.assertEqual(done.returncode, 0, f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def loop(self, path, *options):
        if why_no_loop():
            self.skipTest(why_no_loop())
        device = self.run_tool("losetup", "--find", "--show", *options, path)
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=False)
        return device

    def disk(self, image=None):
        """A disk of 16 MiB at least and its two partitions, of 4 MiB from 1 MiB and from 5 MiB on. Needs sfdisk
        and losetup."""
        image = image or self.image("partitioned.img", 16 * MIB)
        subprocess.run(["sfdisk", "--quiet", image], input=b"label: dos\n2048,8192\n10240,8192\n",
                       check=True)
        disk = self.loop(image, "--partscan")
        parts = [f"{disk}p1", f"{disk}p2"]
        if not os.path.exists(f"/sys/block/{os.path.basename(disk)}/{os.path.basename(parts[0])}"):
            # A kernel that reads no partition tables itself.
            self.run_tool("addpart", disk, "1", "2048", "8192")
            self.run_tool("addpart", disk, "2", "10240", "8192")
            for number in "12":
                self.addCleanup(subprocess.run, ["delpart", disk, number], check=False)
        for part in parts:
            if not os.path.exists(part):
                self._make_node(disk, part)
        return disk, parts

    def _make_node(self, disk, part):
        """Where no udev makes it."""
        with open(f"/sys/block/{os.path.basename(disk)}/{os.path.basename(part)}/dev",
                  encoding="ascii") as file:
            major, minor = map(int, file.read().split(":"))
        os.mknod(part, 0o600 | stat.S_IFBLK, os.makedev(major, minor))
        self.addCleanup(os.unlink, part)

    def mount_tmpfs(self, size):
        if why_no_mount():
            self.skipTest(why_no_mount())
        path = os.path.join(self.directory, f"small-{size}")
        os.mkdir(path)
        self.run_tool("mount", "-t", "tmpfs", "-o", f"size={size}", "blkd-failures", path)
        # A loop device on it may be on its way out still.
        self.addCleanup(subprocess.run, ["umount", "--lazy", path], check=False)
        return path

    def start_process(self, *command, **more):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **more)
        keeper.keep_process(process.pid)
        self.addCleanup(self._end_process, process)
        return process

    @staticmethod
    def _end_process(process):
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


class NbdImage:
    """An image file on FUSE: nbdkit serves it, nbdfuse mounts it. Both can be stopped and go on."""

    def __init__(self, test, name, *nbdkit_arguments, server=None):
        """With another image as `server`, it is the same bytes under another mount."""
        mount = os.path.join(test.memory, name)
        os.mkdir(mount)
        self.path = os.path.join(mount, "disk.img")
        if server is None:
            self.socket_path = os.path.join(test.memory, f"{name}.sock")
            self.nbdkit = test.start_process("nbdkit", "--foreground", "--exit-with-parent",
                                             "--unix", self.socket_path, *nbdkit_arguments,
                                             stderr=subprocess.DEVNULL)
        else:
            self.socket_path, self.nbdkit = server.socket_path, server.nbdkit
        wait_until(lambda: os.path.exists(self.socket_path) or self.nbdkit.poll() is not None,
                   "nbdkit listens")
        self.nbdfuse = test.start_process(
            "nbdfuse", self.path, f"nbd+unix:///?socket={self.socket_path}",
            stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.ismount(mount) or self.nbdfuse.poll() is not None,
                   "nbdfuse mounts")
        test.addCleanup(self._unmount, mount)
        test.assertIsNone(self.nbdfuse.poll(), "nbdfuse does not mount")

    def _unmount(self, mount):
        self.resume()
        subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.nbdfuse.wait(10)

    def pause(self, server_only=False):
        """Nothing on it is answered any more."""
        for process in [self.nbdkit] + ([] if server_only else [self.nbdfuse]):
            os.kill(process.pid, signal.SIGSTOP)  # send_signal would reap; this may be a child
            wait_until(lambda: process_state(process.pid) == "T", "the server has stopped")

    def resume(self):
        for process in [self.nbdfuse, self.nbdkit]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)


def fork_client(function):
    """Runs `function(report)` in a child, where report(b"x") writes to a pipe. Returns its pid and the
    pipe's read end. The child does not return."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        try:
            function(lambda data: os.write(write_end, data))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write_end)
    keeper.keep_process(pid)
    return pid, read_end


def kill_client(pid, read_end):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read_end)


class AsNobody:
    """Runs functions in a child without privileges; each one's result or failure comes back as text."""

    def __init__(self, test):
        os.chmod(test.daemon.socket_path, 0o666)
        for path in (test.directory, test.memory, test.daemon.directory):
            os.chmod(path, 0o755)

    @staticmethod
    def run(function):
        def child(report):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # or its /proc files are root's
            try:
                report(f"done {function()}".encode())
            except wire.Failed as failure:
                report(str(failure).encode())
            signal.pause()
        pid, read_end = fork_client(child)
        try:
            return os.read(read_end, 65536).decode()
        finally:
            kill_client(pid, read_end)


def raise_descriptor_limit(count):
    """Skips the test where the limit cannot be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
        except (ValueError, OSError) as error:
            raise unittest.SkipTest(f"needs {count} descriptors: {error}") from None
