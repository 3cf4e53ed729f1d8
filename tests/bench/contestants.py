# SPDX-License-Identifier: MIT
"""The ways to a device that are compared: how each one's server is started, and what blkd-bench is told.

A server lives from start() to stop(); it also dies with this process, however that dies.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

START_SECONDS = 10
STOP_SECONDS = 20
PR_SET_PDEATHSIG = 1
# blkd's quota of shared memory is made for users with fewer clients than this; each is given so much.
ARENA_CLIENTS = 200
ARENA_MIB = 8
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """Something that the user has to know about and that ends the comparison."""


class RunFailure(Failure):
    """One row cannot be measured; others may be."""


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Contestant:
    """Reached without a server: the benchmark opens the image itself."""

    def __init__(self, context, row, image):
        self.context = context
        self.row = row
        self.image = image
        self.clients = row.clients
        self.idle = row.idle

    def start(self):
        pass

    def restart(self):
        """A server as if nobody had ever connected to it."""
        self.stop()
        self.start()

    def check_placement(self):
        pass

    def stop(self):
        pass

    def bench_arguments(self):
        raise NotImplementedError


class Direct(Contestant):
    scheme = "direct"

    def bench_arguments(self):
        return [f"--target={self.scheme}:{self.image}"] + ["--o-direct"] * self.row.o_direct


class Group(Direct):
    """One fdatasync for all threads that wait for one."""

    scheme = "group"


class Uring(Direct):
    scheme = "uring"


class Server(Contestant):
    """A program that listens on a socket of its own in the context's temporary directory."""

    program = ""
    package = ""

    def __init__(self, context, row, image):
        super().__init__(context, row, image)
        self.socket = context.directory / f"{type(self).__name__}.sock"
        self.log = context.directory / f"{type(self).__name__}.log"
        self.process = None

    def find(self):
        path = shutil.which(self.program)
        if not path:
            raise Failure(f"{self.program} is not installed (Debian package {self.package}); "
                          "install it or leave it out with --contestants")
        return path

    def command(self):
        raise NotImplementedError

    def start(self):
        command = self.context.placement("server") + self.command()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent)
        self.wait_listening(command)

    def wait_listening(self, command):
        """The three programs share no way to tell that they listen, but that a connection succeeds."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                result = probe.connect_ex(str(self.socket))
            if result == 0:
                return
            if result not in (errno.ENOENT, errno.ECONNREFUSED):
                break
            time.sleep(0.01)
        raise Failure(f"{' '.join(command)} does not listen on {self.socket}; it said:\n"
                      + self.log.read_text(errors="replace"))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.socket.unlink(missing_ok=True)

    def check_placement(self):
        """Every thread has to be where --placement wants it, also those that were started late."""
        wanted = self.context.cpus("server")
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                cpus = os.sched_getaffinity(int(task.name))
                if not cpus <= wanted:
                    raise RunFailure(
                        f"--placement={self.context.placement_name}: thread "
                        f"{(task / 'comm').read_text().strip()} of {self.command()[0]} may run on "
                        f"CPUs {sorted(cpus)}, not only on {sorted(wanted)}; this kernel does not "
                        "keep io_uring's workers where their process is, so measure unpinned")

    def bench_arguments(self):
        return [f"--server-pid={self.process.pid}"]

    def nbd_target(self, export=""):
        path = urllib.parse.quote(str(self.socket))
        return f"--target=nbd:nbd+unix:///{export}?socket={path}"


class Blkd(Server):
    polling = True

    def find(self):
        path = self.context.build / "bin" / "blkd"
        if not path.exists():
            raise Failure(f"{path} is not there; build it, name the build with --build, or leave "
                          "blkd out with --contestants")
        return str(path)

    def write_configuration(self):
        path = self.context.directory / f"{type(self).__name__}.conf"
        path.write_text(f"[limits]\narena-mib-per-uid = {ARENA_MIB * self.clients}\n")
        return path

    def command(self):
        command = [self.find(), f"--socket={self.socket}",
                   f"--state-dir={self.context.directory / type(self).__name__}.state"]
        if self.row.tier == "ring" and self.clients > ARENA_CLIENTS:
            command.append(f"--config={self.write_configuration()}")
        engine = self.context.engine
        if self.row.sync_delay_ms:
            engine = f"fault:{engine or 'io_uring'}:sync=delay:{self.row.sync_delay_ms}ms"
        if engine:
            command.append(f"--engine={engine}")
        if not self.polling:
            command.append("--busy-poll-us=0")
        return command

    def bench_arguments(self):
        device = "file://" + urllib.parse.quote(str(self.image))
        if self.row.o_direct:
            device += "?buffered=0"
        arguments = super().bench_arguments() + [
            f"--target=blkd:{device}", f"--socket={self.socket}", f"--tier={self.row.tier}"]
        return arguments + ([] if self.polling else ["--busy-poll-us=0"])


class BlkdNoPolling(Blkd):
    polling = False


class BlkdOneClient(Blkd):
    """What the same daemon does for a single client, beside a row of many."""

    def __init__(self, context, row, image):
        super().__init__(context, row, image)
        self.clients = 1


class BlkdAlone(Blkd):
    """The same without the idle connections of the row."""

    def __init__(self, context, row, image):
        super().__init__(context, row, image)
        self.idle = 0


class Nbdkit(Server):
    program = "nbdkit"
    package = "nbdkit"

    def command(self):
        return [self.find(), "--foreground", "--unix", str(self.socket), "file", str(self.image)]

    def bench_arguments(self):
        return super().bench_arguments() + [self.nbd_target()]


class QemuStorageDaemon(Server):
    program = "qemu-storage-daemon"
    package = "qemu-system-common or qemu-utils"

    def command(self):
        direct = "on" if self.row.o_direct else "off"
        filename = str(self.image).replace(",", ",,")
        path = str(self.socket).replace(",", ",,")
        return [self.find(), "--blockdev",
                f"driver=file,node-name=disk,filename={filename},aio=threads,locking=off,"
                f"cache.direct={direct},cache.no-flush=off",
                "--nbd-server", f"addr.type=unix,addr.path={path}",
                "--export", "type=nbd,id=export,node-name=disk,writable=on"]

    def bench_arguments(self):
        return super().bench_arguments() + [self.nbd_target("disk")]


CONTESTANTS = {
    "direct": Direct,
    "group": Group,
    "uring": Uring,
    "blkd": Blkd,
    "blkd-nopoll": BlkdNoPolling,
    "blkd-one": BlkdOneClient,
    "blkd-alone": BlkdAlone,
    "nbdkit": Nbdkit,
    "qsd": QemuStorageDaemon,
}


class Context:
    """What all contestants share."""

    def __init__(self, build, directory, engine, placement):
        self.build = Path(build)
        self.directory = Path(directory)
        self.engine = engine
        self.placement_name = placement

    def cpus(self, side):
        """Where a program ("server" or "bench") belongs."""
        cpus = sorted(os.sched_getaffinity(0))
        if self.placement_name == "unpinned":
            return set(cpus)
        if self.placement_name == "split" and len(cpus) < 2:
            raise Failure("--placement=split needs two CPUs")
        return {cpus[1] if self.placement_name == "split" and side == "server" else cpus[0]}

    def placement(self, side):
        """The command that puts it there; threads and processes inherit it."""
        if self.placement_name == "unpinned":
            return []
        return ["taskset", "--cpu-list", ",".join(map(str, self.cpus(side)))]
