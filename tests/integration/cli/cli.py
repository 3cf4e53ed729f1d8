#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: every command, plain and --json, its errors and exit codes.

$BLKD_BIN and $BLKD_CLI name the executables, $BLKD_ENGINE (optional) the daemon's engine. Tests on
loop devices need root and skip without it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import re
import shutil
import signal
import stat
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
COMMANDS = ["info", "read", "write", "flush", "resize", "discard", "zero", "map", "config", "ls",
            "sessions", "ping"]


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


class Info(CliTest):
    def test_record_says_what_is_effective_and_what_was_asked(self):
        path = self.image()
        info = self.record("info", path, name="info")
        self.assertEqual(info["path"], path)
        self.assertEqual((info["kind"], info["size_bytes"], info["size_sectors"]),
                         ("file", MIB, MIB // 512))
        self.assertEqual((info["sector_size"], info["mode"], info["asked_mode"]),
                         (512, "rw", "auto"))
        self.assertEqual((info["caching"], info["asked_caching"]), ("buffered", "buffered"))
        self.assertEqual((info["sync"], info["lock"], info["asked_lock"]), ("os", "none", "none"))
        self.assertIs(info["failed"], False)
        self.assertIs(info["elision_own_writes_only"], True)

    def test_plain_is_readable_at_a_glance(self):
        text = self.cli("info", self.image(size=3 * MIB // 2)).text
        self.assertRegex(text, r"(?m)^size +1\.5 MiB \(3072 sectors, 1572864 bytes\)$")
        self.assertRegex(text, r"(?m)^mode +rw \(requested: auto\)$")
        self.assertRegex(text, r"(?m)^caching +buffered$")
        self.assertRegex(text, r"(?m)^state +ok$")

    def test_options_override_the_configuration_string(self):
        path = self.image()
        info = self.record("info", f"file://{path}?sync=none&lock=1&prefered_sector_size=4096",
                           name="info")
        self.assertEqual((info["sync"], info["lock"], info["sector_size"]),
                         ("none", "exclusive", 4096))
        info = self.record("info", f"file://{path}?sync=none", "--sync", "drive", "--lock",
                           "--read-only", "--sector-size", "1K", name="info")
        self.assertEqual((info["sync"], info["lock"], info["sector_size"], info["mode"]),
                         ("drive", "shared", 1024, "ro"))

    def test_direct(self):
        info = self.record("info", self.image(), "--direct", name="info")
        self.assertEqual((info["caching"], info["asked_caching"]), ("direct", "direct"))

    def test_caching_that_another_has_set_is_a_warning(self):
        path = self.image()
        with self.holder(path):
            result = self.cli("info", path, "--direct")
            info = self.record("info", path, "--direct", name="info")
        self.assertIn("buffered (requested: direct)", result.text)
        self.assertSays(result, "blkd-cli: info: warning: ", "buffered, not direct as requested")
        self.assertEqual((info["caching"], info["asked_caching"]), ("buffered", "direct"))

    def test_missing_path(self):
        result = self.cli("info", self.path("missing"), code=FAILED)
        self.assertSays(result, "blkd-cli: info: ", self.path("missing"),
                        "No such file or directory")
        self.assertEqual(result.out, b"")

    def test_directory_is_no_device(self):
        self.cli("info", self.directory, code=FAILED)

    def test_size_that_is_no_whole_number_of_sectors_is_refused(self):
        result = self.cli("info", self.image(data=bytes(1000)), code=FAILED)
        self.assertSays(result, "1000")

    def test_names_with_control_characters_do_not_reach_the_terminal(self):
        path = os.fsencode(self.directory) + b"/\x1b[2J\nx\xff.img"
        with open(path, "wb") as file:
            file.truncate(MIB)
        text = self.cli("info", path).text
        self.assertIn("/\\x1b[2J\\x0ax\\xff.img", text)
        rows = json.loads(self.cli("info", "--json", path).out)["info"]
        self.assertEqual(rows[0]["path"], self.directory + "/\x1b[2J\nx\\xff.img")
        result = self.cli("info", path + b".missing", code=FAILED)
        self.assertNotIn("\x1b", result.err)


class Read(CliTest):
    def test_whole_device_in_pieces(self):
        data = pattern(9 * PIECE + 3 * 512)
        result = self.cli("read", self.image(data))
        self.assertEqual(hashlib.sha256(result.out).digest(), hashlib.sha256(data).digest())

    def test_more_than_is_in_flight_at_once(self):
        data = pattern(33 * PIECE)
        self.assertEqual(self.cli("read", self.image(data), "--direct").out, data)

    def test_sector_and_count(self):
        data = pattern(MIB)
        result = self.cli("read", self.image(data), "--sector", "3", "--count", "2")
        self.assertEqual(result.out, data[3 * 512:5 * 512])

    def test_any_range_of_bytes(self):
        data = pattern(3 * PIECE)
        path = self.image(data)
        for offset, length in [(446, 66), (0, 1), (511, 2), (512, 512), (PIECE - 1, PIECE + 2),
                               (3 * PIECE - 1, 1), (700, 0), (0, 3 * PIECE)]:
            with self.subTest(offset=offset, length=length):
                result = self.cli("read", path, "--offset", str(offset), "--length", str(length))
                self.assertEqual(result.out, data[offset:offset + length])

    def test_units(self):
        data = pattern(MIB)
        result = self.cli("read", self.image(data), "--offset=0x1000", "--length=1KB")
        self.assertEqual(result.out, data[4096:5096])

    def test_last_sector(self):
        data = pattern(MIB)
        result = self.cli("read", self.image(data), "--sector", str(MIB // 512 - 1))
        self.assertEqual(result.out, data[-512:])

    def test_past_the_end_reads_nothing_and_leaves_the_output_alone(self):
        path = self.image()
        output = self.image(b"precious", name="output")
        for arguments in [["--sector", "2048", "--count", "1"], ["--offset", "2M"],
                          ["--sector", "2047", "--count", "2"], ["--offset", str(MIB + 1)]]:
            with self.subTest(arguments=arguments):
                result = self.cli("read", path, *arguments, "--output", output, code=FAILED)
                self.assertSays(result, "past the device's end at 1048576", path)
                self.assertEqual(file_bytes(output), b"precious")

    def test_the_end_itself_is_an_empty_range(self):
        self.assertEqual(self.cli("read", self.image(), "--offset", "1M").out, b"")

    def test_output_file(self):
        data = pattern(MIB)
        output = self.path("output")
        self.assertEqual(self.cli("read", self.image(data), "-o", output).out, b"")
        self.assertEqual(file_bytes(output), data)

    def test_hex_dump(self):
        data = bytearray(4096)
        data[510:512] = b"\x55\xaa"
        result = self.cli("read", self.image(bytes(data)), "--hex", "--count", "1")
        self.assertEqual(result.text.splitlines(), [
            "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
            "*",
            "000001f0  00 00 00 00 00 00 00 00  00 00 00 00 00 00 55 aa  |..............U.|",
            "00000200"])
        result = self.cli("read", self.image(bytes(data)), "--hex", "--offset", "510",
                          "--length", "3")
        self.assertEqual(result.text.splitlines(), [
            "000001fe  55 aa 00                                          |U..|",
            "00000201"])

    def run_on_terminal(self, *arguments):
        controller, terminal = pty.openpty()
        with contextlib.closing(os.fdopen(controller, "rb", buffering=0)) as shown:
            self.cli(*arguments, stdout=terminal)
            os.close(terminal)
            text = b""
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
                while part := shown.read(4096):
                    text += part
        return text

    def test_a_terminal_gets_a_dump_unless_raw_is_asked_for(self):
        path = self.image(b"hello world, bye" * 32)
        self.assertIn(b"|hello world, bye|", self.run_on_terminal("read", path))
        self.assertEqual(self.run_on_terminal("read", path, "--raw"), b"hello world, bye" * 32)

    def test_a_reader_that_has_enough_ends_it_quietly(self):
        for ignored in [False, True]:
            with self.subTest(ignored=ignored):
                reading, writing = os.pipe()
                os.close(reading)
                process = subprocess.run(
                    [os.environ["BLKD_CLI"], "read", self.image(size=4 * MIB)], stdout=writing,
                    stderr=subprocess.PIPE, env=self.environment(), timeout=SECONDS, check=False,
                    restore_signals=not ignored)
                os.close(writing)
                self.assertEqual(process.returncode, -signal.SIGPIPE)
                self.assertEqual(process.stderr, b"")

    def test_full_output_is_a_failure(self):
        path = self.image()
        for arguments in [["read", path], ["read", path, "--count", "1"], ["info", path], ["ping"],
                          ["read", path, "--hex"], ["ls", "--json"]]:
            with self.subTest(arguments=arguments), open("/dev/full", "wb") as full:
                result = self.cli(*arguments, stdout=full, code=FAILED)
                self.assertSays(result, "stdout: No space left on device")

    def test_contradicting_options(self):
        path = self.image()
        for arguments in [["--sector", "1", "--offset", "512"], ["--count", "1", "--length", "1"],
                          ["--hex", "--raw"], ["--json"], ["--count", "x"], ["--shrink"],
                          ["--offset", "15E", "--length", "2E"]]:
            with self.subTest(arguments=arguments):
                self.cli("read", path, *arguments, code=USAGE)


class Write(CliTest):
    def test_stdin_in_pieces(self):
        data = pattern(11 * PIECE + 512)
        path = self.image(size=16 * MIB)
        self.cli("write", path, "--offset", "1M", input=data)
        self.assertEqual(file_bytes(path), bytes(MIB) + data + bytes(16 * MIB - MIB - len(data)))

    def test_file_with_fua_and_flush(self):
        data = pattern(3 * MIB)
        path = self.image(size=3 * MIB)
        self.cli("write", path, "--input", self.image(data, name="input"), "--fua", "--flush")
        self.assertEqual(file_bytes(path), data)

    def test_direct_with_input_that_comes_in_drops(self):
        data = pattern(2 * MIB)
        path = self.image(size=2 * MIB)
        reading, writing = os.pipe()
        with subprocess.Popen([os.environ["BLKD_CLI"], "write", "--direct", path], stdin=reading,
                              env=self.environment()) as process:
            os.close(reading)
            with os.fdopen(writing, "wb", buffering=0) as pipe:
                for at in range(0, len(data), 5000):
                    pipe.write(data[at:at + 5000])
            self.assertEqual(process.wait(SECONDS), OK)
        self.assertEqual(file_bytes(path), data)

    def test_sector_and_count_take_that_much_of_the_input(self):
        data = pattern(MIB)
        path = self.image()
        self.cli("write", path, "--sector", "2", "--count", "3", input=data)
        self.assertEqual(file_bytes(path)[:3072], bytes(1024) + data[:1536] + bytes(512))
        self.cli("write", path, "--length", "1K", "--input", self.image(data, name="input"))
        self.assertEqual(file_bytes(path)[:1024], data[:1024])

    def test_input_shorter_than_asked_for_is_a_failure(self):
        path = self.image()
        result = self.cli("write", path, "--count", "4", input=bytes(1024), code=FAILED)
        self.assertSays(result, "ended after 1024 of 2048 requested bytes")
        result = self.cli("write", path, "--count", "4", "--input",
                          self.image(b"x" * 1024, name="input"), code=FAILED)
        self.assertSays(result, "nothing was written")
        self.assertEqual(file_bytes(path), bytes(MIB))

    def test_a_fraction_of_a_sector_is_refused_and_nothing_written(self):
        path = self.image()
        data = pattern(1000)
        piped = self.cli("write", path, input=data, code=FAILED)
        from_file = self.cli("write", path, "--input", self.image(data, name="in"), code=FAILED)
        for result in [piped, from_file]:
            self.assertSays(result, "1000 is not a multiple of the sector size (512 bytes)",
                            "nothing was written", "--pad")
        self.assertEqual(file_bytes(path), bytes(MIB))

    def test_a_fraction_after_whole_pieces_says_what_was_written(self):
        path = self.image(size=4 * MIB)
        data = pattern(2 * PIECE + 100)
        result = self.cli("write", path, input=data, code=FAILED)
        self.assertSays(result, f"{2 * PIECE} bytes were written")
        self.assertEqual(file_bytes(path), data[:2 * PIECE] + bytes(2 * MIB))

    def test_pad_fills_the_last_sector_with_zeroes(self):
        path = self.image(b"\xff" * MIB)
        self.cli("write", path, "--sector", "1", "--pad", input=b"hello")
        self.assertEqual(file_bytes(path)[:1536],
                         b"\xff" * 512 + b"hello" + bytes(507) + b"\xff" * 512)

    def test_file_that_does_not_fit_is_refused_before_the_first_byte(self):
        path = self.image()
        result = self.cli("write", path, "--sector", "1", "--input",
                          self.image(pattern(MIB), name="in"), code=FAILED)
        self.assertSays(result, "do not fit at offset 512", "ends at 1048576", "nothing was written")
        self.assertEqual(file_bytes(path), bytes(MIB))

    def test_pipe_that_does_not_fit_says_what_was_written(self):
        path = self.image(size=2 * PIECE + 512)
        data = pattern(3 * PIECE)
        result = self.cli("write", path, input=data, code=FAILED)
        self.assertSays(result, path, "No space left on device",
                        f"{2 * PIECE} bytes were written")
        self.assertEqual(file_bytes(path), data[:2 * PIECE] + bytes(512))

    def test_empty_input_writes_nothing(self):
        path = self.image(b"\xff" * 4096)
        self.cli("write", path)
        self.assertEqual(file_bytes(path), b"\xff" * 4096)

    def test_offset_within_a_sector_is_refused(self):
        self.assertSays(self.cli("write", self.image(), "--offset", "100", input=bytes(512),
                                 code=USAGE), "offset 100", "512 bytes")

    def test_missing_input(self):
        result = self.cli("write", self.image(), "--input", self.path("none"), code=FAILED)
        self.assertSays(result, self.path("none"), "No such file or directory")

    def test_read_only_session(self):
        path = self.image()
        result = self.cli("write", path, "--read-only", input=bytes(512), code=FAILED)
        self.assertSays(result, path, "nothing was written")


class Change(CliTest):
    """flush, resize, discard, zero."""

    def test_flush(self):
        path = self.image()
        for sync in ["os", "drive"]:
            self.assertEqual(self.cli("flush", path, "--sync", sync).err, "")
        self.assertSays(self.cli("flush", path, "--sync", "none"), "warning", "does nothing")

    def test_what_is_on_stable_storage_afterwards(self):
        path = self.image()
        with self.holder(path):  # the daemon forgets a device's state with its last session
            def unsynced():
                return self.json("ls", name="devices")[0]["unsynced"]
            for arguments, expected in [
                    (["flush", path], False), (["write", path], True),
                    (["write", path, "--flush"], False), (["write", path, "--fua"], False),
                    (["zero", path, "--count", "1"], True), (["flush", path], False),
                    (["zero", path, "--count", "1", "--fua"], False)]:
                with self.subTest(arguments=arguments):
                    self.cli(*arguments, input=bytes(512))
                    self.assertIs(unsynced(), expected)

    def check_resize(self, path, size, *arguments):
        self.cli("resize", path, *arguments)
        self.assertEqual(os.stat(path).st_size, size)

    def test_resize(self):
        path = self.image(size=0)
        self.check_resize(path, 512, "1", "--sectors")
        self.check_resize(path, 4 * MIB, "4M")
        self.check_resize(path, 5 * MIB, "+1M")
        self.check_resize(path, 5 * MIB + 1024, "+2", "--sectors")
        self.check_resize(path, MIB + 1024, "-4M", "--shrink")
        self.check_resize(path, 0, "0", "--shrink")

    def test_shrinking_must_be_said(self):
        path = self.image()
        for size in ["-512", "512K"]:
            self.assertSays(self.cli("resize", path, size, code=USAGE), "--shrink", path)
        self.assertEqual(os.stat(path).st_size, MIB)

    def test_sizes_that_are_none(self):
        path = self.image()
        for size in ["1000", "-2M", "big", "+", "17E", "+18446744073709551615"]:
            with self.subTest(size=size):
                self.cli("resize", path, size, "--shrink", code=USAGE)
        self.assertEqual(os.stat(path).st_size, MIB)

    def test_discard_and_zero_give_zeroes_in_the_range_only(self):
        data = pattern(MIB)
        for command in [["discard"], ["zero"], ["zero", "--fua"]]:
            with self.subTest(command=command):
                path = self.image(data)
                self.cli(*command, path, "--sector", "3", "--count", "9")
                self.cli(*command, path, "--offset", "64K", "--length", "128K")
                expected = bytearray(data)
                expected[3 * 512:12 * 512] = bytes(9 * 512)
                expected[64 * KIB:192 * KIB] = bytes(128 * KIB)
                self.assertEqual(file_bytes(path), bytes(expected))

    def test_the_whole_device_must_be_said(self):
        data = pattern(64 * KIB)
        for command in ["discard", "zero"]:
            path = self.image(data)
            for arguments in [[], ["--sector", "0"], ["--count", "128"], ["--length", "1G"],
                              ["--all", "--count", "1"]]:
                with self.subTest(command=command, arguments=arguments):
                    self.assertSays(self.cli(command, path, *arguments, code=USAGE), "--all")
            self.assertEqual(file_bytes(path), data)
            self.cli(command, path, "--all")
            self.assertEqual(file_bytes(path), bytes(64 * KIB))

    def test_range_that_is_no_whole_sectors(self):
        path = self.image()
        for arguments in [["--offset", "1", "--count", "1"], ["--length", "100"]]:
            self.assertSays(self.cli("zero", path, *arguments, code=USAGE), "sector size (512 bytes)")

    def test_past_the_end(self):
        data = pattern(64 * KIB)
        path = self.image(data)
        for command in ["discard", "zero"]:
            self.assertSays(self.cli(command, path, "--sector", "127", "--count", "2", code=FAILED),
                            path)
        self.assertEqual(file_bytes(path), data)

    def test_fua_is_not_discard_s(self):
        self.cli("discard", self.image(), "--all", "--fua", code=USAGE)


class Map(CliTest):
    def sparse(self):
        path = self.image(size=MIB)
        with open(path, "r+b") as file:
            file.seek(256 * KIB)
            file.write(pattern(128 * KIB))
        return path

    def test_extents_and_totals(self):
        path = self.sparse()
        extents = [(row["offset_bytes"], row["length_bytes"], row["mapped"])
                   for row in self.json("map", path, name="map")]
        self.assertEqual(extents, [(0, 256 * KIB, False), (256 * KIB, 128 * KIB, True),
                                   (384 * KIB, 640 * KIB, False)])
        self.assertEqual(self.record("map", "--total", path, name="totals"),
                         {"mapped_bytes": 128 * KIB, "unmapped_bytes": 896 * KIB,
                          "size_bytes": MIB, "extents": 3})

    def test_plain(self):
        text = self.cli("map", self.sparse()).text
        self.assertRegex(text, r"(?m)^ *512 +256 +262144 +131072 +128 KiB allocated$")
        self.assertTrue(text.endswith("\n128 KiB allocated, 896 KiB in holes, 3 extents\n"), text)

    def test_sectors_follow_the_session(self):
        row = self.json("map", self.sparse(), "--sector-size", "4096", name="map")[1]
        self.assertEqual((row["start_sector"], row["count_sectors"]), (64, 32))

    def test_empty_and_full(self):
        self.assertEqual(self.json("map", self.image(size=0), name="map"), [])
        self.assertEqual([row["mapped"] for row in self.json(
            "map", self.image(pattern(MIB)), name="map")], [True])


class Config(CliTest):
    def test_string_of_a_session_opens_the_same(self):
        path = self.image(name="with space?.img")
        text = self.cli("config", path, "--sync", "drive", "--lock").text
        self.assertRegex(text, r"\Afile://\S+\n\Z")
        config = self.record("config", text.strip(), name="config")
        self.assertEqual((config["path"], config["sync"], config["lock"], config["buffered"]),
                         (path, "drive", True, True))

    def test_json_has_the_fields(self):
        path = self.image()
        config = self.record("config", path, "--direct", "--sector-size", "4096", name="config")
        self.assertEqual((config["buffered"], config["prefered_sector_size"]), (False, 4096))
        self.assertIn("buffered=0", config["config"])

    def test_relative_path_is_made_absolute(self):
        self.image()
        config = self.record("config", "disk.img", name="config", cwd=self.directory)
        self.assertEqual(config["path"], self.path("disk.img"))

    def test_parse_needs_no_daemon(self):
        environment = dict(self.environment(), BLKD_SOCKET=self.path("nobody"))
        text = "file:///srv/a%20b.img?sync=none&buffered=0&lock=1&prefered_sector_size=4096"
        self.assertEqual(
            self.record("config", "--parse", text, name="config", env=environment),
            {"config": self.record("config", "--parse", text, name="config",
                                   env=environment)["config"],
             "path": "/srv/a b.img", "buffered": False, "sync": "none", "lock": True,
             "prefered_sector_size": 4096, "mode": "auto", "strict": False, "discard": False,
             "purpose": None})
        shown = self.cli("config", "--parse", "file:///x", env=environment).text
        self.assertRegex(shown, r"(?m)^path +/x$")
        self.assertRegex(shown, r"(?m)^sector size +device default$")

    def test_strings_that_are_none(self):
        for text in ["file:///x?sync=maybe", "file:///x?colour=red", "file://", "/x",
                     "file:///x%0"]:
            with self.subTest(text=text):
                self.cli("config", "--parse", text, code=USAGE)
        self.assertSays(self.cli("info", "file:///x?sync=maybe", code=USAGE), "maybe")

    def test_it_wants_one_of_both(self):
        self.cli("config", code=USAGE)
        self.cli("config", self.image(), "--parse", "file:///x", code=USAGE)


class Lists(CliTest):
    def test_nothing_open(self):
        self.assertEqual(self.cli("ls").text, "")
        self.assertEqual(self.json("ls", name="devices"), [])
        self.assertEqual(self.json("sessions", name="sessions"), [])

    def test_devices(self):
        path = self.image()
        with self.holder(path, "--lock"):
            rows = self.json("ls", name="devices")
            text = self.cli("ls").text
        self.assertEqual(len(rows), 1)
        row = rows[0]
        status = os.stat(path)
        self.assertEqual((row["path"], row["kind"], row["size_bytes"], row["mode"]),
                         (path, "file", MIB, "rw"))
        self.assertEqual((row["caching"], row["lock"], row["sessions"], row["in_flight"]),
                         ("buffered", "exclusive", 1, 0))
        self.assertEqual((row["major"], row["minor"], row["inode"]),
                         (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino))
        self.assertIs(row["unsynced"], True)  # a device is born unsynced
        self.assertIs(row["failed"], False)
        self.assertEqual(text.splitlines()[0].split(),
                         "DEV PATH KIND SIZE MODE CACHING LOCK SESSIONS IN-FLIGHT UNFLUSHED "
                         "STATE".split())
        self.assertRegex(text.splitlines()[1], re.escape(path)
                         + r" +file +1 MiB rw +buffered +exclusive +1 +0 yes +ok$")

    def test_sessions(self):
        path = self.image()
        with self.holder(path, "--lock", "--sync", "none") as process:
            rows = self.json("sessions", name="sessions")
            text = self.cli("sessions").text
        self.assertEqual(len(rows), 1)
        row = rows[0]
        self.assertEqual((row["pid"], row["uid"], row["gid"]),
                         (process.pid, os.getuid(), os.getgid()))
        self.assertEqual((row["path"], row["mode"], row["lock"], row["sync"], row["sector_size"]),
                         (path, "rw", "exclusive", "none", 512))
        self.assertIn("blkd-cli", row["command"])
        self.assertEqual((row["reads"], row["writes"], row["errors"]), (0, 0, 0))
        self.assertLess(row["age_seconds"], SECONDS)
        self.assertIn(path, text)
        self.assertIn(str(process.pid), text)

    @contextlib.contextmanager
    def reader(self, path, tier):
        """A session that has read by the tier, and stays: nobody takes the rest of its output."""
        process = subprocess.Popen([os.environ["BLKD_CLI"], "read", path, "--raw"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=dict(self.environment(), BLKD_TIER=tier))
        try:
            self.assertEqual(process.stdout.read(512), bytes(512))
            yield process
        finally:
            process.kill()
            process.communicate()

    def test_sessions_tell_the_tier(self):
        path = self.image(size=4 * MIB)
        for tier in ["ring", "socket"]:
            with self.subTest(tier=tier), self.reader(path, tier) as process:
                row = self.record("sessions", path, name="sessions")
                head, line = self.cli("sessions", path).text.splitlines()
                self.assertEqual((row["pid"], row["tier"]), (process.pid, tier))
                self.assertEqual(row["arena_bytes"] > 0, tier == "ring")
                self.assertEqual(line[head.index("TIER"):].split()[0], tier)

    def test_two_names_are_one_device(self):
        path = self.image()
        os.link(path, self.path("hard.img"))
        os.symlink(path, self.path("soft.img"))
        with self.holder(path), self.holder(self.path("hard.img")), \
                self.holder(self.path("soft.img")):
            devices = self.json("ls", name="devices")
            number = str(devices[0]["device"])
            counts = [len(self.json("sessions", name, name="sessions"))
                      for name in [path, self.path("hard.img"), self.path("soft.img"), number]]
        self.assertEqual([row["sessions"] for row in devices], [3])
        self.assertEqual(counts, [3, 3, 3, 3])

    def test_sessions_of_one_device_only(self):
        first, second = self.image(), self.image(name="second.img")
        with self.holder(first), self.holder(second):
            rows = self.json("sessions", second, name="sessions")
        self.assertEqual([row["path"] for row in rows], [second])

    def test_sessions_of_what_is_not_open(self):
        for name in [self.image(), self.path("missing"), "4711"]:
            self.assertSays(self.cli("sessions", name, code=FAILED), name, "blkd-cli ls")


class Ping(CliTest):
    def test_json(self):
        ping = self.record("ping", "--count", "5", "--interval", "0.001", name="ping")
        self.assertEqual((ping["pid"], ping["count"]), (self.daemon.process.pid, 5))
        self.assertIn(ping["engine"], ["io_uring", "threads"])
        self.assertGreaterEqual(ping["workers"], 1)

    def test_times_are_in_order(self):
        for _ in range(10):  # unsorted ones are in order by chance, now and then
            ping = self.record("ping", "--count", "9", "--interval", "0", name="ping")
            self.assertTrue(0 < ping["min_us"] <= ping["median_us"] <= ping["max_us"], ping)

    def test_plain(self):
        text = self.cli("ping", "--count", "1").text
        self.assertRegex(text, r"(?m)^round trips +1$")
        self.assertRegex(text, r"(?m)^min/median/max +[0-9.]+ / [0-9.]+ / [0-9.]+ us$")

    def test_a_device_is_read_by_its_tier(self):
        path = self.image()
        for tier in ["ring", "socket"]:
            environment = dict(self.environment(), BLKD_TIER=tier)
            ping = self.record("ping", path, "--count", "3", "--interval", "0", name="ping",
                               env=environment)
            self.assertEqual((ping["path"], ping["tier"], ping["count"]), (path, tier, 3))
            text = self.cli("ping", path, "--count", "1", env=environment).text
            self.assertRegex(text, rf"(?m)^tier +{tier}$")
        self.assertEqual(self.record("ping", "--count", "1", name="ping")["tier"], "socket")

    def test_a_device_that_cannot_be_read(self):
        self.assertSays(self.cli("ping", self.path("missing"), code=FAILED), "missing")

    def test_bad_counts(self):
        for arguments in [["--count", "0"], ["--count", "1G"], ["--interval", "-1"]]:
            self.cli("ping", *arguments, code=USAGE)


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


class Usage(CliTest):
    def test_wrong_command_lines(self):
        for arguments in [[], ["frobnicate"], ["--nonsense"], ["info"], ["info", "a", "b"],
                          ["resize", "a"], ["ls", "x"], ["flush", "a", "--json"],
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


class BlockDevice(CliTest):
    """Loop devices."""

    def loop(self, *options, size=MIB):
        if os.getuid() != 0:
            self.skipTest("loop devices need root")
        made = subprocess.run(["losetup", "--find", "--show", *options, self.image(size=size)],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            self.skipTest(f"no loop device: {made.stderr.strip()}")
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True)
        return device

    def test_the_whole_way(self):
        device = self.loop()
        data = pattern(MIB)
        info = self.record("info", device, name="info")
        self.assertEqual((info["kind"], info["size_bytes"], info["sector_size"]),
                         ("block", MIB, 512))
        self.cli("write", device, "--flush", input=data)
        self.assertEqual(self.cli("read", device).out, data)
        self.cli("discard", device, "--offset", "4K", "--length", "60K")
        self.cli("zero", device, "--sector", "1000", "--count", "1", "--fua")
        expected = bytearray(data)
        expected[4 * KIB:64 * KIB] = bytes(60 * KIB)
        expected[512000:512512] = bytes(512)
        self.assertEqual(self.cli("read", device, "--offset", "0").out, bytes(expected))
        self.assertEqual([row["mapped"] for row in self.json("map", device, name="map")], [True])

    def test_large_sectors(self):
        device = self.loop("--sector-size", "4096")
        self.assertEqual(self.record("info", device, name="info")["sector_size"], 4096)
        self.assertSays(self.cli("write", device, "--offset", "512", input=bytes(4096), code=USAGE),
                        "4096 bytes")
        self.assertSays(self.cli("write", device, input=bytes(512), code=FAILED), "4096 bytes")
        self.cli("info", device, "--direct", "--sector-size", "512", code=FAILED)

    def test_a_block_device_cannot_be_resized(self):
        device = self.loop()
        self.assertSays(self.cli("resize", device, "2M", code=FAILED), device)

    def test_read_only_device(self):
        device = self.loop("--read-only")
        info = self.record("info", device, name="info")
        self.assertEqual((info["mode"], info["asked_mode"]), ("ro", "auto"))
        self.assertSays(self.cli("write", device, input=bytes(512), code=FAILED), device)
        self.assertEqual(self.cli("read", device, "--count", "1").out, bytes(512))

    def test_sessions_by_another_node_of_the_device(self):
        device = self.loop()
        status = os.stat(device)
        node = self.path("node")
        os.mknod(node, stat.S_IFBLK | 0o600, status.st_rdev)
        with self.holder(device):
            rows = self.json("sessions", node, name="sessions")
        self.assertEqual([row["path"] for row in rows], [device])


def on_tmpfs(test):
    """The same tests with the images on tmpfs."""
    return type(f"{test.__name__}OnTmpfs", (test,), {"root": "/dev/shm"})


if os.access("/dev/shm", os.W_OK):
    InfoOnTmpfs, ReadOnTmpfs, WriteOnTmpfs, ChangeOnTmpfs, MapOnTmpfs = (
        on_tmpfs(test) for test in (Info, Read, Write, Change, Map))


if __name__ == "__main__":
    unittest.main()
