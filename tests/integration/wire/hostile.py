# SPDX-License-Identifier: MIT
"""What the tests of bad input share: a daemon, a well-behaved witness, and what must follow.

R: an error reply, the connection lives. C: a reason if possible, then the connection is closed.
After each test the witness is still served, and the daemon has as many descriptors as before.
"""

import os
import pickle
import select
import unittest

import server  # makes pace known
import pace
import wire
from wire import pb

SECTOR = 512
SECTORS = 2048
SIZE = SECTOR * SECTORS
NOBODY = 65534
SETTLE_SECONDS = 10


def pause(seconds):
    """Between two looks at what sends no event."""
    select.select([], [], [], seconds)


def as_nobody(function, then=None):
    """What the function returns in a child process that belongs to nobody.

    `then` is called when it has returned and before its process has ended.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = function()
        except Exception as error:  # pylint: disable=broad-except
            answer = error
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = pickle.load(file)
    if then:
        then()
    os.waitpid(child, 0)
    if isinstance(answer, Exception):
        raise answer
    return answer


def needs_root(test):
    return unittest.skipUnless(os.geteuid() == 0, "needs root, to be another user")(test)


def add_tests(test_class, prefix, cases, check):
    """A test method for each case, whose first member is its name."""
    for name, *arguments in cases:
        method = f"test_{prefix}_{name.replace(' ', '_')}"
        if hasattr(test_class, method):
            raise ValueError(f"two cases named {name}")
        setattr(test_class, method,
                lambda self, arguments=tuple(arguments): check(self, *arguments))


class HostileTest(unittest.TestCase):
    """self.connection is the ill-behaved one: greeted, with self.session open on self.image."""

    config = ""

    @classmethod
    def setUpClass(cls):
        cls.daemon = server.Daemon(cls.config, 0o666)
        cls.addClassCleanup(cls.daemon.stop)
        cls.witness = wire.Connection(cls.daemon.socket_path)
        cls.addClassCleanup(cls.witness.close)
        cls.witness.hello("witness")
        cls.witness_session = cls.witness.open(cls.make_image("witness.img")).session

    @classmethod
    def make_image(cls, name):
        path = os.path.join(cls.daemon.directory, name)
        with open(path, "wb") as file:
            file.truncate(SIZE)
        return os.fsencode(path)

    def setUp(self):
        pace.look()
        self.check_witness()
        # Cleanups run last in, first out: when this one runs, all connections are closed.
        self.addCleanup(self.settle, "descriptors", self.daemon.descriptors,
                        self.daemon.descriptors())
        self.addCleanup(self.check_witness)
        self.image = self.make_image("image")
        self.connection = self.greeted()
        self.session = self.connection.open(self.image).session

    def connect(self):
        connection = wire.Connection(self.daemon.socket_path)
        self.addCleanup(connection.close)
        return connection

    def greeted(self):
        connection = self.connect()
        connection.hello("hostile")
        return connection

    def settle(self, what, measure, expected):
        watch = pace.Watch()
        while measure() > expected and watch.within(SETTLE_SECONDS):
            pause(0.01)
        self.assertLessEqual(measure(), expected, what)

    def check_witness(self):
        data = os.urandom(SECTOR)
        self.witness.write(self.witness_session, SECTOR, data)
        self.assertEqual(self.witness.read(self.witness_session, SECTOR, SECTOR), data)

    def expect_failure(self, status, function, *arguments, **keywords):
        with self.assertRaises(wire.Failed) as context:
            function(*arguments, **keywords)
        self.assertEqual(context.exception.status, status, context.exception)
        self.assertTrue(context.exception.message, "no message")
        return context.exception.message

    def expect_lives(self, connection):
        connection.ping()

    def expect_closed(self, connection, status):
        """Other replies may come before the reason."""
        with self.assertRaises(wire.Closed) as context:
            while True:
                connection.receive()
        reason = context.exception.reason
        self.assertIsNotNone(reason, "no reason was given")
        self.assertEqual(wire.status_name(reason.status), status, reason.message)
        self.assertTrue(reason.message, "no message")
        self.assertIsNone(connection.receive_bytes(1), "something came behind the reason")

    def expect_answer(self, status, operation, message, payload=b"", descriptors=()):
        """R: this status, no payload, and the connection goes on."""
        request_id = self.connection.start(operation, message, payload, descriptors)
        reply, data = self.connection.wait(request_id)
        self.assertEqual(wire.status_name(reply.status), status, reply.message)
        self.assertTrue(reply.message, "no message")
        self.assertEqual(data, b"")
        self.expect_lives(self.connection)
        return reply.message
