# SPDX-License-Identifier: MIT
"""What is compared, and what is demanded of blkd: the goals of docs/performance.md.

A row is one workload on one kind of image; a demand compares two contestants of the row, or one with a
fixed bound. Adding a row here is all that it takes to measure it.
"""

from dataclasses import dataclass

KIB = 1024
POLLED_US = 50  # the longest that either side polls unless it is told otherwise


@dataclass(frozen=True)
class Demand:
    """A figure of `left`, alone or over (ratio) or minus (excess) that of `right`, against a bound."""

    kind: str  # "ratio": throughput left/right >= bound; "excess": p50 left-right <= bound, to
    #            which a wake-up is added where the device takes longer than anybody polls;
    #            "median": p50 of left <= bound (microseconds); "idle_kib", "idle_cpu": what the
    #            server has for each idle connection, and uses of a CPU (%) with only those, <= bound
    left: str
    right: str
    bound: float

    def text(self):
        return {
            "ratio": f"{self.left}/{self.right} >= {self.bound:g}",
            "excess": f"p50 {self.left}-{self.right} <= {self.bound:g} us (and a wake-up, if "
                      f"{self.right} takes over {POLLED_US} us)",
            "median": f"p50 {self.left} <= {self.bound:g} us",
            "idle_kib": f"{self.left} has <= {self.bound:g} KiB for an idle connection",
            "idle_cpu": f"{self.left} uses <= {self.bound:g} % of a CPU for all idle ones",
        }[self.kind]

    def contestants(self):
        return {self.left, self.right} - {""}

    def value(self, medians):
        """What was measured, from the medians of each contestant."""
        if self.kind == "ratio":
            return medians[self.left]["iops"] / medians[self.right]["iops"]
        if self.kind == "excess":
            return medians[self.left]["p50_us"] - medians[self.right]["p50_us"]
        return medians[self.left][{"median": "p50_us"}.get(self.kind, self.kind)]

    def passed(self, medians, wake_us):
        """Whether it is met, where a wake-up takes wake_us."""
        value = self.value(medians)
        if self.kind == "ratio":
            return value >= self.bound
        waits = self.kind == "excess" and medians[self.right]["p50_us"] > POLLED_US
        return value <= self.bound + (wake_us if waits else 0)


def at_least(left, right, bound):
    return Demand("ratio", left, right, bound)


def median_within(left, bound_us):
    return Demand("median", left, "", bound_us)


def excess_within(left, right, bound_us):
    return Demand("excess", left, right, bound_us)


def idle_within(left, kib, cpu_percent):
    return Demand("idle_kib", left, "", kib), Demand("idle_cpu", left, "", cpu_percent)


@dataclass(frozen=True)
class Row:
    tier: str  # of libblkd: "socket" or "ring"
    place: str  # "tmpfs" or "disk": where the image is
    rw: str
    block_bytes: int
    depth: int
    contestants: tuple
    demands: tuple = ()
    clients: int = 1
    o_direct: bool = False
    idle: int = 0  # connections with the device open that do nothing meanwhile
    sync_delay_ms: int = 0  # that blkd's syncs are made to take
    note: str = ""

    @property
    def name(self):
        parts = [self.tier, self.place + ("+direct" if self.o_direct else ""), self.rw]
        if self.rw != "flush":
            parts.append(f"{self.block_bytes // KIB}k")
        parts.append(f"d{self.depth}")
        if self.clients > 1:
            parts.append(f"c{self.clients}")
        if self.idle:
            parts.append(f"idle{self.idle}")
        if self.sync_delay_ms:
            parts.append(f"sync{self.sync_delay_ms}ms")
        return " ".join(parts + ([self.note] if self.note else []))


ALL = ("direct", "blkd", "nbdkit", "qsd")
UNCACHED = ("uring", "direct", "blkd", "qsd")  # nbdkit's file plugin has no O_DIRECT
NO_POLLING = ("direct", "blkd-nopoll", "nbdkit", "qsd")
POLLING_OR_NOT = ("blkd", "blkd-nopoll", "nbdkit")
COMMITS = ("direct", "group", "blkd", "blkd-one", "nbdkit", "qsd")
SCALING = ("direct", "blkd", "nbdkit")
SCALES = (1, 4, 16, 64, 256)


def rows_of_socket():
    for rw in ("randread", "randwrite"):
        yield Row("socket", "tmpfs", rw, 4 * KIB, 32, ALL, (at_least("blkd", "nbdkit", 2.5),))
    yield Row("socket", "tmpfs", "randread", 4 * KIB, 1, ALL, (at_least("blkd", "nbdkit", 3),))
    yield Row("socket", "tmpfs", "randread", 4 * KIB, 1, NO_POLLING,
              (at_least("blkd-nopoll", "nbdkit", 0.8),), note="no polling")
    for rw in ("read", "write"):
        yield Row("socket", "tmpfs", rw, 256 * KIB, 8, ALL, (at_least("blkd", "nbdkit", 1.3),))
    yield Row("socket", "tmpfs", "randread", 4 * KIB, 32, POLLING_OR_NOT,
              (at_least("blkd", "blkd-nopoll", 0.95),), clients=8)
    yield from rows_of_disk("socket", {})
    yield from rows_of_many("socket")


def rows_of_ring():
    fast = (at_least("blkd", "direct", 0.8), at_least("blkd", "nbdkit", 5),
            at_least("blkd", "qsd", 12))
    quick = (at_least("blkd", "nbdkit", 12), median_within("blkd", 3))
    for rw in ("randread", "randwrite"):
        yield Row("ring", "tmpfs", rw, 4 * KIB, 32, ALL, fast)
    for rw in ("randread", "randwrite"):
        yield Row("ring", "tmpfs", rw, 4 * KIB, 1, ALL, quick)
    for rw in ("read", "write"):
        yield Row("ring", "tmpfs", rw, 256 * KIB, 8, ALL, (at_least("blkd", "direct", 0.9),))
    yield Row("ring", "tmpfs", "flush", 4 * KIB, 1, ALL, (median_within("blkd", 5),))
    yield Row("ring", "tmpfs", "randread", 4 * KIB, 32, POLLING_OR_NOT,
              (at_least("blkd", "blkd-nopoll", 0.95),), clients=8)
    yield from rows_of_disk("ring", {
        ("randread", 32): fast,
        ("randread", 1): quick,
        ("randwrite", 32): (at_least("blkd", "direct", 0.6),),
        ("randwrite", 1): (at_least("blkd", "nbdkit", 1),),
        ("randread", 32, "direct"): (at_least("blkd", "uring", 0.9),),
        ("randwrite", 32, "direct"): (at_least("blkd", "uring", 0.9),),
        ("randread", 1, "direct"): (excess_within("blkd", "uring", 5),),
        ("randwrite", 1, "direct"): (excess_within("blkd", "uring", 5),),
    })
    yield from rows_of_many("ring")


def rows_of_disk(tier, demands):
    """Cached and uncached; for the tier's demands, if it has any, else for information."""
    for rw in ("randread", "randwrite"):
        for depth in (32, 1):
            yield Row(tier, "disk", rw, 4 * KIB, depth, ALL, demands.get((rw, depth), ()))
    for rw in ("randread", "randwrite"):
        for depth in (32, 1):
            yield Row(tier, "disk", rw, 4 * KIB, depth, UNCACHED,
                      demands.get((rw, depth, "direct"), ()), o_direct=True)
    yield Row(tier, "disk", "writeflush", 4 * KIB, 1, COMMITS, (at_least("blkd", "group", 0.8),),
              clients=32)
    yield Row(tier, "disk", "writeflush", 4 * KIB, 1, ("blkd", "blkd-one"),
              (at_least("blkd", "blkd-one", 12),), clients=32, sync_delay_ms=5)


def rows_of_many(tier):
    for clients in SCALES:
        yield Row(tier, "tmpfs", "randread", 4 * KIB, 8, SCALING, clients=clients)
    yield Row(tier, "tmpfs", "randread", 4 * KIB, 8, ("blkd", "blkd-alone"),
              idle_within("blkd", 16, 1), clients=64, idle=10000)


ROWS = (*rows_of_socket(), *rows_of_ring())
