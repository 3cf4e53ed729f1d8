# SPDX-License-Identifier: MIT
"""What the tests of blkd-cli have in common: a daemon, images, running the program.

$BLKD_BIN and $BLKD_CLI name the executables, $BLKD_ENGINE (optional) the daemon's engine.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import unittest

from daemon import Daemon

KIB = 1024
MIB = 1024 * KIB
PIECE = MIB  # blkd-cli transfers in pieces of this size
PIPE_BYTES = 64 * KIB
SECONDS = 60

OK, FAILED, USAGE, UNREACHABLE, BUSY = range(5)


def pattern(length, seed=1):
    return random.Random(seed).randbytes(length)


def file_bytes(path):
    with open(path, "rb") as file:
        return file.read()


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.text = process.stdout.decode("utf-8", "surrogateescape")
        self.err = process.stderr.decode("utf-8")  # whatever names are in it


class CliTest(unittest.TestCase):
    """A daemon for each class, a directory of images for each test."""

    root = "/tmp"

    @classmethod
    def setUpClass(cls):
        cls.daemon_directory = tempfile.mkdtemp(prefix="blkd-cli-")
        cls.addClassCleanup(shutil.rmtree, cls.daemon_directory)
        cls.daemon = Daemon(cls.daemon_directory)
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.stop)

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="blkd-cli-", dir=self.root)
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def image(self, data=None, size=MIB, name="disk.img"):
        path = self.path(name)
        with open(path, "wb") as file:
            if data is None:
                file.truncate(size)
            else:
                file.write(data)
        return path

    def environment(self):
        return dict(os.environ, BLKD_SOCKET=self.daemon.socket_path, LC_ALL="C.UTF-8")

    def cli(self, *arguments, code=OK, input=b"", **options):
        """Runs blkd-cli, expects the exit code and what goes with it on stderr."""
        options.setdefault("env", self.environment())
        if "stdin" not in options:
            options["input"] = input
        options.setdefault("stdout", subprocess.PIPE)
        process = subprocess.run([os.environ["BLKD_CLI"], *arguments], stderr=subprocess.PIPE,
                                 timeout=SECONDS, check=False, **options)
        process.stdout = process.stdout or b""
        result = Result(process)
        self.assertEqual(result.code, code, f"{arguments}: {result.err}")
        if code != OK:
            self.assertTrue(result.err.startswith("blkd-cli: "), result.err)
            self.assertEqual(result.err.count("\n"), 1, f"one line says it all: {result.err}")
        return result

    def json(self, *arguments, name, **options):
        document = json.loads(self.cli(*arguments, "--json", **options).out)
        self.assertEqual(list(document), [name])
        return document[name]

    def record(self, *arguments, name, **options):
        rows = self.json(*arguments, name=name, **options)
        self.assertEqual(len(rows), 1)
        return rows[0]

    def assertSays(self, result, *parts):
        for part in parts:
            self.assertIn(part, result.err)

    @contextlib.contextmanager
    def holder(self, path, *options):
        """A session that stays: a `write` that waits for the rest of its input. More than a pipe
        holds can only be written once it reads, and it reads when it has opened the device."""
        process = subprocess.Popen([os.environ["BLKD_CLI"], "write", path, *options],
                                   stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=self.environment())
        try:
            process.stdin.write(bytes(PIPE_BYTES + 4 * KIB))
            process.stdin.flush()
            yield process
        finally:
            # Its input is no whole piece: nothing has been written, and now nothing will be.
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stderr.close()


def on_tmpfs(*tests):
    """The same tests with the images on tmpfs; None for each where there is no tmpfs."""
    if not os.access("/dev/shm", os.W_OK):
        return [None] * len(tests)
    return [type(f"{test.__name__}OnTmpfs", (test,), {"root": "/dev/shm"}) for test in tests]
