# SPDX-License-Identifier: MIT
"""A comparison as a bar chart: throughput of each contestant, row by row, from what `compare --json` writes.

The SVG is written by hand: the same figures give the same bytes with any version of any program, in a
file that is small enough to be kept beside the documentation.
"""

import math
import shutil
import subprocess
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH = 960
LEFT, RIGHT = 290, 800  # of the bars; names are before, figures after
BAR, GAP = 11, 9  # heights: of a bar, between rows
LINE = 16
FIGURE = 60  # width of what is written behind a bar
TITLE_COLUMNS = 140
LOG_FROM = 20  # largest over smallest: from here on a linear scale hides the small ones

# Okabe and Ito's palette (and a brown), which people with any colour vision can tell apart. blkd
# stands out.
COLOURS = {
    "blkd": "#d55e00", "blkd-nopoll": "#e69f00", "blkd-one": "#8c510a", "blkd-alone": "#f0e442",
    "direct": "#999999", "uring": "#56b4e9", "group": "#cc79a7", "nbdkit": "#0072b2",
    "qsd": "#009e73",
}
LEGENDS = {
    "direct": "pread, pwrite", "uring": "io_uring", "group": "group commit",
    "blkd-nopoll": "blkd, no polling", "blkd-one": "blkd, one client",
    "blkd-alone": "blkd, none idle", "qsd": "qemu-storage-daemon",
}


class ChartError(Exception):
    """A chart cannot be made; says why."""


class Scale:
    """Where a number of operations a second lies between LEFT and RIGHT."""

    def __init__(self, values):
        self.highest = max(values)
        self.logarithmic = self.highest / min(values) >= LOG_FROM
        # Below the smallest by a factor of two or more, so that its bar can be seen.
        self.lowest = 10 ** math.floor(math.log10(min(values)) - 0.3) if self.logarithmic else 0

    def x(self, value):
        if self.logarithmic:
            part = math.log(value / self.lowest) / math.log(self.highest / self.lowest)
        else:
            part = value / self.highest
        return LEFT + part * (RIGHT - LEFT)

    def ticks(self):
        if self.logarithmic:
            decade = self.lowest
            while decade <= self.highest:
                yield decade
                decade *= 10
        else:
            step = 10 ** math.floor(math.log10(self.highest))
            step = step / 5 if self.highest / step < 2 else step
            for i in range(int(self.highest / step) + 1):
                yield i * step


def short(value):
    for size, suffix in ((1e6, " M/s"), (1e3, " k/s")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}/s"


def number(value):
    return f"{value:.1f}".rstrip("0").rstrip(".")


def text(x, y, content, kind=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{number(x)}" y="{number(y)}"{kind}>{escape(content)}</text>'


def contestants(row):
    """In the order of the legend, whatever the order in which they were run."""
    return [name for name in COLOURS if row["medians"].get(name)]


def head(document, scale):
    """Title and scale; the next free line's y."""
    lines = ["blkd compared: " + ("operations in a second, on a logarithmic scale"
                                  if scale.logarithmic else "operations in a second")]
    for note in (document["command"], document["machine"]):
        lines += textwrap.wrap(note, TITLE_COLUMNS)
    out = [text(10, LINE * (i + 1.3), line, "" if i else "t") for i, line in enumerate(lines)]
    return out, LINE * (len(lines) + 2)


def legend(names, y):
    """As many lines as it takes; the last one's y."""
    out, x = [], 10
    for name in [*names, "demanded"]:
        label = LEGENDS.get(name, name)
        width = 34 + 6.2 * len(label)
        if x + width > WIDTH:
            x, y = 10, y + LINE
        if name in COLOURS:
            out.append(f'<rect class="{name}" x="{number(x)}" y="{y - 9}" width="10" '
                       'height="10"/>')
        else:
            out.append(f'<path class="d" d="M{number(x + 5)} {y - 10}v12"/>')
        out.append(text(x + 14, y, label))
        x += width
    return out, y


def bars(row, scale, y):
    """One row's bars from y on; the next free y."""
    names = contestants(row)
    height = BAR * len(names)
    out = [text(10, y + height / 2 + 4, row["name"])]
    for name in names:
        x = scale.x(row["medians"][name]["iops"])
        out.append(f'<rect class="{name}" x="{LEFT}" y="{y}" width="{number(x - LEFT)}" '
                   f'height="{BAR - 1}"/>')
        end = x
        wanted = row["demanded_iops"].get(name)
        if wanted and scale.lowest < wanted <= scale.highest:
            at = scale.x(wanted)
            out.append(f'<path class="d" d="M{number(at)} {y - 1}v{BAR + 1}"/>')
            end = at if x < at < x + FIGURE else x
        out.append(text(end + 4, y + BAR - 2, row["throughput"][name], "v"))
        y += BAR
    return out, y + GAP


def grid(scale, top, bottom):
    out = []
    for value in scale.ticks():
        x = scale.x(value)
        out.append(f'<path class="g" d="M{number(x)} {top}V{bottom}"/>')
        out += [text(x, y, short(value), "m") for y in (top - 4, bottom + 12)]
    return out


def style(names):
    fills = "".join(f".{name}{{fill:{COLOURS[name]}}}" for name in names)
    return ("<style>text{font:11px sans-serif;fill:#222}.t{font:bold 14px sans-serif}"
            ".v{font-size:9.5px}.m{font-size:9.5px;text-anchor:middle}.g{stroke:#ddd}"
            f".d{{stroke:#000;stroke-width:2}}{fills}</style>")


def svg(document):
    """The chart as text."""
    rows = [row for row in document["rows"] if contestants(row)]
    if not rows:
        raise ChartError("there is nothing to draw: no row has any figures")
    names = [name for name in COLOURS if any(name in row["medians"] for row in rows)]
    scale = Scale([row["medians"][name]["iops"] for row in rows for name in contestants(row)])
    title, y = head(document, scale)
    keys, y = legend(names, y)
    top = y = y + 2 * LINE
    y += GAP
    drawn = []
    for row in rows:
        lines, y = bars(row, scale, y)
        drawn += lines
    height = y + 2 * LINE
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">',
        style(names), '<rect width="100%" height="100%" fill="#fff"/>',
        *title, *keys, *grid(scale, top, y), *drawn, "</svg>"]) + "\n"


def write(document, path):
    """Into a file named .svg, or .png with the help of rsvg-convert."""
    drawn = svg(document)
    if Path(path).suffix == ".svg":
        Path(path).write_text(drawn, encoding="utf-8")
        return
    program = shutil.which("rsvg-convert")
    if not program:
        raise ChartError(f"cannot write {path}: rsvg-convert is not installed (Debian package "
                         "librsvg2-bin); install it or name a file .svg")
    done = subprocess.run([program, "--zoom=2", f"--output={path}"], input=drawn, text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise ChartError(f"cannot write {path}: rsvg-convert said: {done.stderr.strip()}")
