#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""blkd-cli against a real daemon: info, config, ls, sessions and ping."""

import contextlib
import json
import os
import re
import subprocess
import unittest

from support import FAILED, MIB, SECONDS, USAGE, CliTest, on_tmpfs


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


class Json(CliTest):
    """--json with the commands that print nothing without it."""

    def test_what_was_done(self):
        path = self.image()
        place = {"path": path, "offset_bytes": 512, "length_bytes": 1024}
        for arguments, name, expected in [
                (["write", path, "--pad", "--sector", "1"], "write",
                 {"path": path, "offset_bytes": 512, "input_bytes": 700, "written_bytes": 1024}),
                (["read", path, "--sector", "1", "--count", "2", "-o", self.path("out")], "read",
                 place),
                (["discard", path, "--sector", "1", "--count", "2"], "discard", place),
                (["zero", path, "--sector", "1", "--count", "2"], "zero", place),
                (["flush", path], "flush", {"path": path}),
                (["sync", "flush", path], "flush", {"path": path}),
                (["lock", "wait", path], "wait", {"path": path}),
                (["resize", path, "+1M"], "resize",
                 {"path": path, "size_bytes": 2 * MIB, "old_size_bytes": MIB})]:
            with self.subTest(arguments=arguments):
                record = self.record(*arguments, name=name, input=b"\1" * 700)
                self.assertEqual(record, expected)
                words = arguments[:arguments.index(path)]
                self.assertIn("--json", self.cli(*words, "--help").text)

    def test_evicted_session(self):
        path = self.image(size=8 * MIB)
        with self.holder(path):
            number = self.json("sessions", path, name="sessions")[0]["session"]
            self.assertEqual(self.record("session", "evict", str(number), name="evict"),
                             {"session": number})

    def test_data_and_json_do_not_share_stdout(self):
        path = self.image()
        for arguments in [["read", path], ["read", path, "-o", "/dev/stdout"]]:
            result = self.cli(*arguments, "--json", code=USAGE)
            self.assertEqual(result.out, b"")


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
        # It has looked at the first sector: what kind of image is it?
        self.assertEqual((row["reads"], row["writes"], row["errors"]), (1, 0, 0))
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


(InfoOnTmpfs,) = on_tmpfs(Info)


if __name__ == "__main__":
    unittest.main()
