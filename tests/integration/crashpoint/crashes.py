#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The state directory, when the daemon is killed or the power is cut at any step of its work on it.

$STATE_STEPS is the program that works on it (state_steps.c), $CRASHPOINT the library that ends it
at a step and notes what is durable by then (crashpoint.c). Each case is tried at every step, before,
amid and after it. What is left of names and of contents that were not synced is up to the kernel, so
each survives in one variant and is lost in another; after a mere kill all of them survive.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

WHENS = ("before", "during", "after")
# Whether names, and whether contents, that were not synced survive.
SURVIVALS = tuple(itertools.product((True, False), repeat=2))
PLACE = "/dev/shm"  # inode numbers are not used again there
MARK = "-28 1234567890123"


class Copy:
    """A directory with a state directory in it, and the notes of what in it is durable."""

    def __init__(self, place):
        self.top = tempfile.mkdtemp(dir=place)
        self.root = os.path.join(self.top, "root")
        self.notes = os.path.join(self.top, "notes")
        os.mkdir(self.root)
        os.mkdir(self.notes)
        self.state = os.path.join(self.root, "parent", "state")

    def remove(self):
        shutil.rmtree(self.top)

    def run(self, *steps, at=0, when="before"):
        environment = dict(os.environ, LD_PRELOAD=os.environ["CRASHPOINT"],
                           CRASHPOINT_DIRECTORY=self.root, CRASHPOINT_NOTES=self.notes,
                           CRASHPOINT_AT=str(at), CRASHPOINT_WHEN=when,
                           ASAN_OPTIONS="verify_asan_link_order=0")
        done = subprocess.run([os.environ["STATE_STEPS"], self.state, *steps], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, -signal.SIGKILL):
            raise AssertionError(f"{steps}, exit code {done.returncode}: {done.stderr}")
        return done.returncode == 0, done.stdout.splitlines()

    def note_all(self):
        """As after a sync(2)."""
        for path, names, files in os.walk(self.root):
            with open(f"{self.notes}/names.{os.stat(path).st_ino}", "w", encoding="utf-8") as note:
                for name in names + files:
                    note.write(f"{os.stat(os.path.join(path, name)).st_ino} {name}\n")
            for name in files:
                name = os.path.join(path, name)
                shutil.copy(name, f"{self.notes}/data.{os.stat(name).st_ino}")

    def after_crash(self, place, names=True, contents=True):
        """A copy of what is there after a crash in which names and contents survive or not."""
        copy = Copy(place)
        inodes = {os.stat(self.root).st_ino: self.root}
        for path, directories, files in os.walk(self.root):
            for name in directories + files:
                name = os.path.join(path, name)
                inodes[os.stat(name).st_ino] = name
        self._rebuild(os.stat(self.root).st_ino, copy.root, inodes, names, contents)
        copy.note_all()
        return copy

    def _entries(self, inode, inodes, names):
        if names and inode in inodes:
            return {name: os.stat(os.path.join(inodes[inode], name)).st_ino
                    for name in os.listdir(inodes[inode])}
        try:
            with open(f"{self.notes}/names.{inode}", encoding="utf-8") as note:
                lines = [line.rstrip("\n").split(" ", 1) for line in note]
        except FileNotFoundError:
            return {}
        return {name: int(number) for number, name in lines if name not in (".", "..")}

    def _rebuild(self, inode, target, inodes, names, contents):
        for name, number in self._entries(inode, inodes, names).items():
            path = os.path.join(target, name)
            data = f"{self.notes}/data.{number}"
            is_directory = os.path.exists(f"{self.notes}/names.{number}") or \
                os.path.isdir(inodes.get(number, ""))
            if is_directory or name in ("parent", "state", "failed"):
                os.mkdir(path, 0o700)
                self._rebuild(number, path, inodes, names, contents)
            elif contents and number in inodes:
                shutil.copy(inodes[number], path)
            elif os.path.exists(data):
                shutil.copy(data, path)
            else:
                with open(path, "wb"):
                    pass


def tokens_in(lines):
    return [int(line.split()[1]) for line in lines if line.startswith("token ")]


@unittest.skipUnless(os.path.isdir(PLACE), f"needs {PLACE}")
class Crashes(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.mkdtemp(prefix="blkd-crash-", dir=PLACE)
        self.addCleanup(shutil.rmtree, self.place)
        self.origin = Copy(self.place)
        self.origin.note_all()
        self.where = ""
        self.old = ()
        self.counted = {}

    def _formatMessage(self, msg, standardMsg):
        return f"{super()._formatMessage(msg, standardMsg)} : {self.where}"

    def crashes(self, *steps):
        """For each crash in the steps: the copy that it happened to, and what was said before."""
        said_in_all = set()
        for when in WHENS:
            for at in itertools.count(1):
                copy = self.origin.after_crash(self.place)
                ended, said = copy.run(*steps, at=at, when=when)
                said_in_all.add(tuple(said))
                if not ended:
                    self.where = f"{steps}, killed {when} step {at}"
                    yield copy, said
                copy.remove()
                # Only a write can be cut in the midst; other steps are passed over.
                if ended and (when != "during" or at > self.steps_of(*steps)):
                    break
        # The crashes were where they were meant to be: between things that are said, too.
        self.assertGreater(len(said_in_all), len(steps))

    def steps_of(self, *steps):
        """How many steps there are, counted once."""
        if steps not in self.counted:
            for at in itertools.count(1):
                copy = self.origin.after_crash(self.place)
                ended, _ = copy.run(*steps, at=at)
                copy.remove()
                if ended:
                    self.counted[steps] = at - 1
                    break
        return self.counted[steps]

    def survivors(self, copy):
        for names, contents in SURVIVALS:
            survivor = copy.after_crash(self.place, names, contents)
            where = self.where
            self.where += f", names survive: {names}, contents survive: {contents}"
            yield survivor
            self.where = where
            survivor.remove()

    def check_tokens(self, first_said):
        last = max(tokens_in(first_said), default=0)
        for copy, said in self.crashes("tokens=1100"):
            given = tokens_in(said)
            self.assertEqual(given, sorted(set(given)))
            for survivor in self.survivors(copy):
                ended, after = survivor.run("tokens=2")
                self.assertTrue(ended)
                self.assertGreater(min(tokens_in(after)), max(given, default=last))

    def test_tokens_grow_across_a_crash_of_the_first_start(self):
        self.check_tokens([])

    def test_tokens_grow_across_a_crash_of_a_later_start(self):
        _, said = self.origin.run("tokens=1500", "put=x")
        self.origin.note_all()
        self.check_tokens(said)

    def test_tokens_grow_across_a_power_cut_after_a_killed_start(self):
        """What the killed daemon made, but did not live to sync, its successor relies on."""
        for copy, said in self.crashes("tokens=1025"):
            ended, more = copy.run("tokens=1")
            self.assertTrue(ended)
            for survivor in self.survivors(copy):
                _, after = survivor.run("tokens=1")
                self.assertGreater(tokens_in(after)[0], tokens_in(more)[0])
                self.assertGreater(tokens_in(more)[0], max(tokens_in(said), default=0))

    def have_marks(self, *keys):
        self.old = keys
        self.origin.run(*[f"put={key}" for key in keys])
        self.origin.note_all()

    def check_marks(self, steps, said, after):
        """A mark is there or not, but never another; what was said is so, but for what was being done."""
        doing = steps[len(said)].split("=")[1] if len(said) < len(steps) else None
        found = {line.split()[1]: line for line in after if line.split()[0] in ("found", "none")}
        for key, line in found.items():
            self.assertIn(line, (f"found {key} {MARK}", f"none {key}"))
            if key == doing:
                continue
            if f"cleared {key}" in said:
                self.assertEqual(line, f"none {key}")
            elif f"put {key}" in said or key in self.old:
                self.assertEqual(line, f"found {key} {MARK}")
            else:
                self.assertEqual(line, f"none {key}")

    def test_marks_are_there_once_put_and_gone_once_cleared(self):
        self.have_marks("old", "kept")
        steps = ("put=a", "clear=old", "put=b", "clear=a")
        for copy, said in self.crashes(*steps):
            for survivor in self.survivors(copy):
                _, after = survivor.run("find=a", "find=b", "find=old", "find=kept")
                self.check_marks(steps, said, after)

    def test_marks_stay_as_the_successor_of_a_killed_daemon_has_found_them(self):
        self.have_marks("old")
        finds = ("find=a", "find=old")
        steps = ("put=a", "clear=old")
        for copy, said in self.crashes(*steps):
            _, seen = copy.run(*finds)
            self.check_marks(steps, said, seen)
            for survivor in self.survivors(copy):
                self.assertEqual(survivor.run(*finds)[1], seen)

    def test_leftovers_of_a_crash_are_swept_away(self):
        left_any = False
        for copy, _ in self.crashes("put=a"):
            left_any |= any(name.startswith("~") for _, _, names in os.walk(copy.root)
                            for name in names)
            copy.run()
            self.assertFalse([name for _, _, names in os.walk(copy.root) for name in names
                              if name.startswith("~")])
        self.assertTrue(left_any)


if __name__ == "__main__":
    unittest.main()
