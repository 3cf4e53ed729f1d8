#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Syncs that the fault engine makes slow or fails: `--engine fault:ENGINE:sync...`."""

import unittest

import failing
import faults
import locking
import support
from support import SECTOR, pace, pb


class FaultyTest(support.FailureTest):
    """A daemon with `rules` for the engine that the tests are run with."""

    config = "[daemon]\nworkers = 1\n"
    rules = ""

    def setUp(self):
        with faults.engine(self.rules):
            super().setUp()

    def open_written(self, memory=False):
        """On tmpfs a sync is done by the worker itself, if nothing is to go wrong with it."""
        client = self.client()
        session = client.open_path(self.image(memory=memory))
        client.write(session, 0, b"s" * SECTOR)
        return client, session


class Outsider(locking.LockTest):
    def test_what_was_written_before_a_lock_is_synced_by_the_next_flush(self):
        """An outsider who keeps to flock(2) may have written while nobody had it locked."""
        client = self.client()
        session = client.open_path(self.image())
        client.write(session, 0, b"s" * SECTOR)
        client.flush(session)
        for round_number in range(1, 3):
            client.lock(session)
            client.flush(session)
            self.assertEqual(client.devices()[0].counters.syncs_issued, 1 + round_number)
            client.flush(session)
            self.assertEqual(client.devices()[0].counters.syncs_issued, 1 + round_number,
                             "nobody can have written")
            client.unlock(session)


class SlowSync(FaultyTest):
    DELAY_SECONDS = 2
    rules = f"sync=delay:{DELAY_SECONDS}s"

    def delay(self, memory):
        client, session = self.open_written(memory)
        watch = pace.Watch()
        flush = client.start("flush", pb.Flush(session=session))
        self.assertEqual(client.read(session, 0, SECTOR), b"s" * SECTOR)
        if watch.seconds() < self.DELAY_SECONDS:
            self.assertNotIn(flush, client.replies, "the flush was over before the read")
        self.assert_took(watch, self.DELAY_SECONDS, "a read beside a flush")
        client.finish(flush)
        self.assertGreaterEqual(watch.seconds(), self.DELAY_SECONDS)

    def test_only_its_own_flush_waits(self):
        self.delay(memory=False)

    def test_only_its_own_flush_waits_on_memory(self):
        self.delay(memory=True)


class FailedSync(FaultyTest):
    rules = "sync@2=EIO"
    exit_status = 1

    def fail_second(self, memory):
        client, session = self.open_written(memory)
        client.flush(session)
        client.write(session, 0, bytes(SECTOR))
        self.assert_failed("EIO", client.flush, session)
        self.assertTrue(client.get_info(session).failed)

    def test_the_device_fails(self):
        self.fail_second(memory=False)

    def test_the_device_fails_on_memory(self):
        self.fail_second(memory=True)


class KilledSync(FaultyTest):
    """S10: whoever is killed in a sync may be the only one who would have heard that it failed."""

    rules = "sync@2=delay:600s"
    exit_status = None

    def setUp(self):
        super().setUp()
        self.path = self.image()

    def changed(self):
        """The first sync is of what was there before, the second would be of a change."""
        client = self.client()
        session = client.open_path(self.path)
        client.flush(session)
        client.write(session, 0, b"t" * SECTOR)
        return client, session

    def restart(self, rules=""):
        self.daemon.kill()
        with faults.engine(rules or "sync@100=EIO"):
            self.daemon = self.start_daemon(self.config, self.daemon.directory)
        client = self.client()
        return client, client.open_path(self.path)

    def test_the_device_fails_until_it_is_recovered(self):
        client, session = self.changed()
        client.start("flush", pb.Flush(session=session))
        support.wait_until(lambda: client.devices()[0].sync.running, "the sync")
        client, session = self.restart()
        self.assertEqual(len(self.daemon.log_lines("device-failed")), 1, self.daemon.log())
        self.assertTrue(client.get_info(session).failed)
        self.assertEqual(client.devices()[0].sync.failed, pb.STATUS_EOWNERDEAD)
        self.assert_failed("EIO", client.flush, session)
        self.assert_failed("EIO", client.write, session, 0, bytes(SECTOR))
        client, session = self.restart()
        self.assertTrue(client.get_info(session).failed, "the second death has made it sound")
        client.close_session(session)
        failing.recover(client, self.path)
        client, session = self.restart()
        self.assertFalse(client.get_info(session).failed)
        client.flush(session)
        self.exit_status = 0

    def test_what_was_only_unsynced_is_synced_by_the_next_close(self):
        self.changed()
        client, session = self.restart("sync@1=EIO")
        self.assertFalse(client.get_info(session).failed)
        client.close_session(session)
        session = client.open_path(self.path)
        self.assertTrue(client.get_info(session).failed, "the close has issued no sync")
        self.exit_status = 1

    def test_what_was_synced_is_not(self):
        client = self.client()
        session = client.open_path(self.path)
        client.write(session, 0, b"t" * SECTOR)
        client.flush(session)
        client, session = self.restart("sync@1=EIO")
        client.close_session(session)
        session = client.open_path(self.path)
        self.assertFalse(client.get_info(session).failed, "the close has issued a sync")
        self.exit_status = 0


class OtherRules(FaultyTest):
    rules = "any@2+=EIO"

    def test_a_sync_is_not_any(self):
        client, session = self.open_written()
        client.flush(session)
        self.assert_failed("EIO", client.write, session, 0, bytes(SECTOR))


if __name__ == "__main__":
    unittest.main(verbosity=2)
