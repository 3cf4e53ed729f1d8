# SPDX-License-Identifier: MIT
"""What is compared, and what is demanded of blkd: the table of DESIGN section 8.

A row is one workload on one kind of image; a demand compares two contestants of the row, or one with a
fixed bound. Adding a row here is all that it takes to measure it.
"""

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True)
class Demand:
    """`measure` of `left`, over (ratio) or minus (excess) that of `right`, against a bound."""

    kind: str  # "ratio": throughput left/right >= bound; "excess": p50 left-right <= bound;
    #            "median": p50 of left <= bound (microseconds)
    left: str
    right: str
    bound: float

    def text(self):
        if self.kind == "ratio":
            return f"{self.left}/{self.right} >= {self.bound:g}"
        if self.kind == "excess":
            return f"p50 {self.left}-{self.right} <= {self.bound:g} us"
        return f"p50 {self.left} <= {self.bound:g} us"

    def contestants(self):
        return {self.left, self.right} - {""}

    def value(self, medians):
        """What was measured, from the medians of each contestant."""
        if self.kind == "ratio":
            return medians[self.left]["iops"] / medians[self.right]["iops"]
        value = medians[self.left]["p50_us"]
        return value - medians[self.right]["p50_us"] if self.kind == "excess" else value

    def passed(self, value):
        return value >= self.bound if self.kind == "ratio" else value <= self.bound


def at_least(left, right, bound):
    return Demand("ratio", left, right, bound)


def median_within(left, bound_us):
    return Demand("median", left, "", bound_us)


def excess_within(left, right, bound_us):
    return Demand("excess", left, right, bound_us)


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
    note: str = ""

    @property
    def name(self):
        parts = [self.tier, self.place + ("+direct" if self.o_direct else ""), self.rw]
        if self.rw != "flush":
            parts.append(f"{self.block_bytes // KIB}k")
        parts.append(f"d{self.depth}")
        if self.clients > 1:
            parts.append(f"c{self.clients}")
        return " ".join(parts + ([self.note] if self.note else []))


ALL = ("direct", "blkd", "nbdkit", "qsd")
UNCACHED = ("uring", "direct", "blkd", "qsd")  # nbdkit's file plugin has no O_DIRECT
NO_POLLING = ("direct", "blkd-nopoll", "nbdkit", "qsd")
POLLING_OR_NOT = ("blkd", "blkd-nopoll", "nbdkit")
COMMITS = ("direct", "blkd", "blkd-one", "nbdkit", "qsd")


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


def rows_of_disk(tier, demands):
    """Cached and uncached; for the tier's demands, if it has any, else for information."""
    for rw in ("randread", "randwrite"):
        for depth in (32, 1):
            yield Row(tier, "disk", rw, 4 * KIB, depth, ALL, demands.get((rw, depth), ()))
    for rw in ("randread", "randwrite"):
        for depth in (32, 1):
            yield Row(tier, "disk", rw, 4 * KIB, depth, UNCACHED,
                      demands.get((rw, depth, "direct"), ()), o_direct=True)
    yield Row(tier, "disk", "writeflush", 4 * KIB, 1, COMMITS, clients=32)


ROWS = (*rows_of_socket(), *rows_of_ring())
