#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a name means: a path alone, as programs without libblkd may send it, is served only where it is sure to
mean the same file to the program as to the daemon."""

import ctypes
import os
import unittest

import support
import wire
from support import pb

CLONE_NEWNS = 0x20000


def unshare_mounts():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


class Names(support.FailureTest):
    def in_child(self, go, function):
        """What function(client) answers in a process that connects and then goes elsewhere."""
        def child(report):
            client = support.Client(self.daemon)
            go()
            try:
                report(f"done {function(client)}".encode())
            except wire.Failed as failure:
                report(str(failure).encode())
        pid, read_end = support.fork_client(child)
        try:
            return os.read(read_end, 65536).decode()
        finally:
            support.kill_client(pid, read_end)

    def ask(self, go):
        path = self.image()
        return (self.in_child(go, lambda client: client.open_path(path)),
                self.in_child(go, lambda client: client.call(
                    "who", pb.Who(path=os.fsencode(path)))[0].who.device))

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_a_path_alone_is_served_in_the_same_place(self):
        for answer in self.ask(lambda: None):
            self.assertRegex(answer, "^done ")

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_a_path_alone_is_refused_in_another_mount_namespace(self):
        for answer in self.ask(unshare_mounts):
            self.assertRegex(answer, "^EACCES: .*pass the descriptor")

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_a_path_alone_is_refused_in_another_root_directory(self):
        for answer in self.ask(lambda: os.chroot(self.memory)):
            self.assertRegex(answer, "^EACCES: .*pass the descriptor")


if __name__ == "__main__":
    unittest.main()
