# SPDX-License-Identifier: MIT
"""The tables of a comparison: figures and ratios beside what is demanded, latency and CPU time, and the
machine. For a terminal, as markdown, and as JSON."""

import json

COLUMNS = ("direct", "uring", "blkd", "blkd-nopoll", "blkd-one", "nbdkit", "qsd")
RATIOS = ("direct", "uring", "nbdkit", "qsd")
LARGE_BLOCK = 64 * 1024  # from here on, bytes a second say more than operations


def throughput(row, median):
    if row.rw != "flush" and row.block_bytes >= LARGE_BLOCK:
        return f"{median['bytes_per_second'] / 2**20:.0f} MiB/s"
    return f"{median['iops'] / 1000:.1f} k/s"


def judge(row, medians):
    """One entry for each demand whose contestants were run."""
    for demand in row.demands:
        if demand.contestants() <= medians.keys():
            value = demand.value(medians)
            yield {"demand": demand.text(), "value": value, "met": demand.passed(value)}


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

    def add(self, row, results, medians):
        self.entries.append({"row": row, "results": results, "medians": medians,
                             "verdicts": list(judge(row, medians))})

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
        """p50/p99 in microseconds, and CPU microseconds an operation of client + server."""
        names = used(COLUMNS, self.entries)
        header = ["row", *(f"{name} p50/p99, CPU us" for name in names)]
        lines = []
        for entry in self.entries:
            line = [entry["row"].name]
            for name in names:
                median = entry["medians"].get(name)
                line.append(f"{median['p50_us']:.1f}/{median['p99_us']:.1f}, "
                            f"{median['client_cpu_us']:.1f}+{median['server_cpu_us']:.1f}"
                            if median else "")
            lines.append(line)
        return header, lines

    def machine(self, after):
        def line(when, c):
            other = c["wake_other_cpu_us"]
            return (f"{when}: wake-up {'-' if other is None else other} us to another CPU, "
                    f"{c['wake_same_cpu_us']} us on the same; cached 4 KiB pread "
                    f"{c['pread_4k_ns']} ns")

        c = self.before
        return "\n".join([
            f"machine: kernel {c['kernel']}, {c['machine']}, {c['nproc']} CPUs, governor "
            f"{c['governor']}; {self.arguments.rounds} rounds of {self.arguments.seconds:g} s, "
            f"{self.arguments.placement}, engine {self.arguments.engine or 'default'}",
            line("before", c), line("after", after)])

    def finish(self, after):
        for table in (self.figures(), self.costs()):
            print(as_text(*table), end="\n\n")
        print(self.machine(after))
        if self.arguments.markdown:
            self.arguments.markdown.write_text("\n\n".join(
                [as_markdown(*self.figures()), as_markdown(*self.costs()),
                 self.machine(after).replace("\n", "  \n")]) + "\n")
        if self.arguments.json:
            self.arguments.json.write_text(json.dumps(self.as_json(after), indent=1) + "\n")

    def as_json(self, after):
        return {
            "calibration_before": self.before,
            "calibration_after": after,
            "placement": self.arguments.placement,
            "engine": self.arguments.engine,
            "rounds": self.arguments.rounds,
            "seconds": self.arguments.seconds,
            "rows": [{"name": entry["row"].name, "medians": entry["medians"],
                      "demands": entry["verdicts"], "results": entry["results"]}
                     for entry in self.entries],
        }
