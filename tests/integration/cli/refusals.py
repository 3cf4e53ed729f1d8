#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: wrong command lines, locked devices, an unreachable daemon."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest

from daemon import Daemon
from support import (BUSY, FAILED, MIB, PIECE, SECONDS, UNREACHABLE, USAGE, CliTest, file_bytes,
                     pattern)

COMMANDS = ["info", "read", "write", "flush", "resize", "discard", "zero", "map", "config", "ls",
            "sessions", "ping"]


class Locks(CliTest):
    def test_a_locked_device_is_busy(self):
        path = self.image()
        with self.holder(path, "--lock"):
            for arguments, advice in [(["write", path], "nothing was written"),
                                      (["info", path, "--lock"], "see 'blkd-cli why DEVICE'"),
                                      (["zero", path, "--all"], "see 'blkd-cli why DEVICE'")]:
                with self.subTest(arguments=arguments):
                    result = self.cli(*arguments, input=bytes(512), code=BUSY)
                    self.assertSays(result, path, advice)
        self.assertEqual(file_bytes(path), bytes(MIB))

    def test_a_flock_outside_is_busy(self):
        path = self.image()
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertSays(self.cli("write", path, "--lock", input=bytes(512), code=BUSY), path)


class Reasons(CliTest):
    """What --json says about a failure."""

    def error(self, *arguments, code=BUSY, **more):
        (error,) = json.loads(self.cli("--json", *arguments, code=code, **more).out)["error"]
        return error["errno"], error["reason"]

    def test_locked_by_a_session(self):
        path = self.image()
        with self.holder(path, "--lock"):
            self.assertEqual(self.error("write", path, input=bytes(512)),
                             ("EBUSY", "locked-session"))
            self.assertEqual(self.error("info", path, "--lock"), ("EBUSY", "locked-session"))

    def test_locked_outside(self):
        path = self.image()
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertEqual(self.error("write", path, "--lock", input=bytes(512)),
                             ("EBUSY", "locked-outside"))

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_mounted_and_its_disk(self):
        image = self.image(size=4 * MIB)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True,
                              text=True, check=False)
        if made.returncode != 0:
            self.skipTest(made.stderr.strip())
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True)
        point = self.path("point")
        os.mkdir(point)
        if subprocess.run(["mount", device, point], check=False).returncode != 0:
            self.skipTest("nothing can be mounted here")
        try:
            self.assertEqual(self.error("write", device, input=bytes(512)), ("EBUSY", "mounted"))
            self.assertEqual(self.error("write", image, input=bytes(512)), ("EBUSY", "related"))
        finally:
            subprocess.run(["umount", point], check=True)

    def test_none(self):
        self.assertEqual(self.error("info", self.path("missing"), code=FAILED), ("ENOENT", None))


class Usage(CliTest):
    def test_wrong_command_lines(self):
        for arguments in [[], ["frobnicate"], ["--nonsense"], ["info"], ["info", "a", "b"],
                          ["resize", "a"], ["ls", "x"], ["lock", "take", "a", "--json", "--", "true"],
                          ["--json", "read", "a"], ["ping", "--sector", "1"], ["help", "nothing"],
                          ["read", "a", "--sync", "often"], ["read", "a", "--sector-size", "1M"],
                          ["read", "a", "--output"]]:
            with self.subTest(arguments=arguments):
                result = self.cli(*arguments, code=USAGE)
                self.assertEqual(result.out, b"")
                self.assertSays(result, "(see 'blkd-cli ", "--help')")

    def test_help(self):
        text = self.cli("--help").text
        self.assertIn("Exit codes:", text)
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")
            own = self.cli(command, "--help").text
            self.assertEqual(own, self.cli("help", command).text)
            self.assertRegex(own, rf"(?s)\AUsage: blkd-cli {command}.*\nExamples:\n  blkd-cli ")

    def test_version(self):
        self.assertRegex(self.cli("--version").text, r"\Ablkd-cli [0-9.]+\n\Z")

    def test_global_options_before_and_after_the_command(self):
        environment = dict(os.environ)
        environment.pop("BLKD_SOCKET", None)
        place = self.daemon.socket_path
        for arguments in [["--socket", place, "--json", "ls"], ["ls", "-j", "--socket", place]]:
            document = json.loads(self.cli(*arguments, env=environment).out)
            self.assertEqual(document, {"devices": []})


class FullOutput(CliTest):
    """Output that cannot be written is a failure, whatever was asked for."""

    def test_help_and_version_of_blkd(self):
        for option in ["--help", "--version"]:
            with self.subTest(option=option), open("/dev/full", "wb") as full:
                process = subprocess.run([os.environ["BLKD_BIN"], option], stdout=full,
                                         stderr=subprocess.PIPE, timeout=SECONDS, check=False)
                self.assertEqual(process.returncode, FAILED)
                self.assertEqual(process.stderr,
                                 b"blkd: cannot write to stdout: No space left on device\n")

    def test_check_of_blkds_configuration(self):
        with open("/dev/full", "wb") as full:
            process = subprocess.run(
                [os.environ["BLKD_BIN"], "--check-config", "--socket", self.path("s"),
                 "--state-dir", self.directory], stdout=full, stderr=subprocess.PIPE,
                timeout=SECONDS, check=False)
        self.assertEqual(process.returncode, FAILED)

    def test_every_command_that_prints(self):
        path = self.image()
        commands = [["--help"], ["--version"], ["help"], ["help", "lock"], ["sync", "--help"],
                    ["config", "--parse", "file:///x"], ["config", path], ["info", path],
                    ["map", path], ["map", "--total", path], ["ls", "--json"],
                    ["sessions", "--json"], ["lock", "ls", "--json"], ["why", path],
                    ["why", "--json", path], ["sync", "status", "--json"], ["ping"],
                    ["read", path]]
        commands += [[*command.split(), "--help"] for command in COMMANDS]
        for arguments in commands:
            with self.subTest(arguments=arguments), open("/dev/full", "wb") as full:
                result = self.cli(*arguments, stdout=full, code=FAILED)
                self.assertSays(result, "stdout: No space left on device")

    def test_closed_output(self):
        """Nothing that is opened later may take its place."""
        path = self.image(pattern(MIB))
        for arguments in [["--help"], ["read", path, "--count", "1"], ["ls", "--json"]]:
            with self.subTest(arguments=arguments):
                process = subprocess.run(
                    ["sh", "-c", 'exec "$@" >&-', "sh", os.environ["BLKD_CLI"], *arguments],
                    env=self.environment(), stderr=subprocess.PIPE, timeout=SECONDS, check=False)
                self.assertEqual(process.returncode, FAILED, process.stderr)
                self.assertIn(b"stdout: Bad file descriptor", process.stderr)


class Unreachable(CliTest):
    def test_no_daemon(self):
        path = self.image()
        place = self.path("nobody.sock")
        for command in COMMANDS:
            operands = {"ls": [], "sessions": [], "ping": [], "resize": [path, "4M"],
                        "discard": [path, "--all"], "zero": [path, "--all"]}.get(command, [path])
            with self.subTest(command=command):
                result = self.cli(command, *operands, "--socket", place, code=UNREACHABLE)
                self.assertSays(result, f"blkd-cli: {command}: ", place, "start it")

    def test_a_socket_that_one_may_not_connect_to(self):
        if os.getuid() != 0:
            self.skipTest("root is needed to become somebody else")
        with tempfile.TemporaryDirectory(prefix="blkd-cli-") as directory:
            cli = shutil.copy(os.environ["BLKD_CLI"], directory)  # builds may be out of reach
            os.chmod(directory, stat.S_IRWXU | stat.S_IXOTH)
            libraries = os.path.join(os.path.dirname(os.environ["BLKD_CLI"]), "..", "lib")
            for name in os.listdir(libraries):
                if name.startswith("libblkd.so"):
                    shutil.copy(os.path.join(libraries, name), directory)
            process = subprocess.run(
                [cli, "ping"], env=dict(self.environment(), LD_LIBRARY_PATH=directory),
                user=65534, group=65534, extra_groups=[], capture_output=True, timeout=SECONDS,
                check=False)
        self.assertEqual(process.returncode, UNREACHABLE, process.stderr)
        self.assertIn(b"Permission denied", process.stderr)

    def test_daemon_that_dies_meanwhile(self):
        with tempfile.TemporaryDirectory(prefix="blkd-cli-") as directory:
            daemon = Daemon(directory)
            daemon.start()
            try:
                path = self.image(size=8 * MIB)
                with self.holder(path, "--socket", daemon.socket_path) as process:
                    daemon.stop(signal.SIGKILL)
                    _, err = process.communicate(bytes(2 * PIECE), timeout=SECONDS)
                    self.assertEqual(process.returncode, UNREACHABLE, err)
                    self.assertIn(b"blkd-cli: write: ", err)
                    self.assertIn(b"nothing was written", err)
            finally:
                daemon.stop()


class WaitingForALock(CliTest):
    """What ends the wait of `lock wait` and `lock take --wait`, other than the lock."""

    WAITS = [["lock", "wait", "{path}"], ["lock", "take", "--wait", "{path}", "--", "echo", "ran"],
             ["lock", "take", "--wait=50", "{path}", "--", "echo", "ran"]]

    def start_daemon(self):
        daemon = Daemon(self.directory)
        daemon.start()
        self.addCleanup(daemon.stop)
        return daemon

    @contextlib.contextmanager
    def waiter(self, daemon, path, arguments):
        """A call that waits behind a lock, and the number of its session."""
        environment = dict(self.environment(), BLKD_SOCKET=daemon.socket_path)
        command = [os.environ["BLKD_CLI"], *(word.format(path=path) for word in arguments)]
        with self.holder(path, "--lock", "--socket", daemon.socket_path), \
             subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            yield process, self.await_waiting_session(daemon)

    def await_waiting_session(self, daemon):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for lock in self.json("lock", "ls", "--socket", daemon.socket_path, name="locks"):
                if lock["state"] == "waits":
                    return lock["session"]
        self.fail("nobody waits for the lock")

    def test_the_daemon_stops_or_dies(self):
        path = self.image(size=8 * MIB)
        for arguments in self.WAITS:
            for number in [signal.SIGTERM, signal.SIGKILL]:
                with self.subTest(arguments=arguments, number=number):
                    daemon = self.start_daemon()
                    with self.waiter(daemon, path, arguments) as (process, _):
                        daemon.stop(number)
                        out, err = process.communicate(timeout=SECONDS)
                    self.assertEqual(process.returncode, UNREACHABLE, err)
                    self.assertEqual(out, b"")
                    self.assertEqual(err.count(b"\n"), 1, err)
                    self.assertIn(b"blkd-cli: lock ", err)
                    self.assertNotIn(b"Canceled", err)
                    if number == signal.SIGTERM:
                        self.assertIn(path.encode() + b": the lock was not granted because the "
                                      b"daemon is stopping", err)

    def test_the_session_is_evicted(self):
        path = self.image(size=8 * MIB)
        daemon = self.start_daemon()
        for arguments in self.WAITS[:2]:
            with self.subTest(arguments=arguments), \
                 self.waiter(daemon, path, arguments) as (process, session):
                self.cli("session", "evict", str(session), "--socket", daemon.socket_path)
                out, err = process.communicate(timeout=SECONDS)
                self.assertEqual(process.returncode, FAILED, err)
                self.assertEqual(out, b"")
                self.assertIn(b"the lock was not granted because an administrator evicted", err)


if __name__ == "__main__":
    unittest.main()
