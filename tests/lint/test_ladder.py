#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scripts/ladder on a small tree that obeys its table, and on the same tree with one fault planted."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

LADDER = Path(__file__).resolve().parents[2] / "scripts" / "ladder"
COMPILER = os.environ.get("CC", "cc")

ROOMS = """\
headers events event2/* !event2/harmless.h
ladder house on shared
room house
room house/hall
    public hall.h
room house/left   # a comment
    public left.h
    beside house/right
    uses shared
room house/right
    public right.h
room house/cellar
    public cellar.h
    forbids events
room house/face
    public face.h
    implemented-in house/hall
ladder guest on shared
room guest
ladder shared
room shared
    public *.h
    generated made.h
"""

# cellar.c and hole.c need each other only in the tests of circles.
FILES = {
    "house/main.c": """\
#include "house/face/face.h"
#include "house/hall/hall.h"
int main(void) { return hall_enter() + face_show(); }
""",
    "house/hall/hall.h": """\
#include "house/cellar/cellar.h"
extern const int hall_size;
int hall_enter(void);
/* In a public header, a call of the room's own. */
int hall_secret(void);
""",
    "house/hall/hall.c": """\
#include "house/hall/hall.h"
#include "house/left/left.h"
#include "house/right/right.h"
#include "house/face/face.h"
const int hall_size = 3;
int hall_secret(void) { return 1; }
int hall_enter(void) { return left_go() + right_go() + cellar_dig() + CELLAR_DEPTH(); }
""",
    "house/hall/face.c": '#include "house/face/face.h"\nint face_show(void) { return 4; }\n',
    "house/left/left.h": "int left_go(void);\n",
    "house/left/left.c": '#include "house/left/left.h"\n#include "shared/made.h"\n'
                         "int left_go(void) { return MADE; }\n",
    "house/right/right.h": "int right_go(void);\n",
    "house/right/right.c": '#include "house/right/right.h"\n#include "house/cellar/cellar.h"\n'
                           "int right_go(void) { return cellar_dig(); }\n",
    "house/cellar/cellar.h": """\
int cellar_dig(void);
int cellar_depth(void);
#define CELLAR_DEPTH() cellar_depth()
""",
    "house/cellar/hole.h": "int hole_depth(void);\nstruct hole { int cellar_private; };\n",
    "house/cellar/cellar.c": """\
#include "house/cellar/cellar.h"
#include "house/cellar/hole.h"
int cellar_dig(void) { return hole_depth(); }
int cellar_depth(void) { return 2; }
""",
    "house/cellar/hole.c": """\
#include "house/cellar/hole.h"

int hole_depth(void) { return 7; }
""",
    "house/face/face.h": "int face_show(void);\n",
    "guest/guest.c": '#include "shared/shared.h"\nint guest_come(void) { return shared_one(); }\n',
    "shared/shared.h": "int shared_one(void);\n",
    "shared/shared.c": '#include "shared/shared.h"\nint shared_one(void) { return 1; }\n',
}
MADE = "#define MADE 5\n"


class Tree:
    """A work tree with the files of above but for those given, and its build."""

    compiled = {}  # what a file and its headers were made into

    def __init__(self, directory, changed, rooms):
        self.root = Path(directory)
        self.build = self.root / "build"
        self.files = {path: text for path, text in {**FILES, **changed}.items() if text is not None}
        self.write("scripts/rooms", rooms)
        for path, text in self.files.items():
            self.write(path, text)
        self.git("init", "--quiet", "--template=")
        self.git("add", "--all")
        self.write("build/generated/shared/made.h", MADE)

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def git(self, *words):
        subprocess.run(["git", *words], cwd=self.root, check=True)

    def compile(self):
        commands = []
        for path in self.files:
            if path.endswith(".c"):
                written = path.replace("/", "_") + ".o"
                words = [COMPILER, "-I", str(self.root), "-I", "generated", "-c",
                         "-o", written, str(self.root / path)]
                self.compile_once(path, self.build / written, words)
                commands.append({"directory": str(self.build), "file": str(self.root / path),
                                 "command": " ".join(words)})
        (self.build / "compile_commands.json").write_text(json.dumps(commands))

    def compile_once(self, path, written, words):
        """Most files are the same in all trees: what was compiled for one serves the next."""
        headers = sorted(item for item in self.files.items() if item[0].endswith(".h"))
        key = (path, self.files[path], *headers)
        if key in self.compiled:
            written.write_bytes(self.compiled[key])
        else:
            subprocess.run(words, cwd=self.build, check=True)
            self.compiled[key] = written.read_bytes()

    def ladder(self, *words):
        return subprocess.run([LADDER, "--root", self.root, *words], capture_output=True, text=True)


class LadderTest(unittest.TestCase):
    def plant(self, changed=None, rooms=ROOMS):
        directory = tempfile.TemporaryDirectory(prefix="blkd-ladder-")
        self.addCleanup(directory.cleanup)
        return Tree(directory.name, changed or {}, rooms)

    def errors(self, changed=None, rooms=ROOMS, compiled=True):
        """What the check of a tree prints on standard output, after its exit code was looked at."""
        tree = self.plant(changed, rooms)
        words = []
        if compiled:
            tree.compile()
            words = ["--build", tree.build]
        done = tree.ladder(*words)
        self.assertEqual(done.returncode, 1 if done.stdout else 0, done.stderr)
        self.assertEqual(done.stderr, "" if compiled else "ladder: calls were not checked (no --build)\n")
        return done.stdout.splitlines()


def changed(path, old, new):
    """The file with a piece replaced, which must be there."""
    assert old in FILES[path], (path, old)
    return {path: FILES[path].replace(old, new)}


def table(old, new):
    assert old in ROOMS, old
    return ROOMS.replace(old, new)


class Clean(LadderTest):
    def test_a_tree_that_obeys_has_no_errors(self):
        self.assertEqual(self.errors(), [])
        self.assertEqual(self.errors(compiled=False), [])

    def test_comments_and_strings_include_and_call_nothing(self):
        self.assertEqual(self.errors(changed(
            "house/cellar/hole.c", "\n\n",
            '\n/*\n#include "house/hall/hall.h"\n*/ // hall_secret()\n'
            'const char *hole_text = "hall_secret(";\n')), [])


class Includes(LadderTest):
    def include(self, path, header):
        """The errors about a header that a third line of a file includes."""
        return self.errors({path: '\n/* above\n it */ #include ' + header + "\n" + FILES[path]},
                           compiled=False)

    def test_of_a_room_above(self):
        self.assertEqual(self.include("house/cellar/hole.c", '"house/hall/hall.h"'), [
            "house/cellar/hole.c:3: error: house/cellar may not include house/hall/hall.h: "
            "it lies above (house/hall)"])

    def test_of_a_room_above_by_a_relative_path(self):
        self.assertEqual(self.include("house/cellar/hole.c", '"../hall/hall.h"'), [
            "house/cellar/hole.c:3: error: house/cellar may not include house/hall/hall.h: "
            "it lies above (house/hall)"])

    def test_of_a_header_that_is_private_to_a_room_below(self):
        self.assertEqual(self.include("house/hall/hall.c", "<house/cellar/hole.h>"), [
            "house/hall/hall.c:3: error: house/hall may not include house/cellar/hole.h: "
            "it is private to house/cellar"])

    def test_of_a_room_beside_in_both_directions(self):
        self.assertEqual(self.include("house/right/right.c", '"house/left/left.h"'), [
            "house/right/right.c:3: error: house/right may not include house/left/left.h: "
            "it lies beside (house/left)"])
        self.assertEqual(self.include("house/left/left.c", '"house/right/right.h"'), [
            "house/left/left.c:3: error: house/left may not include house/right/right.h: "
            "it lies beside (house/right)"])

    def test_of_a_room_below_that_is_not_listed_as_used(self):
        self.assertEqual(self.include("house/left/left.c", '"house/cellar/cellar.h"'), [
            "house/left/left.c:3: error: house/left may not include house/cellar/cellar.h: "
            "house/left uses only shared, not house/cellar"])

    def test_of_another_ladder(self):
        self.assertEqual(self.include("guest/guest.c", '"house/hall/hall.h"'), [
            "guest/guest.c:3: error: guest may not include house/hall/hall.h: "
            "it belongs to another ladder (house/hall)"])

    def test_of_a_ladder_above(self):
        self.assertEqual(self.include("shared/shared.h", '"house/hall/hall.h"'), [
            "shared/shared.h:3: error: shared may not include house/hall/hall.h: "
            "it lies above (house/hall)"])

    def test_of_a_forbidden_library(self):
        self.assertEqual(self.include("house/cellar/hole.h", "<event2/event.h>"), [
            "house/cellar/hole.h:3: error: house/cellar may not include event2/event.h: "
            "events is forbidden there"])

    def test_of_a_header_that_is_taken_out_of_a_library_or_not_forbidden(self):
        self.assertEqual(self.include("house/cellar/hole.h", "<event2/harmless.h>"), [])
        self.assertEqual(self.include("house/hall/hall.c", "<event2/event.h>"), [])

    def test_by_a_macro(self):
        self.assertEqual(self.include("house/hall/hall.c", "HEADER"), [
            "house/hall/hall.c:3: error: an include that names its header by a macro cannot be checked"])

    def test_findings_are_sorted_by_file_and_line(self):
        found = self.errors({
            "house/right/right.h": "\n" * 9 + '#include "house/hall/hall.h"\n#include "house/left/left.h"\n',
            "house/cellar/hole.h": '\n#include "house/hall/hall.h"\n'}, compiled=False)
        self.assertEqual([line.split(": ")[0] for line in found], [
            "house/cellar/hole.h:2", "house/right/right.h:10", "house/right/right.h:11"])


class Calls(LadderTest):
    def test_by_a_declaration_that_goes_around_the_headers(self):
        self.assertEqual(self.errors(changed(
            "house/hall/hall.c", "int hall_secret(void) {",
            "extern int hole_depth(void);\n\nint hall_secret(void) {\n    hole_depth();\n")), [
            "house/hall/hall.c:9: error: house/hall may not use hole_depth of house/cellar/hole.c: "
            "it is private to house/cellar"])

    def test_of_a_room_above(self):
        self.assertEqual(self.errors(changed(
            "house/cellar/hole.c", "return 7", "extern const int hall_size; return hall_size")), [
            "house/cellar/hole.c:3: error: house/cellar may not use hall_size of house/hall/hall.c: "
            "it lies above (house/hall)"])

    def test_of_another_ladder(self):
        self.assertEqual(self.errors(changed(
            "house/main.c", "return ", "int guest_come(void); return guest_come() + ")), [
            "house/main.c:3: error: house may not use guest_come of guest/guest.c: "
            "it belongs to another ladder (guest)"])

    def test_in_an_inline_function_are_found_in_the_header(self):
        header = FILES["house/right/right.h"] + ("int hall_secret(void);\nstatic inline int right_up(void)\n"
                                                 "{\n    return hall_secret();\n}\n")
        source = changed("house/right/right.c", "cellar_dig()", "cellar_dig() + right_up()")
        self.assertIn("house/right/right.h:5: error: house/right may not use hall_secret of "
                      "house/hall/hall.c: it lies above (house/hall)",
                      self.errors({"house/right/right.h": header, **source}))

    def test_by_a_public_macro_belong_to_the_macro_s_room(self):
        tree = {**changed("house/cellar/cellar.h", "cellar_depth()\n", "(cellar_depth() + hole_depth())\n"),
                **changed("house/hall/hall.h", "int hall_secret", "int hole_depth(void);\nint hall_secret")}
        self.assertEqual(self.errors(tree), [])

    def test_of_a_name_that_a_public_header_has_only_as_a_member(self):
        tree = {**changed("house/cellar/cellar.h", "int cellar_depth",
                          "struct cellar {\n    int hole_depth;\n};\nint cellar_depth"),
                **changed("house/hall/hall.c", "return 1", "int hole_depth(void); return hole_depth()")}
        self.assertEqual(self.errors(tree), [
            "house/hall/hall.c:6: error: house/hall may not use hole_depth of house/cellar/hole.c: "
            "it is private to house/cellar"])

    def test_through_a_header_that_others_implement_may_not_climb_either(self):
        tree = changed("house/right/right.c", "cellar_dig()",
                       "cellar_dig() + face_show()")
        tree["house/right/right.c"] = '#include "house/face/face.h"\n' + tree["house/right/right.c"]
        self.assertEqual(self.errors(tree), [
            "house/right/right.c:4: error: house/right may not use face_show of house/hall/face.c: "
            "it lies above (house/hall)"])

    def test_of_one_name_in_two_programs_are_taken_for_the_nearer(self):
        self.assertEqual(self.errors(changed("guest/guest.c", "int guest_come",
                                             "int hole_depth(void) { return 1; }\nint guest_come")), [])


class Circles(LadderTest):
    circle = changed("house/cellar/hole.c", "\nint hole_depth(void) { return 7",
                     '#include "house/cellar/cellar.h"\n'
                     "int hole_depth(void) { return cellar_depth()")
    error = ("house/cellar/cellar.c:2: error: 2 files of house/cellar are a circle that scripts/rooms "
             "does not list: cellar.c > hole.c > cellar.c (hole_depth)")

    def listed(self, circle):
        return table("    forbids events\n", f"    forbids events\n    circle {circle}\n")

    def test_of_calls_that_is_not_listed(self):
        found = self.errors(self.circle)
        self.assertEqual(found, [self.error.replace("cellar.c:2", "cellar.c:3")])

    def test_that_is_listed(self):
        self.assertEqual(self.errors(self.circle, self.listed("hole.c cellar.c # dug together")), [])

    def test_that_is_listed_is_not_judged_without_objects(self):
        self.assertEqual(self.errors(rooms=self.listed("hole.c cellar.c # dug together"), compiled=False), [])

    def test_that_is_listed_in_vain(self):
        rooms = self.listed("hole.c cellar.c # dug together")
        line = rooms.splitlines().index("    circle hole.c cellar.c # dug together") + 1
        self.assertEqual(self.errors(rooms=rooms), [
            f"scripts/rooms:{line}: error: there is no such circle any more: cellar.c hole.c"])

    def test_that_is_listed_without_a_reason(self):
        tree = self.plant(self.circle, self.listed("hole.c cellar.c"))
        done = tree.ladder()
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"^scripts/rooms:\d+: error: a circle needs its reason behind a '#'\n$")

    def test_of_headers(self):
        found = self.errors(changed("house/cellar/hole.h", "int hole_depth",
                                    '#include "cellar.h"\nint hole_depth')
                            | changed("house/cellar/cellar.h", "int cellar_dig",
                                      '\n#include "house/cellar/hole.h"\nint cellar_dig'), compiled=False)
        self.assertEqual(found, [
            "house/cellar/cellar.h:2: error: 2 files of house/cellar are a circle that scripts/rooms "
            "does not list: cellar.h > hole.h > cellar.h (#include)"])

    def test_are_printed_with_what_makes_them(self):
        tree = self.plant(self.circle)
        tree.compile()
        done = tree.ladder("--build", tree.build, "--circles")
        self.assertEqual((done.returncode, done.stdout.splitlines()), (0, [
            "house/cellar: 2 files", "    shortest way around: cellar.c > hole.c > cellar.c",
            "    cellar.c > hole.c: hole_depth", "    hole.c > cellar.c: cellar_depth"]))


class Graph(LadderTest):
    def test_counts_includes_calls_and_what_is_not_allowed(self):
        tree = self.plant(changed("house/cellar/hole.c", "\n\n", '\n#include "house/hall/hall.h"\n'))
        tree.compile()
        done = tree.ladder("--build", tree.build, "--graph")
        printed = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("house/right 1 includes 1 calls".split(), printed)
        self.assertIn("house/hall 1 includes 0 calls 1 not allowed".split(), printed)
        self.assertIn("a circle between rooms: house/cellar > house/hall > house/cellar", done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)


class Tables(LadderTest):
    def trouble(self, rooms):
        done = self.plant(rooms=rooms).ladder()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        return done.stderr

    def test_a_folder_that_is_no_room(self):
        self.assertEqual(self.errors({"house/attic/attic.h": "\n"}, compiled=False), [
            "house/attic/attic.h:1: error: house/attic is not a room of scripts/rooms"])

    def test_a_header_and_a_room_that_are_not_there(self):
        rooms = table("public right.h", "public right.h wrong.h") + "room shared/none\n"
        self.assertEqual([line.split(": error: ")[1] for line in self.errors(rooms=rooms, compiled=False)],
                         ["house/right has no header wrong.h", "shared/none has no C files"])

    def test_words_and_names_that_are_unknown(self):
        self.assertIn("scripts/rooms:5: error: unknown word 'publish'",
                      self.trouble(table("public hall.h", "publish hall.h")))
        self.assertIn("names the unknown room 'house/rigth'",
                      self.trouble(table("beside house/right", "beside house/rigth")))
        self.assertIn("forbids 'event', which no 'headers' explains",
                      self.trouble(table("forbids events", "forbids event")))


class Builds(LadderTest):
    def test_that_are_out_of_date_are_refused(self):
        tree = self.plant()
        tree.compile()
        written = (tree.build / "house_main.c.o").stat().st_mtime
        os.utime(tree.root / "house/main.c", (written + 1, written + 1))
        done = tree.ladder("--build", tree.build)
        self.assertEqual(done.returncode, 2)
        self.assertIn("is not built or out of date: house/main.c", done.stderr)

    def test_that_lack_a_file_are_refused(self):
        tree = self.plant()
        tree.compile()
        (tree.build / "guest_guest.c.o").unlink()
        done = tree.ladder("--build", tree.build)
        self.assertEqual(done.returncode, 2)
        self.assertIn("is not built or out of date: guest/guest.c", done.stderr)

    def test_may_compile_a_file_twice_and_have_made_only_one_of_both(self):
        tree = self.plant()
        tree.compile()
        path = tree.build / "compile_commands.json"
        commands = json.loads(path.read_text())
        fuzzed = [{**command, "command": command["command"].replace("-o ", "-o fuzzed_")}
                  for command in commands]
        for both in (commands + fuzzed, fuzzed + commands):
            path.write_text(json.dumps(both))
            done = tree.ladder("--build", tree.build)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_that_are_not_there_are_refused(self):
        done = self.plant().ladder("--build", "/nonexistent")
        self.assertEqual(done.returncode, 2)
        self.assertIn("compile_commands.json", done.stderr)


if __name__ == "__main__":
    unittest.main()
