#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A client in another language: everything a program needs from the daemon at $BLKD_SOCKET.

Says what it did. Ends with 1 on the first answer that is not what proto/README.md promises.
"""

import os
import random
import sys
import tempfile

import wire
from wire import pb

SECTOR = 512
SECTORS = 2048


def say(text):
    print(text, flush=True)


def require(holds, what):
    if not holds:
        raise AssertionError(what)


def expect_failure(status, function, *arguments):
    try:
        function(*arguments)
    except wire.Failed as failure:
        require(failure.status == status, f"{status} was expected, {failure} came")
        say(f"  refused as it should be: {failure}")
        return
    raise AssertionError(f"{status} was expected, it succeeded")


def greet(connection):
    hello = connection.hello("client.py")
    require(hello.version == 1, "another version")
    require(len(hello.instance) == 16, "no instance")
    require(hello.limits.max_io_bytes >= 65536 and hello.limits.max_requests >= 1, "no limits")
    say(f"hello: blkd {hello.daemon_version}, engine {hello.engine}, connection "
        f"{hello.connection}, up to {hello.limits.max_io_bytes} bytes a request")
    connection.ping()
    return hello


def check_info(info, read_write):
    require(info.sector_size == SECTOR, f"sectors of {info.sector_size} bytes")
    require(info.size_sectors == SECTORS, f"{info.size_sectors} sectors")
    require(info.read_write == read_write, f"read_write is {info.read_write}")
    require(info.kind == pb.DEVICE_KIND_FILE, "not a file")


def write_and_read(connection, session):
    data = random.Random(1).randbytes(64 * SECTOR)
    connection.write(session, 8 * SECTOR, data)
    connection.flush(session)
    require(connection.read(session, 8 * SECTOR, len(data)) == data, "other data came back")
    require(connection.read(session, 0, SECTOR) == bytes(SECTOR), "the first sector changed")
    connection.write(session, (SECTORS - 1) * SECTOR, data[:SECTOR], flags=pb.WRITE_FLAG_FUA)
    require(connection.read(session, (SECTORS - 1) * SECTOR, SECTOR) == data[:SECTOR],
            "the last sector differs")
    say(f"wrote, flushed and read back {len(data)} bytes and the last sector")
    return data


def pipeline(connection, session):
    """Writes, then reads, all in flight together; the replies may come in any order."""
    sectors = [bytes([number]) * SECTOR for number in range(200)]
    ids = [connection.start("write", pb.Write(session=session, offset_bytes=i * SECTOR), sector)
           for i, sector in enumerate(sectors)]
    for request_id in ids:
        connection.finish(request_id)
    ids = [connection.start("read", pb.Read(session=session, offset_bytes=i * SECTOR,
                                            length_bytes=SECTOR)) for i in range(len(sectors))]
    for request_id, sector in reversed(list(zip(ids, sectors))):
        _, payload = connection.finish(request_id)
        require(payload == sector, "a reply with another request's data")
    say(f"wrote and read {len(sectors)} sectors with all requests in flight together")


def zero_and_map(connection, session):
    connection.call("discard", pb.Discard(session=session, length_bytes=SECTORS * SECTOR))
    require(connection.read(session, 0, 200 * SECTOR) == bytes(200 * SECTOR), "not zeroes")
    connection.write(session, 1024 * SECTOR, b"x" * SECTOR)
    connection.call("write_zeroes", pb.WriteZeroes(session=session, offset_bytes=1024 * SECTOR,
                                                   length_bytes=SECTOR))
    require(connection.read(session, 1024 * SECTOR, SECTOR) == bytes(SECTOR), "not zeroes")
    say("discarded and zeroed: zeroes come back")
    connection.write(session, 1024 * SECTOR, b"y" * SECTOR)
    reply, _ = connection.call("seek", pb.Seek(session=session, target=pb.SEEK_TARGET_MAPPED))
    require(reply.seek.offset_bytes <= 1024 * SECTOR, "the mapped part comes too late")
    reply, _ = connection.call("seek", pb.Seek(session=session, offset_bytes=1025 * SECTOR,
                                               target=pb.SEEK_TARGET_UNMAPPED))
    require(1025 * SECTOR <= reply.seek.offset_bytes <= SECTORS * SECTOR, "no hole or end found")
    say("found what is mapped and what is not")


def refusals(connection, session):
    end = SECTORS * SECTOR
    expect_failure("EINVAL", connection.read, session, end, SECTOR)
    expect_failure("ENOSPC", connection.write, session, end - SECTOR, bytes(2 * SECTOR))
    expect_failure("EINVAL", connection.read, session, 1, SECTOR)
    expect_failure("EBADF", connection.flush, session + 1000)


def resize(connection, path, session):
    """A second session hears of it by an event."""
    with wire.Connection(connection.socket.getpeername()) as second:
        second.hello("client.py, second")
        other = second.open(path).session
        connection.call("resize", pb.Resize(session=session, size_bytes=2 * SECTORS * SECTOR))
        while not second.events:
            reply, _ = second.receive()
            require(reply.id == 0, "a reply that nobody asked for")
            second.events.append(reply.event)
        event = second.events[0]
        require(event.session == other and event.sequence == 1, "not this session's event")
        require(event.resized.size_sectors == 2 * SECTORS, "not the new size")
        require(second.get_info(other).size_sectors == 2 * SECTORS, "the old size")
    connection.call("resize", pb.Resize(session=session, size_bytes=SECTORS * SECTOR))
    say("resized: another session got the event")


def lists(connection, session, path):
    reply, _ = connection.call("list_sessions", pb.ListSessions())
    mine = [entry for entry in reply.sessions.sessions if entry.session == session]
    require(len(mine) == 1 and mine[0].path == path and mine[0].pid == os.getpid(),
            "the session list does not tell of this session")
    require(mine[0].client_name == "client.py", f"another name: {mine[0].client_name}")
    reply, _ = connection.call("list_devices", pb.ListDevices())
    devices = [entry for entry in reply.devices.devices if entry.device == mine[0].device]
    require(len(devices) == 1 and devices[0].size_bytes == SECTORS * SECTOR,
            "the device list does not tell of this device")
    say("found itself in the lists of sessions and devices")


def by_path(connection, path):
    opened = connection.open(path, access=pb.ACCESS_READ_WRITE)
    session = opened.session
    check_info(opened.info, True)
    check_info(connection.get_info(session), True)
    say(f"opened {os.fsdecode(path)}: session {session}, {opened.info.size_sectors} sectors of "
        f"{opened.info.sector_size} bytes")
    reply, _ = connection.call("get_config", pb.GetConfig(session=session))
    require(reply.config.path == path and not reply.config.direct, "not the configuration given")
    write_and_read(connection, session)
    pipeline(connection, session)
    zero_and_map(connection, session)
    refusals(connection, session)
    lists(connection, session, path)
    resize(connection, path, session)
    data = write_and_read(connection, session)
    connection.close_session(session)
    expect_failure("EBADF", connection.read, session, 0, SECTOR)
    with open(path, "rb") as file:
        file.seek(8 * SECTOR)
        require(file.read(len(data)) == data, "the file does not have what was written")
    say("closed; the file has what was written")


def by_descriptor(connection, path):
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    opened = connection.open(b"a name for lists", descriptor=descriptor)
    os.close(descriptor)
    check_info(opened.info, True)
    write_and_read(connection, opened.session)
    connection.close_session(opened.session)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    opened = connection.open(b"", descriptor=descriptor)
    os.close(descriptor)
    check_info(opened.info, False)
    expect_failure("EROFS", connection.write, opened.session, 0, bytes(SECTOR))
    connection.close_session(opened.session)
    say("opened by passed descriptors, read/write and read-only")


def main():
    with tempfile.NamedTemporaryFile(prefix="blkd-client-") as image:
        image.truncate(SECTORS * SECTOR)
        path = os.fsencode(image.name)
        with wire.Connection(os.environ["BLKD_SOCKET"]) as connection:
            greet(connection)
            by_path(connection, path)
            by_descriptor(connection, path)
    say("done")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, wire.Failed, wire.Closed, OSError) as error:
        print(f"client.py: {error}", file=sys.stderr)
        sys.exit(1)
