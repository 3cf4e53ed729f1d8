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


class Labels(support.FailureTest):
    def test_a_path_is_a_label_unless_it_leads_to_the_file(self):
        path, other = self.image(), self.image("other.img")
        client = self.client()
        for name, kind in [(path, "VERIFIED"), (other, "LABEL"), ("disk.img", "LABEL"),
                           (os.path.join(self.directory, "missing"), "LABEL")]:
            fd = os.open(path, os.O_RDWR)
            client.call("open", pb.Open(descriptor=True,
                                        config=pb.Config(path=os.fsencode(name))), b"", (fd,))
            os.close(fd)
            self.assertEqual(client.sessions()[-1].path_kind,
                             pb.NameKind.Value(f"NAME_KIND_{kind}"), name)

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_who_may_not_look_is_not_told_where_a_path_leads(self):
        nobody = support.AsNobody(self)
        path = self.image()
        os.chmod(path, 0o666)

        def kinds():
            with support.Client(self.daemon) as client:
                fd = os.open(path, os.O_RDWR)
                client.call("open", pb.Open(descriptor=True,
                                            config=pb.Config(path=os.fsencode(path))), b"", (fd,))
                return [entry.path_kind for entry in client.sessions()]
        self.assertEqual(nobody.run(kinds), f"done {[pb.NAME_KIND_UNKNOWN]}")


if __name__ == "__main__":
    unittest.main()
