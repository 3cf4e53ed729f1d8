# SPDX-License-Identifier: MIT
"""The symbols in the object files of a build: which file uses what of which other."""

import json
import os
import shlex
import subprocess
from collections import defaultdict, namedtuple
from pathlib import Path

from .table import Trouble

Call = namedtuple("Call", "user file line name definer")  # user: the .c file; file, line: where it is said


class Objects:
    """Which file defines and uses which name, from the symbols of a build's object files."""

    def __init__(self, build, tree):
        self.tree = tree
        self.defined = defaultdict(set)  # name: files
        self.undefined = {}  # file: names
        objects = self.find_objects(build)
        self.read_symbols(objects)

    def find_objects(self, build):
        """object file: source, one for each source in rooms. Fuzzers compile some of them a second time."""
        objects = {}
        try:
            commands = json.loads((build / "compile_commands.json").read_text())
        except (OSError, ValueError) as error:
            raise Trouble(f"{build}/compile_commands.json: {error}") from error
        for command in commands:
            source = self.source_of(Path(command["directory"], command["file"]), build)
            if source is None or source in objects.values():
                continue
            written = Path(command["directory"], self.output_of(command))
            if self.is_fresh(written, self.tree.root / source):
                objects[str(written)] = source
        compiled = set(objects.values())
        missing = [path for path in self.tree.sources if path.endswith(".c") and path not in compiled]
        if missing:
            raise Trouble(f"{build} is not built or out of date: {', '.join(missing[:5])}"
                          f"{', ...' if len(missing) > 5 else ''} ({len(missing)} files)")
        return objects

    @staticmethod
    def is_fresh(written, source):
        """Whether the object is there, and not older than the source if that is in the work tree."""
        return written.is_file() and (not source.is_file()
                                      or written.stat().st_mtime >= source.stat().st_mtime)

    def source_of(self, path, build):
        path = Path(os.path.normpath(path))
        if path.is_relative_to(build):
            # What the build writes lies below a folder "generated", in a folder named as its room.
            inside = str(path.relative_to(build)).partition("generated/")[2]
        elif path.is_relative_to(self.tree.root):
            inside = str(path.relative_to(self.tree.root))
        else:
            return None
        return inside if self.tree.table.room_of(inside) else None

    @staticmethod
    def output_of(command):
        if "output" in command:
            return command["output"]
        words = command.get("arguments") or shlex.split(command["command"])
        return words[words.index("-o") + 1]

    def read_symbols(self, objects):
        for written, source in objects.items():
            self.undefined.setdefault(source, set())
        done = subprocess.run(["nm", "-A", "-P", "-g", *objects], capture_output=True, text=True)
        if done.returncode != 0:
            raise Trouble(f"nm: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            written, _, symbol = line.partition(": ")
            name, kind = symbol.split()[:2]
            source = objects[written]
            if kind in "Uwv":
                self.undefined[source].add(name)
            else:
                self.defined[name].add(source)

    def calls(self):
        """Every use of a name that another file defines."""
        return [Call(user, *self.place_of(user, name), name, definer)
                for user, names in sorted(self.undefined.items()) for name in sorted(names)
                if (definer := self.definer_of(user, name))]

    def definer_of(self, user, name):
        """Two programs may have a function of one name: the one that is linked with the user."""
        table = self.tree.table
        room = table.room_of(user)
        files = sorted(self.defined.get(name, ()))
        return min(files, default=None, key=lambda file: (
            table.room_of(file) is not room, not table.reachable(room, table.room_of(file)), file))

    def place_of(self, user, name):
        """(file, line) of the use: it may stand in an inline function or a macro of a header."""
        for path in [user, *self.tree.closure(user)] if user in self.tree.sources else []:
            places = self.tree.sources[path].places(name)
            for line, declared in places:
                if not declared:
                    return path, line
            if path == user and places:
                return path, places[0][0]
        return user, 0
