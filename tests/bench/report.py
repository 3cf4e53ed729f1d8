# SPDX-License-Identifier: MIT
"""The tables of a comparison: figures and ratios beside what is demanded, latency and CPU time, and the
machine. For a terminal, as markdown, and as JSON."""

import json

COLUMNS = ("direct", "group", "uring", "blkd", "blkd-nopoll", "blkd-one", "blkd-alone", "nbdkit",
           "qsd")
RATIOS = ("direct", "group", "uring", "nbdkit", "qsd")
LARGE_BLOCK = 64 * 1024  # from here on, bytes a second say more than operations


def throughput(row, median):
    if row.rw != "flush" and row.block_bytes >= LARGE_BLOCK:
        return f"{median['bytes_per_second'] / 2**20:.0f} MiB/s"
    return f"{median['iops'] / 1000:.1f} k/s" if median["iops"] >= 1000 else f"{median['iops']:.0f}/s"


def judge(row, medians, calibration):
    """One entry for each demand whose contestants were run."""
    wake_us = calibration["wake_other_cpu_us"] or calibration["wake_same_cpu_us"]
    for demand in row.demands:
        if demand.contestants() <= medians.keys():
            yield {"demand": demand.text(), "value": demand.value(medians),
                   "met": demand.passed(medians, wake_us)}


def demanded_iops(row, medians):
    """The most that any demand of a ratio asks of what it is about, by name."""
    demanded = {}
    for demand in row.demands:
        if demand.kind == "ratio" and demand.contestants() <= medians.keys():
            iops = demand.bound * medians[demand.right]["iops"]
            demanded[demand.left] = max(iops, demanded.get(demand.left, 0))
    return demanded


def as_text(header, lines):
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in [header, *lines])


def as_markdown(header, lines):
    return "\n".join("| " + " | ".join(line) + " |"
                     for line in [header, ["---"] * len(header), *lines])


def used(columns, entries):
    return [name for name in columns if any(name in entry["medians"] for entry in entries)]


class Report:
    def __init__(self, arguments, calibration):
        self.arguments = arguments
        self.before = calibration
        self.entries = []
        self.document = None  # what --json writes, once it is finished

    def add(self, row, results, medians):
        self.entries.append({"row": row, "results": results, "medians": medians,
                             "verdicts": list(judge(row, medians, self.before))})

    def all_met(self):
        return all(verdict["met"] for entry in self.entries for verdict in entry["verdicts"])

    def figures(self):
        """Throughput of each, then blkd (or what stands for it) over the others."""
        names = used(COLUMNS, self.entries)
        ratios = used(RATIOS, self.entries)
        header = ["row", *names, *(f"blkd/{name}" for name in ratios), "demanded", "verdict"]
        lines = []
        for entry in self.entries:
            row, medians = entry["row"], entry["medians"]
            blkd = medians.get("blkd") or medians.get("blkd-nopoll")
            line = [row.name]
            line += [throughput(row, medians[n]) if n in medians else "" for n in names]
            line += [f"{blkd['iops'] / medians[n]['iops']:.2f}" if blkd and n in medians else ""
                     for n in ratios]
            line.append("; ".join(f"{v['demand']}: {v['value']:.2f}" for v in entry["verdicts"]))
            line.append(" ".join("met" if v["met"] else "MISSED" for v in entry["verdicts"]))
            lines.append(line)
        return header, lines

    def costs(self):
        """Microseconds: percentiles, and CPU time for an operation of client + server."""
        names = used(COLUMNS, self.entries)
        header = ["row", *(f"{name} p50/p99/p99.99, CPU us" for name in names)]
        lines = []
        for entry in self.entries:
            line = [entry["row"].name]
            for name in names:
                median = entry["medians"].get(name)
                line.append(f"{median['p50_us']:.1f}/{median['p99_us']:.1f}/"
                            f"{median['p9999_us']:.1f}, "
                            f"{median['client_cpu_us']:.1f}+{median['server_cpu_us']:.1f}"
                            if median else "")
            lines.append(line)
        return header, lines

    def idle(self):
        """What the idle connections cost the server."""
        header = ["row", "server", "memory for each", "CPU with only those"]
        return header, [
            [entry["row"].name, name, f"{median['idle_kib']:.2f} KiB", f"{median['idle_cpu']:.2f} %"]
            for entry in self.entries for name, median in entry["medians"].items()
            if "idle_kib" in median]

    def tables(self):
        return [table for table in (self.figures(), self.costs(), self.idle()) if table[1]]

    def machine(self, after):
        def line(when, c):
            def known(value):
                return "-" if value is None else value
            return (f"{when}: wake-up {known(c['wake_other_cpu_us'])} us to another CPU, "
                    f"{c['wake_same_cpu_us']} us on the same; a word to a thread that spins "
                    f"{known(c['spin_other_cpu_ns'])} ns, to one that yields "
                    f"{c['yield_same_cpu_ns']} ns; cached 4 KiB pread {c['pread_4k_ns']} ns")

        c = self.before
        return "\n".join([
            f"machine: kernel {c['kernel']}, {c['machine']}, {c['nproc']} CPUs, governor "
            f"{c['governor']}; {self.arguments.rounds} rounds of {self.arguments.seconds:g} s, "
            f"{self.arguments.placement}, engine {self.arguments.engine or 'default'}",
            line("before", c), line("after", after)])

    def finish(self, after):
        self.document = self.as_json(after)
        for table in self.tables():
            print(as_text(*table), end="\n\n")
        print(self.machine(after))
        if self.arguments.markdown:
            self.arguments.markdown.write_text("\n\n".join(
                [*(as_markdown(*table) for table in self.tables()),
                 self.machine(after).replace("\n", "  \n")]) + "\n")
        if self.arguments.json:
            self.arguments.json.write_text(json.dumps(self.document, indent=1) + "\n")

    def as_json(self, after):
        return {
            "command": self.arguments.command,
            "machine": self.machine(after).splitlines()[0],
            "calibration_before": self.before,
            "calibration_after": after,
            "placement": self.arguments.placement,
            "engine": self.arguments.engine,
            "rounds": self.arguments.rounds,
            "seconds": self.arguments.seconds,
            "rows": [{"name": entry["row"].name,
                      "throughput": {name: throughput(entry["row"], median)
                                     for name, median in entry["medians"].items()},
                      "demanded_iops": demanded_iops(entry["row"], entry["medians"]),
                      "medians": entry["medians"],
                      "demands": entry["verdicts"], "results": entry["results"]}
                     for entry in self.entries],
        }
