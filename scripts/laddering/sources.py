# SPDX-License-Identifier: MIT
"""The C files in the rooms: what they include, and which names they declare and use."""

import bisect
import os
import re
import subprocess
from collections import defaultdict, namedtuple
from pathlib import PurePosixPath

from .table import Trouble

INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b[ \t]*(.*)$", re.M)
HEADER_NAME = re.compile(r'(<[^>\n]+>|"[^"\n]+")')
COMMENT_OR_STRING = re.compile(r"//[^\n]*|/\*.*?\*/"
                               r'|"(?:\\.|[^"\\\n])*"'
                               r"|'(?:\\.|[^'\\\n])*'", re.S)
EXTERN_C = re.compile(r'extern\s+""\s*\{')
TOKEN = re.compile(r"[A-Za-z_]\w*|[{(\[]|[})\]]|\n|^[ \t]*#", re.M)

Include = namedtuple("Include", "line name")


class Source:
    """A C file: what it includes, and its text without comments and strings, lines as they were."""

    def __init__(self, path, text):
        self.path = path
        self.lines = [place.end() for place in re.finditer("\n", text)]
        text = text.replace("\\\n", "  ")
        self.includes = []
        self.unread = []  # lines of includes whose header a macro names
        without = COMMENT_OR_STRING.sub(blank_comment, text)
        for found in INCLUDE.finditer(without):
            name = HEADER_NAME.match(found[1])
            if name:
                self.includes.append(Include(self.line_at(found.start(1)), name[1]))
            else:
                self.unread.append(self.line_at(found.start()))
        self.text = COMMENT_OR_STRING.sub(blank_string, without)
        self.words = None

    def line_at(self, offset):
        return bisect.bisect_right(self.lines, offset) + 1

    def places(self, name):
        """(line, whether it is declared there and not used) wherever the text has the name."""
        if self.words is None:
            self.words = self.find_words()
        return self.words.get(name, [])

    def find_words(self):
        """A name outside all braces, parentheses and macros is declared there."""
        words = defaultdict(list)
        text = EXTERN_C.sub(lambda found: " " * len(found[0]), self.text)
        depth = 0
        in_directive = False
        for found in TOKEN.finditer(text):
            token = found[0]
            if token == "\n":
                in_directive = False
            elif token.endswith("#"):
                in_directive = True
            elif token in "{([":
                depth += not in_directive
            elif token in "})]":
                depth = max(0, depth - (not in_directive))
            else:
                words[token].append((self.line_at(found.start()), depth == 0 and not in_directive))
        return words


def blank_comment(found):
    """Spaces for a comment, so that what follows stays where it was; a string stays."""
    return found[0] if found[0][0] in "\"'" else re.sub(r"[^\n]", " ", found[0])


def blank_string(found):
    quote = found[0][0]
    return quote + quote + " " * (len(found[0]) - 2)


class Tree:
    """The C files that git knows in the folders of the table."""

    def __init__(self, root, table):
        self.root, self.table = root, table
        self.tracked = set(self.git_files(table.roots()))
        self.sources = {}
        for path in sorted(self.tracked):
            if path.endswith((".c", ".h")) and (root / path).is_file():  # a file may be on its way out
                self.sources[path] = Source(path, (root / path).read_text(errors="replace"))

    def git_files(self, folders):
        # A clone that another user owns is read all the same.
        command = ["git", "-c", f"safe.directory={self.root}", "ls-files", "-z", "--", *folders]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
        if done.returncode != 0:
            raise Trouble(f"git ls-files: {done.stderr.strip()}")
        return done.stdout.split("\0")[:-1]

    def resolve(self, user, name):
        """The path of an included header if it belongs to a room, there or written by the build."""
        bare = name[1:-1]
        near = os.path.normpath(f"{PurePosixPath(user).parent}/{bare}")
        if name[0] == '"' and near in self.sources:
            return near
        path = os.path.normpath(bare)
        return path if self.table.room_of(path) else None

    def included(self, path):
        """(include, header's path or None) of a file."""
        return [(include, self.resolve(path, include.name)) for include in self.sources[path].includes]

    def closure(self, path):
        """All headers of rooms that a file reads, the nearest first."""
        order, waiting = [], [path]
        while waiting:
            for _, header in self.included(waiting.pop(0)):
                if header in self.sources and header not in order:
                    order.append(header)
                    waiting.append(header)
        return order

    def declares(self, room, name):
        """Whether a public header of the room declares the name."""
        return any(declared for path, source in self.sources.items()
                   if self.table.room_of(path) is room and path.endswith(".h") and room.shows(path)
                   for _, declared in source.places(name))
