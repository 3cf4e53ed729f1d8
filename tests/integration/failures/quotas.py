#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Too many of something: refused, and the connection lives."""

import os
import unittest

import support
from support import KIB, MIB, SECTOR, pb, wire


class Quotas(support.FailureTest):
    config = ("[limits]\nsessions-per-connection = 5\nsessions-per-uid = 8\n"
              "requests-per-connection = 4\nconnections-per-uid = 6\n")

    def test_sessions_of_a_connection(self):
        client = self.client()
        path = self.image()
        sessions = [client.open_path(path) for _ in range(5)]
        for _ in range(3):
            message = self.assert_failed("EDQUOT", client.open_path, path)
        self.assertIn("connection", message)
        client.write(sessions[0], 0, bytes(SECTOR))
        client.close_session(sessions[0])
        client.open_path(path)

    def test_sessions_of_a_connection_counted_while_they_open(self):
        client = self.client()
        config = pb.Config(path=os.fsencode(self.image()))
        for _ in range(3):
            client.start("open", pb.Open(config=config))
        client.ping()
        replies = [client.wait(i)[0] for i in range(2, 5)]
        self.assertEqual([reply.status for reply in replies], [pb.STATUS_OK] * 3)

    def test_sessions_of_a_user(self):
        first, second = self.client(), self.client()
        path = self.image()
        for _ in range(5):
            first.open_path(path)
        sessions = [second.open_path(path) for _ in range(3)]
        self.assertIn("user", self.assert_failed("EDQUOT", second.open_path, path))
        second.close_session(sessions[0])
        second.open_path(path)
        first.close()
        watcher = self.client()
        support.wait_until(lambda: len(watcher.sessions()) == 3, "the first one's sessions are gone")
        for _ in range(2):
            second.open_path(path)

    def test_refused_openings_give_back_what_they_counted(self):
        client = self.client()
        missing = os.path.join(self.directory, "missing")
        for _ in range(20):
            self.assert_failed("ENOENT", client.open_path, missing)
            self.assert_failed("EINVAL", client.open_path, self.image("odd.img", 1000))
        path = self.image()
        for _ in range(5):
            client.open_path(path)

    @support.needs_fuse
    @support.needs("nbdkit", "nbdfuse")
    def test_requests_in_flight(self):
        hung = support.NbdImage(self, "hung", "memory", "64M")
        client = self.client()
        session = client.open_path(hung.path)
        hung.pause()
        self.addCleanup(hung.resume)
        ids = [client.start_read(session, i * MIB, 4 * KIB) for i in range(4)]
        try:
            for operation, payload in [(client.start_read(session, 0, SECTOR), None),
                                       (client.start_write(session, 0, bytes(MIB)), None)]:
                reply, _ = client.wait(operation)
                self.assertEqual(reply.status, pb.STATUS_EDQUOT, reply.message)
            # An open that is refused for that does not take the connection with its descriptor.
            with open(self.image()) as file:
                self.assert_failed("EDQUOT", client.open, b"", descriptor=file.fileno())
        finally:
            hung.resume()
        for request_id in ids:
            client.finish(request_id)
        with open(self.image()) as file:
            client.close_session(client.open(b"", descriptor=file.fileno()).session)

    def test_an_open_without_a_configuration_does_not_take_the_connection(self):
        client = self.client()
        descriptors = self.daemon.descriptors()
        with open(self.image()) as file:
            request_id = client.start("open", pb.Open(descriptor=True), b"", [file.fileno()])
        self.assertEqual(client.wait(request_id)[0].status, pb.STATUS_EINVAL)
        client.ping()
        self.wait_descriptors(descriptors)

    def test_connections_of_a_user(self):
        clients = [self.client() for _ in range(6)]
        for _ in range(3):
            refused = self.client(greet=False)
            reason = refused.wait_closed()
            self.assertEqual(reason.status, pb.STATUS_EDQUOT)
            self.assertIn("user", reason.message)
        for client in clients:
            client.ping()
        clients.pop().close()
        support.wait_until(self.connects, "there is room again")

    def connects(self):
        client = support.Client(self.daemon, greet=False)
        try:
            client.hello()
            return True
        except (wire.Closed, BrokenPipeError):
            return False
        finally:
            client.close()


if __name__ == "__main__":
    unittest.main()
