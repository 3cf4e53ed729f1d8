#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: read and write: ranges, pieces, pipes and terminals, and what is refused."""

import contextlib
import fcntl
import hashlib
import os
import pty
import signal
import subprocess
import unittest

from support import (BUSY, FAILED, MIB, OK, PIECE, SECONDS, USAGE, CliTest, file_bytes, on_tmpfs,
                     pattern)


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


class ReadIntoAFile(CliTest):
    """What is overwritten by `read --output`, when, and what is not."""

    def refused(self, path, output, *parts, code=FAILED, before=None):
        before = file_bytes(output) if before is None else before
        result = self.cli("read", path, "--output", output, code=code)
        self.assertSays(result, output, *parts)
        self.assertEqual(file_bytes(output), before)

    def test_the_device_itself_is_refused_whatever_its_name(self):
        data = pattern(MIB)
        path = self.image(data)
        os.link(path, self.path("hard"))
        os.symlink(path, self.path("soft"))
        for output in [path, self.path("hard"), self.path("soft"), "/proc/self/fd/0"]:
            with self.subTest(output=output), open(path, "rb") as file:
                result = self.cli("read", path, "-o", output, stdin=file, code=FAILED)
                self.assertSays(result, output, "the device that is to be read",
                                "choose another output")
                self.assertEqual(file_bytes(path), data)
        with open(path, "r+b") as file:
            self.assertSays(self.cli("read", path, stdout=file, code=FAILED), "stdout: ")
        self.assertEqual(file_bytes(path), data)

    def test_an_output_that_a_session_has_open_is_refused(self):
        path = self.image(pattern(MIB))
        for options in [["--lock"], []]:
            output = self.image(b"precious" * 64, name=f"output{len(options)}")
            with self.subTest(options=options), self.holder(output, *options) as process:
                self.refused(path, output, "in use: session ", f"pid {process.pid}",
                             "choose another output", f"blkd-cli why {output}", code=BUSY)

    def test_an_output_that_another_program_has_locked_is_refused(self):
        path = self.image(pattern(MIB))
        output = self.image(b"precious" * 64, name="output")
        for lock in [lambda file: fcntl.flock(file, fcntl.LOCK_EX),
                     lambda file: fcntl.flock(file, fcntl.LOCK_SH),
                     lambda file: fcntl.lockf(file, fcntl.LOCK_EX, 1, 100)]:
            with self.subTest(lock=lock), open(output, "r+b") as file:
                lock(file)
                self.refused(path, output, "in use: ", "lock", code=BUSY,
                             before=b"precious" * 64)

    def test_nothing_is_lost_before_the_first_byte_is_there(self):
        path = self.image(pattern(MIB))
        output = self.image(b"precious", name="output")
        self.cli("lock", "take", "--isolate", path, "--", os.environ["BLKD_CLI"], "read", path,
                 "-o", output, code=BUSY)
        self.assertEqual(file_bytes(output), b"precious")

    def test_a_longer_file_is_replaced(self):
        path = self.image(pattern(MIB))
        output = self.image(bytes(2 * MIB), name="output")
        self.cli("read", path, "--length", "700", "-o", output)
        self.assertEqual(file_bytes(output), pattern(MIB)[:700])
        self.cli("read", path, "--length", "0", "-o", output)
        self.assertEqual(file_bytes(output), b"")

    def test_devices_pipes_and_stdout_by_name(self):
        data = pattern(MIB)
        path = self.image(data)
        self.cli("read", path, "-o", "/dev/null")
        self.assertEqual(self.cli("read", path, "-o", "/dev/stdout").out, data)
        log = self.image(b"before", name="log")
        with open(log, "ab") as file:
            self.cli("read", path, "-o", "/dev/stdout", stdout=file)
        self.assertEqual(file_bytes(log), b"before" + data)
        os.mkfifo(self.path("fifo"))
        with subprocess.Popen([os.environ["BLKD_CLI"], "read", path, "-o", self.path("fifo")],
                              env=self.environment()) as process:
            self.assertEqual(file_bytes(self.path("fifo")), data)
        self.assertEqual(process.returncode, OK)
        self.assertSays(self.cli("read", path, "-o", "/dev/full", code=FAILED), "/dev/full",
                        "No space left on device")
        self.assertSays(self.cli("read", path, "-o", self.directory, code=FAILED),
                        "Is a directory")


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


class WriteInputs(CliTest):
    """Inputs whose size is not what fstat says, or that have none."""

    def test_proc_says_0_bytes_and_is_read_to_its_end(self):
        data = file_bytes("/proc/version")
        path = self.image(b"\xff" * 4096)
        self.cli("write", path, "--input", "/proc/version", "--length", "16", "--pad")
        self.assertEqual(file_bytes(path)[:512], data[:16] + bytes(512 - 16))
        self.cli("write", path, "--input", "/proc/version", "--pad")
        self.assertEqual(file_bytes(path)[:512], (data + bytes(512))[:512])
        path = self.image(b"\xff" * 4096)
        result = self.cli("write", path, "--input", "/proc/version", code=FAILED)
        self.assertSays(result, f"/proc/version: input length {len(data)}", "nothing was written")
        self.assertEqual(file_bytes(path), b"\xff" * 4096)

    def test_sysfs_says_more_than_there_is(self):
        name = "/sys/kernel/mm/transparent_hugepage/enabled"
        if not os.path.exists(name) or os.stat(name).st_size < 2048:
            self.skipTest(f"{name} does not say a size here")
        data = file_bytes(name)
        path = self.image(b"\xff" * 1024)
        self.cli("write", path, "--input", name, "--pad")
        self.assertEqual(file_bytes(path), data + bytes(512 - len(data)) + b"\xff" * 512)

    def test_fifo_and_character_device(self):
        path = self.image(b"\xff" * 4096)
        self.cli("write", path, "--input", "/dev/zero", "--length", "1K")
        self.assertEqual(file_bytes(path), bytes(1024) + b"\xff" * 3072)
        os.mkfifo(self.path("fifo"))
        with subprocess.Popen([os.environ["BLKD_CLI"], "write", path, "-i", self.path("fifo")],
                              env=self.environment(), stderr=subprocess.PIPE) as process:
            with open(self.path("fifo"), "wb") as fifo:
                fifo.write(b"\1" * 700)
            self.assertIn(b"700 is not a multiple", process.stderr.read())
        self.assertEqual(process.returncode, FAILED)
        self.assertEqual(file_bytes(path), bytes(1024) + b"\xff" * 3072)

    def test_the_device_itself_is_refused(self):
        """Behind an offset it would read what it has just written."""
        data = pattern(2 * MIB)
        path = self.image(data)
        os.link(path, self.path("hard"))
        for name in [path, self.path("hard")]:
            result = self.cli("write", path, "--offset", "1M", "-i", name, "--length", "1M",
                              code=FAILED)
            self.assertSays(result, name, "the device that is to be written",
                            "nothing was written")
        with open(path, "rb") as file:
            self.assertSays(self.cli("write", path, stdin=file, code=FAILED), "stdin: ")
        self.assertEqual(file_bytes(path), data)


ReadOnTmpfs, WriteOnTmpfs = on_tmpfs(Read, Write)


if __name__ == "__main__":
    unittest.main()
