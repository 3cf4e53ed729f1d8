# SPDX-License-Identifier: MIT
"""blkd's wire protocol in Python, written after proto/README.md.

It shares no code with libblkd: the messages' classes are made by protoc when this module is
loaded, and framing, ids and descriptor passing are here.
"""

import array
import importlib.util
import pathlib
import socket
import struct
import subprocess
import tempfile

PROTO_DIRECTORY = pathlib.Path(__file__).resolve().parents[3] / "proto"
PREFIX = struct.Struct("<II")
MAX_HEADER = 64 * 1024
MAX_IO = 1024 * 1024
TIMEOUT_SECONDS = 120  # what has not come by then never will


def load_messages():
    """The module that protoc makes of blkd.proto."""
    with tempfile.TemporaryDirectory(prefix="blkd-wire-") as directory:
        subprocess.run(["protoc", f"--proto_path={PROTO_DIRECTORY}", f"--python_out={directory}",
                        "blkd.proto"], check=True)
        path = pathlib.Path(directory) / "blkd_pb2.py"
        spec = importlib.util.spec_from_file_location("blkd_pb2", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


pb = load_messages()


class Closed(Exception):
    """The daemon has closed the connection; `reason` is its last reply with id 0, or None."""

    def __init__(self, reason):
        super().__init__(f"closed by the daemon: {reason or 'without a reason'}")
        self.reason = reason


class Failed(Exception):
    """A reply with a status other than STATUS_OK."""

    def __init__(self, reply):
        super().__init__(f"{status_name(reply.status)}: {reply.message}")
        self.status = status_name(reply.status)
        self.message = reply.message


def status_name(number):
    """STATUS_EINVAL is "EINVAL"."""
    return pb.Status.Name(number).removeprefix("STATUS_")


def frame(request, payload=b""):
    """A whole frame: prefix, header, payload."""
    header = request if isinstance(request, bytes) else request.SerializeToString()
    return PREFIX.pack(len(header), len(payload)) + header + payload


class Connection:
    """One connection. Replies and events that nobody has asked for yet are kept."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.connect(path)
        self.next_id = 1
        self.replies = {}
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    # ---- bytes ----

    def send_bytes(self, data, descriptors=()):
        """Sends all; the descriptors go with the first byte."""
        sent = 0
        if descriptors:
            rights = array.array("i", descriptors)
            sent = self.socket.sendmsg([data],
                                       [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def receive_bytes(self, count):
        """Exactly so many bytes, or None at the end of the stream."""
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                return None
            data += piece
        return bytes(data)

    # ---- frames ----

    def receive(self):
        """The next frame as (Reply, payload). Raises Closed at the end."""
        prefix = self.receive_bytes(PREFIX.size)
        if prefix is None:
            raise Closed(None)
        header_bytes, payload_bytes = PREFIX.unpack(prefix)
        if not 0 < header_bytes <= MAX_HEADER or payload_bytes > MAX_IO:
            raise AssertionError(f"a frame of {header_bytes} + {payload_bytes} bytes")
        header = self.receive_bytes(header_bytes)
        payload = self.receive_bytes(payload_bytes) if header is not None else None
        if payload is None:
            raise Closed(None)
        reply = pb.Reply.FromString(header)
        if reply.id == 0 and reply.status != pb.STATUS_OK:
            raise Closed(reply)
        return reply, payload

    # ---- requests ----

    def start(self, operation, message, payload=b"", descriptors=()):
        """Sends a request; returns its id."""
        request = pb.Request(id=self.next_id, **{operation: message})
        self.next_id += 1
        self.send_bytes(frame(request, payload), descriptors)
        return request.id

    def wait(self, request_id):
        """The reply to a request and its payload, whatever its status."""
        while request_id not in self.replies:
            reply, payload = self.receive()
            if reply.id == 0:
                self.events.append(reply.event)
            else:
                self.replies[reply.id] = (reply, payload)
        return self.replies.pop(request_id)

    def finish(self, request_id):
        """The same, but a failure raises Failed."""
        reply, payload = self.wait(request_id)
        if reply.status != pb.STATUS_OK:
            raise Failed(reply)
        return reply, payload

    def call(self, operation, message, payload=b"", descriptors=()):
        return self.finish(self.start(operation, message, payload, descriptors))

    # ---- the operations ----

    def hello(self, name="wire.py"):
        reply, _ = self.call("hello", pb.Hello(version=1, client_name=name))
        return reply.hello

    def ping(self):
        self.call("ping", pb.Ping())

    def open(self, path, descriptor=None, **config):
        """An OpenReply. With a descriptor, `path` is only a name."""
        message = pb.Open(config=pb.Config(path=path, **config), descriptor=descriptor is not None)
        descriptors = () if descriptor is None else (descriptor,)
        reply, _ = self.call("open", message, b"", descriptors)
        return reply.open

    def read(self, session, offset, length):
        message = pb.Read(session=session, offset_bytes=offset, length_bytes=length)
        _, payload = self.call("read", message)
        if len(payload) != length:
            raise AssertionError(f"{len(payload)} bytes instead of {length}")
        return payload

    def write(self, session, offset, data, flags=0):
        self.call("write", pb.Write(session=session, offset_bytes=offset, flags=flags), data)

    def flush(self, session):
        self.call("flush", pb.Flush(session=session))

    def get_info(self, session):
        reply, _ = self.call("get_info", pb.GetInfo(session=session))
        return reply.info

    def close_session(self, session):
        self.call("close", pb.Close(session=session))
