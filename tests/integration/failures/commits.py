#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Flushes share syncs (contract S4): how many are really issued, as the daemon counts them and as they
are seen from outside. Nothing here is about speed, but that a sync takes its time."""

import unittest

import failing
import faults
import support
from support import SECTOR, pb

CLIENTS = 32
ROUNDS = 10


class Commits(failing.FailingTest):
    config = "[daemon]\nworkers = 2\n"
    exit_status = 0

    def setUp(self):
        with faults.engine("sync=delay:5ms"):
            super().setUp()

    def commit(self, clients, rounds, path):
        """Each client writes, waits, flushes, waits; all of them beside each other. Returns the
        device's entry, taken while all have it open."""
        sessions = [client.open_path(path) for client in clients]
        for number in range(rounds):
            writes = [client.start_write(session, i * SECTOR, bytes([number + 1]) * SECTOR)
                      for i, (client, session) in enumerate(zip(clients, sessions))]
            flushes = []
            for client, session, write in zip(clients, sessions, writes):
                client.finish(write)
                flushes.append(client.start("flush", pb.Flush(session=session)))
            for client, flush in zip(clients, flushes):
                client.finish(flush)
        for i, (client, session) in enumerate(zip(clients, sessions)):
            self.assertEqual(client.get_info(session).unsynced_changes, 0)
            self.assertEqual(client.read(session, i * SECTOR, SECTOR), bytes([rounds]) * SECTOR)
        return self.device(clients[0], sessions[0])

    def assert_adds_up(self, entry, flushes):
        counters = entry.counters
        self.assertEqual(entry.sync.flushes_asked, flushes)
        self.assertEqual(counters.flushes, flushes)
        self.assertEqual(counters.syncs_issued + counters.flushes_shared + counters.flushes_elided,
                         flushes)

    def test_many_committers_share_few_syncs(self):
        entry = self.commit([self.client() for _ in range(CLIENTS)], ROUNDS, self.image())
        self.assert_adds_up(entry, CLIENTS * ROUNDS)
        # At least one a round, since each round's writes are after the one before.
        self.assertGreaterEqual(entry.counters.syncs_issued, ROUNDS)
        self.assertLess(entry.counters.syncs_issued, CLIENTS * ROUNDS // 3)
        self.assertGreaterEqual(entry.sync.last_sync_us, 5000)

    def test_one_committer_shares_with_nobody(self):
        entry = self.commit([self.client()], ROUNDS, self.image())
        self.assert_adds_up(entry, ROUNDS)
        self.assertEqual(entry.counters.syncs_issued, ROUNDS)

    def test_flushes_of_nothing_are_elided(self):
        client = self.client()
        path = self.image()
        session = client.open_path(path)
        for _ in range(ROUNDS):
            client.flush(session)
        entry = self.device(client, session)
        self.assert_adds_up(entry, ROUNDS)
        # The first one, of a device that is born unsynced.
        self.assertEqual(entry.counters.syncs_issued, 1)
        self.assertEqual(entry.counters.flushes_elided, ROUNDS - 1)

    def test_a_change_by_another_session_ends_the_eliding(self):
        writer, flusher = self.client(), self.client()
        path = self.image()
        writing = writer.open_path(path, sync=pb.SYNC_NONE)
        flushing = flusher.open_path(path)
        flusher.flush(flushing)
        for operation in (lambda: writer.write(writing, 0, b"x" * SECTOR),
                          lambda: writer.discard(writing, 0, SECTOR),
                          lambda: writer.zero(writing, 0, SECTOR),
                          lambda: writer.resize(writing, 4 * support.MIB)):
            before = self.device(flusher, flushing).counters.syncs_issued
            operation()
            writer.flush(writing)
            self.assertEqual(self.device(flusher, flushing).counters.syncs_issued, before,
                             "with sync none a flush does nothing")
            flusher.flush(flushing)
            self.assertEqual(self.device(flusher, flushing).counters.syncs_issued, before + 1)

    @support.needs_root
    @support.needs("strace")
    def test_what_is_counted_is_what_is_issued(self):
        path = self.image()
        trace = failing.Trace(self, "trace=fdatasync,fsync,sync_file_range,syncfs")
        entry = self.commit([self.client() for _ in range(CLIENTS)], ROUNDS, path)
        trace.end()
        self.assertEqual(trace.calls("fdatasync"), entry.counters.syncs_issued)
        for other in ("fsync", "sync_file_range", "syncfs"):
            self.assertEqual(trace.calls(other), 0)
        self.assertLess(entry.counters.syncs_issued, CLIENTS * ROUNDS // 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
