#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""the contract's bad input, as far as frames, sessions and ranges go: one test for each case."""

import os
import struct
import unittest

import hostile
import wire
from hostile import SECTOR, SIZE
from wire import PREFIX, pb

PING = pb.Request(id=9, ping=pb.Ping())
HELLO = pb.Request(id=1, hello=pb.Hello(version=1))
UNKNOWN_FIELD = b"\x78\x01"  # field 15, a varint
TOP = 2 ** 64


def header_bytes_only(header_length, payload_length):
    """A prefix whose frame never comes: it must be refused before it does."""
    return PREFIX.pack(header_length, payload_length)


def duplicate_id():
    """Opening is never done at once, so the second request finds the first one in flight."""
    slow = pb.Request(id=9, open=pb.Open(config=pb.Config(path=b"/nonexistent")))
    return wire.frame(slow) + wire.frame(PING)


def nested_bomb():
    """Unknown fields in an inner message."""
    inner = UNKNOWN_FIELD * 30000
    return wire.frame(b"\x08\x09\x22" + varint(len(inner)) + inner)


def varint(number):
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes(data + bytes([number]))


# name, status, bytes: sent on a connection that has said hello
CLOSING = [
    ("header of length 0", "EMSGSIZE", header_bytes_only(0, 0)),
    ("header of length 0 with payload", "EMSGSIZE", header_bytes_only(0, 512)),
    ("header over 64 KiB", "EMSGSIZE", header_bytes_only(65537, 0)),
    ("header of 4 GiB", "EMSGSIZE", header_bytes_only(0xffffffff, 0)),
    ("payload over the maximum", "EMSGSIZE", header_bytes_only(10, wire.MAX_IO + 1)),
    ("payload of 4 GiB", "EMSGSIZE", header_bytes_only(10, 0xffffffff)),
    ("big endian prefix", "EMSGSIZE", struct.pack(">II", 4, 0)),
    ("text instead of frames", "EMSGSIZE", b"GET / HTTP/1.1\r\n\r\n"),
    ("second hello", "EPROTO", wire.frame(HELLO)),
    ("id 0", "EPROTO", wire.frame(pb.Request(ping=pb.Ping()))),
    ("duplicate id in flight", "EPROTO", duplicate_id()),
    ("undecodable header", "EBADMSG", wire.frame(b"\xff" * 64)),
    ("header cut short", "EBADMSG", wire.frame(b"\x08\x09\x42\x7f")),
    ("group", "EBADMSG", wire.frame(b"\x0b\x0c")),
    ("decode bomb", "E2BIG", wire.frame(UNKNOWN_FIELD * 32768)),
    ("decode bomb in an inner message", "E2BIG", nested_bomb()),
    ("small decode bomb", "E2BIG", wire.frame(UNKNOWN_FIELD * 500)),
    ("good frame then a bad one", "EMSGSIZE", wire.frame(PING) + PREFIX.pack(0, 0)),
]

# name, status, bytes: sent on a connection that has said nothing yet
CLOSING_UNGREETED = [
    ("ping before hello", "EPROTO", wire.frame(PING)),
    ("nothing before hello", "EPROTO", wire.frame(pb.Request(id=1))),
    ("version 0", "EPROTO", wire.frame(pb.Request(id=1, hello=pb.Hello()))),
    ("version 2", "EPROTO", wire.frame(pb.Request(id=1, hello=pb.Hello(version=2)))),
    ("version 4294967295", "EPROTO", wire.frame(pb.Request(id=1, hello=pb.Hello(version=2**32-1)))),
    ("hello with id 0", "EPROTO", wire.frame(pb.Request(hello=pb.Hello(version=1)))),
    ("oversized header before hello", "EMSGSIZE", header_bytes_only(65537, 0)),
    ("bomb before hello", "E2BIG", wire.frame(UNKNOWN_FIELD * 32768)),
    ("garbage before hello", "EBADMSG", wire.frame(b"\xff" * 64)),
]


def read(offset, length, **more):
    return "read", pb.Read(offset_bytes=offset, length_bytes=length, **more), b""


def write(offset, length, **more):
    return "write", pb.Write(offset_bytes=offset, **more), b"w" * length


def discard(offset, length):
    return "discard", pb.Discard(offset_bytes=offset, length_bytes=length), b""


def zero(offset, length, **more):
    return "write_zeroes", pb.WriteZeroes(offset_bytes=offset, length_bytes=length, **more), b""


def resize(size):
    return "resize", pb.Resize(size_bytes=size), b""


def seek(offset, target=0):
    return "seek", pb.Seek(offset_bytes=offset, target=target), b""


# name, status, request: sent in a good read/write session of SIZE bytes
ANSWERED = [
    ("unknown write flag", "EINVAL", write(0, SECTOR, flags=2)),
    ("unknown write flag beside a known one", "EINVAL", write(0, SECTOR, flags=2**31 + 1)),
    ("unknown zeroing flag", "EINVAL", zero(0, SECTOR, flags=4)),
    ("unknown seek target", "EINVAL", seek(0, target=77)),
    ("negative seek target", "EINVAL", seek(0, target=-1)),
    ("read of nothing", "EINVAL", read(0, 0)),
    ("write of nothing", "EINVAL", write(0, 0)),
    ("read over the maximum", "EINVAL", read(0, wire.MAX_IO + SECTOR)),
    ("read of 4 GiB", "EINVAL", read(0, 2**32 - SECTOR)),
    ("read of part of a sector", "EINVAL", read(0, 511)),
    ("read of a sector and a part", "EINVAL", read(0, 513)),
    ("read between sectors", "EINVAL", read(1, SECTOR)),
    ("write of part of a sector", "EINVAL", write(0, 100)),
    ("write between sectors", "EINVAL", write(256, SECTOR)),
    ("discard of part of a sector", "EINVAL", discard(0, 511)),
    ("discard between sectors", "EINVAL", discard(1, SECTOR)),
    ("zeroing of part of a sector", "EINVAL", zero(0, 1000)),
    ("resize to part of a sector", "EINVAL", resize(1000)),
    ("seek between sectors", "EINVAL", seek(1)),
    ("read offset overflow", "EINVAL", read(TOP - SECTOR, SECTOR)),
    ("read end overflow", "EINVAL", read(TOP - SECTOR, 2 * SECTOR)),
    ("read offset negative as off_t", "EINVAL", read(2**63, SECTOR)),
    ("read end negative as off_t", "EINVAL", read(2**63 - SECTOR, SECTOR)),
    ("write offset overflow", "EINVAL", write(TOP - SECTOR, 2 * SECTOR)),
    ("write end negative as off_t", "EINVAL", write(2**63 - SECTOR, SECTOR)),
    ("discard overflow", "EINVAL", discard(SECTOR, TOP - SECTOR)),
    ("discard length negative as off_t", "EINVAL", discard(0, 2**63)),
    ("zeroing overflow", "EINVAL", zero(TOP - SECTOR, TOP - SECTOR)),
    ("resize beyond off_t", "EINVAL", resize(2**63)),
    ("resize overflow", "EINVAL", resize(TOP - SECTOR)),
    ("seek overflow", "EINVAL", seek(TOP - SECTOR)),
    ("seek past the end", "EINVAL", seek(SIZE + SECTOR)),
    ("read at the end", "EINVAL", read(SIZE, SECTOR)),
    ("read straddling the end", "EINVAL", read(SIZE - SECTOR, 2 * SECTOR)),
    ("read far past the end", "EINVAL", read(2**62, SECTOR)),
    ("read of a transfer past the end", "EINVAL",
     read(0, SECTOR, transfer_end_bytes=SIZE + SECTOR)),
    ("read of an endless transfer", "EINVAL", read(0, SECTOR, transfer_end_bytes=TOP - 1)),
]

PAST_THE_END = [
    ("write at the end", write(SIZE, SECTOR)),
    ("write straddling the end", write(SIZE - SECTOR, 2 * SECTOR)),
    ("write straddling the end with fua", write(SIZE - SECTOR, 2 * SECTOR, flags=1)),
    ("write far past the end", write(2**62, SECTOR)),
    ("large write straddling the end", write(SIZE - wire.MAX_IO + SECTOR, wire.MAX_IO)),
    ("write of a transfer past the end",
     write(SIZE - SECTOR, SECTOR, transfer_end_bytes=SIZE + SECTOR)),
    ("discard at the end", discard(SIZE, SECTOR)),
    ("discard straddling the end", discard(SIZE - SECTOR, 2 * SECTOR)),
    ("zeroing at the end", zero(SIZE, SECTOR)),
    ("zeroing straddling the end", zero(SIZE - SECTOR, 2 * SECTOR)),
]

CHANGES = [
    ("write", write(0, SECTOR)),
    ("write with fua", write(0, SECTOR, flags=1)),
    ("discard", discard(0, SECTOR)),
    ("zeroing", zero(0, SECTOR)),
    ("resize", resize(SIZE // 2)),
]

IN_A_SESSION = CHANGES + [
    ("read", read(0, SECTOR)),
    ("flush", ("flush", pb.Flush(), b"")),
    ("seek", seek(0)),
    ("get info", ("get_info", pb.GetInfo(), b"")),
    ("get config", ("get_config", pb.GetConfig(), b"")),
    ("close", ("close", pb.Close(), b"")),
]


class BadInput(hostile.HostileTest):
    """Frames, sessions, ranges."""

    def check_closing(self, status, data):
        self.connection.send_bytes(data)
        self.expect_closed(self.connection, status)

    def check_closing_ungreeted(self, status, data):
        connection = self.connect()
        connection.send_bytes(data)
        self.expect_closed(connection, status)

    def check_answered(self, status, request):
        operation, message, payload = request
        message.session = self.session
        self.expect_answer(status, operation, message, payload)

    def check_nothing_changed(self, request):
        """ENOSPC, and neither the contents nor the size are other than before."""
        before = os.urandom(SIZE)
        with open(self.image, "wb") as file:
            file.write(before)
        self.check_answered("ENOSPC", request)
        with open(self.image, "rb") as file:
            self.assertTrue(file.read() == before, "the image changed")

    def check_read_only(self, request):
        before = os.urandom(SIZE)
        with open(self.image, "wb") as file:
            file.write(before)
        self.session = self.connection.open(self.image, access=pb.ACCESS_READ_ONLY).session
        self.check_answered("EROFS", request)
        with open(self.image, "rb") as file:
            self.assertTrue(file.read() == before, "the image changed")

    def check_no_session(self, request):
        """0, one that never was, one that is closed, and another connection's."""
        closed = self.connection.open(self.image).session
        self.connection.close_session(closed)
        for session in (0, 2**64 - 1, closed, self.witness_session):
            self.session = session
            with self.subTest(session=session):
                self.check_answered("EBADF", request)

    # ---- operations ----

    def test_unset_operation_is_answered(self):
        self.connection.send_bytes(wire.frame(pb.Request(id=77)))
        reply, _ = self.connection.wait(77)
        self.assertEqual(wire.status_name(reply.status), "EOPNOTSUPP")
        self.expect_lives(self.connection)

    def test_operation_of_a_later_version_is_answered(self):
        later = pb.Request(id=77).SerializeToString() + b"\xfa\x06\x02\x08\x01"
        self.connection.send_bytes(wire.frame(later))
        reply, _ = self.connection.wait(77)
        self.assertEqual(wire.status_name(reply.status), "EOPNOTSUPP")
        self.expect_lives(self.connection)

    def test_unknown_operation_with_payload_is_answered_and_the_payload_skipped(self):
        payload = wire.frame(PING) * 1000
        self.connection.send_bytes(wire.frame(pb.Request(id=77), payload))
        reply, _ = self.connection.wait(77)
        self.assertEqual(wire.status_name(reply.status), "EOPNOTSUPP")
        self.expect_lives(self.connection)

    def test_payload_where_none_belongs_is_answered_and_skipped(self):
        self.expect_answer("EINVAL", "ping", pb.Ping(), wire.frame(PING) * 1000)
        self.check_answered("EINVAL", ("read", pb.Read(length_bytes=SECTOR), bytes(wire.MAX_IO)))

    def test_refused_write_skips_its_payload(self):
        for _ in range(5):
            self.expect_answer("EBADF", "write", pb.Write(session=12345), bytes(wire.MAX_IO))
            self.check_answered("EINVAL", write(1, wire.MAX_IO))

    def test_unknown_fields_are_ignored(self):
        known = pb.Request(id=77, ping=pb.Ping()).SerializeToString()
        self.connection.send_bytes(wire.frame(known + UNKNOWN_FIELD * 10))
        self.connection.finish(77)

    def test_requests_over_the_maximum_are_edquot(self):
        """Opening is done by helpers, so that all these are in flight together."""
        missing = pb.Open(config=pb.Config(path=b"/nonexistent/image"))
        first = 1000
        count = 3000
        self.connection.send_bytes(b"".join(
            wire.frame(pb.Request(id=first + i, open=missing)) for i in range(count)))
        replies = [self.connection.wait(first + i)[0] for i in range(count)]
        answers = {wire.status_name(reply.status) for reply in replies}
        self.assertEqual(answers, {"ENOENT", "EDQUOT"})
        self.expect_lives(self.connection)

    def test_too_many_sessions_are_edquot(self):
        limit = self.connect().hello().limits.max_sessions
        for _ in range(limit - 1):
            self.connection.open(self.image)
        self.expect_failure("EDQUOT", self.connection.open, self.image)
        self.connection.close_session(self.session)
        self.connection.open(self.image)

    # ---- clients that go away ----

    def test_client_gone_in_the_middle_of_a_prefix(self):
        self.connection.send_bytes(PREFIX.pack(4, 0)[:3])
        self.connection.close()

    def test_client_gone_in_the_middle_of_a_header(self):
        self.connection.send_bytes(wire.frame(PING)[:-1])
        self.connection.close()

    def test_client_gone_in_the_middle_of_a_payload(self):
        request = pb.Request(id=9, write=pb.Write(session=self.session))
        self.connection.send_bytes(wire.frame(request, b"x" * 65536)[:-1])
        self.connection.close()
        with self.greeted() as second:
            session = second.open(self.image).session
            self.assertEqual(second.read(session, 0, 65536), bytes(65536))

    def test_client_gone_with_requests_in_flight(self):
        for number in range(64):
            self.connection.start("write", pb.Write(session=self.session, offset_bytes=0),
                                  bytes([number]) * 65536)
            self.connection.start("open", pb.Open(config=pb.Config(path=self.image)))
        self.connection.close()

    # ---- bytes in odd pieces ----

    def test_frames_in_single_bytes_are_understood(self):
        data = b"x" * SECTOR
        request = pb.Request(id=77, write=pb.Write(session=self.session))
        for byte in wire.frame(request, data):
            self.connection.send_bytes(bytes([byte]))
        self.connection.finish(77)
        self.assertEqual(self.connection.read(self.session, 0, SECTOR), data)

    # ---- text ----

    def test_names_that_are_no_utf8_do_not_spoil_messages_and_lists(self):
        connection = self.connect()
        name = b"\xff\xfe\x80" + b"n" * 1000
        hello = b"\x08\x01\x1a" + varint(len(name)) + name
        connection.send_bytes(wire.frame(b"\x08\x01\x12" + varint(len(hello)) + hello))
        connection.wait(1)
        connection.next_id = 2
        message = self.expect_failure("ENOENT", connection.open, b"/nonexistent\xff\x80\n")
        self.assertIn("/nonexistent", message)
        path = self.make_image("straße") + b"\xff"
        os.rename(self.make_image("straße"), path)
        session = connection.open(path).session
        reply, _ = connection.call("list_sessions", pb.ListSessions())
        entries = [entry for entry in reply.sessions.sessions if entry.session == session]
        self.assertEqual(entries[0].path, path)
        self.assertLessEqual(len(entries[0].client_name.encode()), 64)


hostile.add_tests(BadInput, "closes_on", CLOSING, BadInput.check_closing)
hostile.add_tests(BadInput, "closes_on", CLOSING_UNGREETED, BadInput.check_closing_ungreeted)
hostile.add_tests(BadInput, "answers", ANSWERED, BadInput.check_answered)
hostile.add_tests(BadInput, "past_the_end", PAST_THE_END, BadInput.check_nothing_changed)
hostile.add_tests(BadInput, "read_only_session", CHANGES, BadInput.check_read_only)
hostile.add_tests(BadInput, "no_such_session", IN_A_SESSION, BadInput.check_no_session)


if __name__ == "__main__":
    unittest.main(verbosity=2)
