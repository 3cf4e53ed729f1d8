# SPDX-License-Identifier: MIT
"""What the ladder demands of includes, calls and circles."""

import fnmatch
from collections import Counter, defaultdict, namedtuple
from pathlib import PurePosixPath

NAMES_SHOWN = 4  # of the calls that make an edge of a circle

Finding = namedtuple("Finding", "file line text")


def check_table(tree):
    """The table against the tree: rooms, headers and folders that one has and the other lacks."""
    table = tree.table
    for path in tree.sources:
        if table.room_of(path) is None:
            yield Finding(path, 1, f"{PurePosixPath(path).parent} is not a room of {table.shown}")
    for room in table.rooms.values():
        headers = [PurePosixPath(path).name for path in tree.sources
                   if table.room_of(path) is room and path.endswith(".h")]
        for pattern in sorted(room.public):
            if not fnmatch.filter(headers, pattern):
                yield Finding(table.shown, room.line, f"{room.folder} has no header {pattern}")
        if not room.generated and not any(table.room_of(path) is room for path in tree.sources):
            yield Finding(table.shown, room.line, f"{room.folder} has no C files")


def why_not_include(table, room, header):
    """Why a room may not include a header, if that is of a room; None if it may."""
    other = table.room_of(header) if header else None
    if other is None or other is room:
        return None
    if reason := table.why_not(room, other):
        return reason
    return None if other.shows(header) else f"it is private to {other.folder}"


def check_includes(tree):
    table = tree.table
    for path, source in tree.sources.items():
        room = table.room_of(path)
        if room is None:
            continue
        for line in source.unread:
            yield Finding(path, line, "an include that names its header by a macro cannot be checked")
        for include, header in tree.included(path):
            name = header or include.name[1:-1]
            reasons = [f"{library} is forbidden there" for library in room.forbids
                       if is_of_library(name, table.libraries[library])]
            reasons.append(why_not_include(table, room, header))
            for reason in filter(None, reasons):
                yield Finding(path, include.line, f"{room.folder} may not include {name}: {reason}")


def is_of_library(header, patterns):
    """Whether a pattern matches; one that begins with ! takes headers out again."""
    answer = False
    for pattern in patterns:
        if fnmatch.fnmatchcase(header, pattern.lstrip("!")):
            answer = not pattern.startswith("!")
    return answer


def why_not_call(tree, call):
    table = tree.table
    room, other = table.room_of(call.file), table.room_of(call.definer)
    if room is other:
        return None
    for face in table.rooms.values():
        # A header whose functions other rooms define speaks for those that lie below the user.
        if other.folder in face.implemented_in and other.rank > room.rank and tree.declares(face, call.name) \
                and (face is room or table.why_not(room, face) is None):
            return None
    reason = table.why_not(room, other)
    # What the build writes is not there to be read: all of it is public.
    if reason is None and call.definer in tree.sources and not tree.declares(other, call.name):
        return f"it is private to {other.folder}"
    return reason


def check_calls(tree, calls):
    for call in calls:
        reason = why_not_call(tree, call)
        if reason:
            room = tree.table.room_of(call.file)
            yield Finding(call.file, call.line,
                          f"{room.folder} may not use {call.name} of {call.definer}: {reason}")


def edges_between(tree, calls, key, within):
    """Includes and calls as a graph: {from: {to: Counter of names}}, of rooms or of the files of rooms."""
    graph = defaultdict(lambda: defaultdict(Counter))

    def add(user, used, name):
        rooms = tree.table.room_of(user), tree.table.room_of(used)
        if None not in rooms and (rooms[0] is rooms[1]) == within and user != used:
            graph[key(user)][key(used)][name] += 1

    for path in tree.sources:
        for _, header in tree.included(path):
            if header:
                add(path, header, "#include")
    for call in calls:
        add(call.user if within else call.file, call.definer, call.name)
    return graph


def strong_components(graph):
    """Sets of two or more that all reach each other (Tarjan's algorithm)."""
    numbers, low, stack, found = {}, {}, [], []

    def visit(node):
        numbers[node] = low[node] = len(numbers)
        stack.append(node)
        for other in sorted(graph[node]) if node in graph else ():
            if other not in numbers:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], numbers[other])
        if low[node] == numbers[node]:
            where = stack.index(node)
            if len(stack) - where > 1:
                found.append(frozenset(stack[where:]))
            del stack[where:]

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return sorted(found, key=sorted)


def way_around(graph, circle):
    """The shortest way from the circle's first file back to it."""
    start = min(circle)
    ways = [[start]]
    seen = set()
    for way in ways:
        for other in sorted(set(graph[way[-1]]) & circle):
            if other == start:
                return way + [start]
            if other not in seen:
                seen.add(other)
                ways.append(way + [other])
    raise AssertionError("a component without a way around")


def arrows(way):
    return " > ".join(PurePosixPath(path).name for path in way)


def check_circles(tree, calls, with_objects):
    """Circles of files inside a room that the table does not list, and those it lists in vain."""
    table = tree.table
    graph = edges_between(tree, calls, str, within=True)
    found = strong_components(graph)
    listed = {circle.files: circle.line for room in table.rooms.values() for circle in room.circles}
    for circle in found:
        if circle not in listed:
            way = way_around(graph, circle)
            names = ", ".join(short(graph[way[0]][way[1]]))
            yield Finding(way[0], line_of_edge(tree, calls, way[0], way[1]),
                          f"{len(circle)} files of {table.room_of(way[0]).folder} are a circle that "
                          f"{table.shown} does not list: {arrows(way)} ({names})")
    for files, line in listed.items():
        # Without objects nothing is known about the circles of .c files.
        if files not in found and (with_objects or all(path.endswith(".h") for path in files)):
            yield Finding(table.shown, line, "there is no such circle any more: "
                          + " ".join(sorted(PurePosixPath(path).name for path in files)))


def line_of_edge(tree, calls, user, used):
    lines = [include.line for include, header in tree.included(user) if header == used]
    lines += [call.line for call in calls if (call.user, call.definer) == (user, used)
              and call.file == user]
    return min(lines, default=1)


def short(names):
    names = sorted(names)
    return names[:NAMES_SHOWN] + ["..."] * (len(names) > NAMES_SHOWN)
