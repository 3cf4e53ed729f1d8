# SPDX-License-Identifier: MIT
"""The table scripts/rooms: which rooms there are, and what they may use."""

import fnmatch
import os
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import PurePosixPath

Circle = namedtuple("Circle", "files line")  # as the table lists it


class Trouble(Exception):
    """What keeps the ladder from being looked at."""


@dataclass
class Room:
    folder: str
    ladder: str
    rank: int  # from the top of the table
    line: int
    public: set = field(default_factory=set)  # patterns of names of headers
    generated: set = field(default_factory=set)  # public, and written by the build
    uses: set = None  # folders; None: all below
    beside: set = field(default_factory=set)
    forbids: list = field(default_factory=list)
    implemented_in: set = field(default_factory=set)
    circles: list = field(default_factory=list)

    def shows(self, header):
        """Whether rooms above may include the header, which is in this folder."""
        name = PurePosixPath(header).name
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.public | self.generated)


class Table:
    """What scripts/rooms says; the words are explained there."""

    def __init__(self, path, shown):
        self.shown = shown  # the table's name in findings
        self.rooms = {}  # by folder, from top to bottom
        self.libraries = {}  # name: patterns of headers
        self.on = {}  # ladder: ladders below it
        self.room = self.ladder = None
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise Trouble(f"{shown}: {error.strerror}") from error
        for number, text in enumerate(lines, 1):
            said, _, why = text.partition("#")
            if said.strip():
                self.read_line(number, said.split(), why.strip())
        self.check_names()

    def fail(self, number, text):
        raise Trouble(f"{self.shown}:{number}: error: {text}")

    def read_line(self, number, words, why):
        kind, names = words[0], words[1:]
        if not names:
            self.fail(number, f"'{kind}' needs a name")
        if kind == "headers":
            self.libraries[names[0]] = names[1:]
        elif kind == "ladder":
            if len(names) == 2 or names[1:2] not in ([], ["on"]):
                self.fail(number, "expected 'ladder NAME' or 'ladder NAME on NAME...'")
            self.ladder, self.room = names[0], None
            self.on[names[0]] = names[2:]
        elif kind == "room":
            self.add_room(number, names)
        elif self.room is None:
            self.fail(number, f"'{kind}' stands below no room")
        else:
            self.read_word_of_room(number, kind, names, why)

    def add_room(self, number, names):
        folder = names[0].rstrip("/")
        if len(names) > 1 or self.ladder is None or folder in self.rooms:
            self.fail(number, "expected 'room FOLDER', once for each folder, below a ladder")
        self.room = Room(folder, self.ladder, len(self.rooms), number)
        self.rooms[folder] = self.room

    def read_word_of_room(self, number, kind, names, why):
        if kind in ("public", "generated", "beside", "implemented-in"):
            getattr(self.room, kind.replace("-", "_")).update(names)
        elif kind == "uses":
            self.room.uses = (self.room.uses or set()) | set(names)
        elif kind == "forbids":
            self.room.forbids += names
        elif kind == "circle":
            if not why:
                self.fail(number, "a circle needs its reason behind a '#'")
            files = frozenset(f"{self.room.folder}/{name}" for name in names)
            self.room.circles.append(Circle(files, number))
        else:
            self.fail(number, f"unknown word '{kind}'")

    def check_names(self):
        """A name that is spelt wrong would allow or forbid nothing, and nobody would see it."""
        for ladder, below in self.on.items():
            for name in set(below) - self.on.keys():
                raise Trouble(f"{self.shown}: error: ladder '{ladder}' stands on '{name}', which is unknown")
        for room in self.rooms.values():
            folders = (room.uses or set()) - {"nothing"} | room.beside | room.implemented_in
            for name in sorted(folders - self.rooms.keys()):
                self.fail(room.line, f"{room.folder} names the unknown room '{name}'")
            for name in sorted(set(room.forbids) - self.libraries.keys()):
                self.fail(room.line, f"{room.folder} forbids '{name}', which no 'headers' explains")

    def room_of(self, path):
        return self.rooms.get(os.path.dirname(path))

    def roots(self):
        return sorted({folder.split("/")[0] for folder in self.rooms})

    def reachable(self, user, other):
        """Whether both can be in one program: their ladders are the same or stand on each other."""
        return other.ladder == user.ladder or other.ladder in self.on[user.ladder]

    def why_not(self, user, other):
        """Why one room may not use another's public names; None if it may."""
        if not self.reachable(user, other):
            if user.ladder in self.on[other.ladder]:
                return f"it lies above ({other.folder})"
            return f"it belongs to another ladder ({other.folder})"
        if other.folder in user.beside or user.folder in other.beside:
            return f"it lies beside ({other.folder})"
        if other.rank < user.rank:
            return f"it lies above ({other.folder})"
        if user.uses is not None and other.folder not in user.uses:
            return f"{user.folder} uses only {', '.join(sorted(user.uses))}, not {other.folder}"
        return None
