#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A FUSE server that has stopped: who uses it waits, and nobody else does."""

import concurrent.futures
import os
import signal
import unittest

import support
from support import KIB, MIB, SECTOR, NbdImage, pb


@support.needs_fuse
@support.needs("nbdkit", "nbdfuse", "losetup")
class HungFuse(support.FailureTest):
    config = "[daemon]\nworkers = 1\ndrain-timeout-ms = 500\n"

    def setUp(self):
        super().setUp()
        self.hung = NbdImage(self, "hung", "memory", "64M")
        self.before = self.daemon.descriptors()
        self.victim = self.client("victim")
        self.beside = self.client("beside")

    def tearDown(self):
        self.hung.resume()
        super().tearDown()

    def hang(self, server_only=False):
        """The victim has everything in flight on the stopped server. Returns the requests' ids."""
        a = self.victim
        session = a.open_path(self.hung.path)
        a.write(session, 0, bytes(64 * KIB))
        self.hung.pause(server_only)
        ids = []
        for i in range(40):
            ids.append(a.start_read(session, i * MIB, 4 * KIB))
            ids.append(a.start_write(session, i * MIB + 8 * KIB, b"w" * 4 * KIB))
        for _ in range(8):
            ids.append(a.start("flush", pb.Flush(session=session)))
            ids.append(a.start("discard", pb.Discard(session=session, length_bytes=32 * MIB)))
            ids.append(a.start("seek", pb.Seek(session=session)))
            ids.append(a.start("open", pb.Open(config=pb.Config(path=os.fsencode(self.hung.path)))))
        support.wait_until(lambda: self.beside.devices()[0].in_flight > 0, "I/O in flight")
        return ids

    def everything(self, path, block_device=False):
        """Each operation on another image, in time."""
        b = self.beside
        def timed(what, function, *arguments, **more):
            return self.assert_within(1, f"{what} of {path}", function, *arguments, **more)
        for direct in (False, True):
            session = timed("open", b.open_path, path, direct=direct, lock=True)
            size = b.get_info(session).size_sectors * b.get_info(session).sector_size
            data = os.urandom(64 * KIB)
            for _ in range(3):
                timed("write", b.write, session, MIB, data)
                self.assertEqual(timed("read", b.read, session, MIB, len(data)), data)
                timed("FUA write", b.write, session, 0, data, flags=pb.WRITE_FLAG_FUA)
                timed("flush", b.flush, session)
                timed("discard", b.discard, session, MIB, 64 * KIB)
                self.assertEqual(timed("read", b.read, session, MIB, 64 * KIB), bytes(64 * KIB))
            timed("seek", b.call, "seek", pb.Seek(session=session))
            if not block_device:
                timed("resize", b.resize, session, size + MIB)
                timed("resize", b.resize, session, size)
            timed("close", b.close_session, session)
        timed("list", b.sessions)
        timed("connect", self.connect_and_ping)

    def connect_and_ping(self):
        with support.Client(self.daemon) as client:
            client.ping()

    def everything_everywhere(self):
        self.everything(self.image("ext4.img", 4 * MIB))
        self.everything(self.image("tmpfs.img", 4 * MIB, memory=True))
        self.everything(self.loop(self.image("loop.img", 4 * MIB)), block_device=True)

    def test_others_go_on_beside_hung_io(self):
        ids = self.hang()
        self.everything_everywhere()
        self.hung.resume()
        for request_id in ids:
            reply, _ = self.victim.wait(request_id)
            self.assertEqual(reply.status, pb.STATUS_OK, reply.message)

    def test_others_go_on_beside_a_stopped_server_behind_fuse(self):
        self.hang(server_only=True)
        self.everything_everywhere()
        self.hung.resume()

    def test_a_victim_that_dies_is_reclaimed_when_its_io_ends(self):
        def victim(report):
            self.victim = support.Client(self.daemon, "victim")
            self.hang()
            report(b"x")
            signal.pause()
        self.victim.close()
        pid, read_end = support.fork_client(victim)
        self.assertEqual(os.read(read_end, 1), b"x")
        support.kill_client(pid, read_end)
        self.everything_everywhere()
        self.assertEqual(len(self.beside.sessions()), 1, "its I/O has not ended yet")
        self.hung.resume()
        support.wait_until(lambda: not self.beside.sessions(), "the session is gone")
        support.wait_until(lambda: not self.beside.devices(), "the device is closed")
        self.beside.close()
        self.wait_descriptors(self.before)

    def test_sigterm_gives_up_at_the_drain_limit_and_a_successor_waits_for_its_io(self):
        """The kernel itself keeps the process until its descriptors are flushed. The daemon has
        given up, but what it has in flight can still land: so its successor serves nobody yet."""
        self.hang()
        daemon, self.daemon = self.daemon, None
        daemon.signal(signal.SIGTERM)
        self.assert_within(5, "giving up", daemon.wait_log, "stop-timeout")
        self.assertEqual(len(daemon.log_lines("stop-timeout")), 1, daemon.log())
        support.wait_until(lambda: not os.path.exists(daemon.socket_path),
                           "the socket file is gone")
        support.wait_until(lambda: support.process_exits(daemon.process.pid),
                           "it is dead, but for what hangs")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self.start_daemon, self.config, directory=daemon.directory)
            try:
                daemon.wait_log("state-waits")
                self.assertFalse(os.path.exists(daemon.socket_path))
            finally:
                self.hung.resume()
            self.daemon = starting.result()
        self.client().ping()
        self.assertEqual(daemon.wait(), 1)


if __name__ == "__main__":
    unittest.main()
