#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What compare says about figures: demands, tables and the chart, without measuring anything."""

import sys
import types
import unittest
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True

import chart  # noqa: E402
import report  # noqa: E402
from contestants import CONTESTANTS  # noqa: E402
from rows import ROWS, Row, at_least, excess_within, idle_within, median_within  # noqa: E402

CALIBRATION = {"wake_other_cpu_us": 30.0, "wake_same_cpu_us": 3.0, "spin_other_cpu_ns": None,
               "yield_same_cpu_ns": 900.0, "pread_4k_ns": 600, "nproc": 2, "governor": "none",
               "kernel": "6.1", "machine": "x86_64"}
SVG = "{http://www.w3.org/2000/svg}"


def median(iops, p50_us=10.0, **more):
    return {"iops": iops, "iops_min": iops, "iops_max": iops, "bytes_per_second": iops * 4096,
            "p50_us": p50_us, "p99_us": p50_us * 2, "p9999_us": p50_us * 9, "client_cpu_us": 1.5,
            "server_cpu_us": 2.5, **more}


def row(*demands, **more):
    return Row("ring", "tmpfs", "randread", 4096, 8, ("direct", "blkd"), demands, **more)


def measured(entries):
    """A report of rows and their medians, as compare makes it."""
    arguments = types.SimpleNamespace(rounds=3, seconds=1.0, placement="unpinned", engine=None,
                                      command="compare --rows 'a<b'", markdown=None, json=None)
    made = report.Report(arguments, CALIBRATION)
    for each, medians in entries:
        made.add(each, {}, medians)
    return made


def document(entries):
    return measured(entries).as_json(CALIBRATION)


def bars(drawn):
    """(contestant, width) of every bar, in order."""
    return [(rect.get("class"), float(rect.get("width")))
            for rect in ElementTree.fromstring(drawn).iter(f"{SVG}rect")
            if float(rect.get("x", 0)) == chart.LEFT]


class Rows(unittest.TestCase):
    def test_names_are_unique(self):
        names = [each.name for each in ROWS]
        self.assertEqual(len(names), len(set(names)))

    def test_all_contestants_are_known_and_have_a_colour(self):
        for each in ROWS:
            self.assertLessEqual(set(each.contestants), CONTESTANTS.keys(), each.name)
            self.assertLessEqual(set(each.contestants), chart.COLOURS.keys(), each.name)
            self.assertLessEqual(set(each.contestants), set(report.COLUMNS), each.name)

    def test_demands_are_about_contestants_of_their_row(self):
        for each in ROWS:
            for demand in each.demands:
                self.assertLessEqual(demand.contestants(), set(each.contestants), each.name)

    def test_each_tier_has_the_rows_of_the_other_kinds(self):
        for tier in ("socket", "ring"):
            mine = [each for each in ROWS if each.tier == tier]
            self.assertEqual(sorted(each.clients for each in mine
                                    if each.depth == 8 and each.block_bytes == 4096
                                    and not each.idle), [1, 4, 16, 64, 256])
            self.assertEqual([each.clients for each in mine if each.idle == 10000], [64])


class Demands(unittest.TestCase):
    def verdicts(self, demand, **medians):
        return [verdict["met"] for verdict in report.judge(row(demand), medians, CALIBRATION)]

    def test_ratio(self):
        demand = at_least("blkd", "direct", 0.8)
        self.assertEqual(self.verdicts(demand, blkd=median(80), direct=median(100)), [True])
        self.assertEqual(self.verdicts(demand, blkd=median(79), direct=median(100)), [False])

    def test_without_the_other_there_is_no_verdict(self):
        self.assertEqual(self.verdicts(at_least("blkd", "direct", 0.8), blkd=median(80)), [])

    def test_median(self):
        self.assertEqual(self.verdicts(median_within("blkd", 3), blkd=median(1, 3.0)), [True])
        self.assertEqual(self.verdicts(median_within("blkd", 3), blkd=median(1, 3.1)), [False])

    def test_excess_may_have_a_wake_up_where_the_device_takes_longer_than_polling(self):
        demand = excess_within("blkd", "uring", 5)
        for uring, blkd, met in ((40, 45, True), (40, 46, False), (60, 95, True), (60, 96, False)):
            self.assertEqual(self.verdicts(demand, blkd=median(1, blkd), uring=median(1, uring)),
                             [met], (uring, blkd))

    def test_idle(self):
        demands = idle_within("blkd", 16, 1)
        for kib, cpu, met in ((16, 1, [True, True]), (17, 0, [False, True]),
                              (1, 2, [True, False])):
            medians = {"blkd": median(1, idle_kib=kib, idle_cpu=cpu)}
            self.assertEqual([verdict["met"] for verdict in
                              report.judge(row(*demands), medians, CALIBRATION)], met)


class Tables(unittest.TestCase):
    def test_idle_connections_have_a_table_where_there_are_any(self):
        idle = {"blkd": median(5000, idle_kib=1.5, idle_cpu=0.25)}
        self.assertEqual(len(measured([(row(), {"blkd": median(1)})]).tables()), 2)
        tables = measured([(row(clients=64, idle=9), idle)]).tables()
        self.assertEqual(tables[2][1], [["ring tmpfs randread 4k d8 c64 idle9", "blkd",
                                         "1.50 KiB", "0.25 %"]])

    def test_figures_show_ratios_and_verdicts(self):
        made = measured([(row(at_least("blkd", "direct", 0.8)),
                          {"direct": median(2000), "blkd": median(1000)})])
        self.assertEqual(made.figures()[1][0][1:], ["2.0 k/s", "1.0 k/s", "0.50",
                                                    "blkd/direct >= 0.8: 0.50", "MISSED"])
        self.assertFalse(made.all_met())


class Chart(unittest.TestCase):
    def test_a_bar_for_each_contestant_in_one_order(self):
        drawn = chart.svg(document([(row(), {"direct": median(200), "blkd": median(100)})]))
        self.assertEqual([name for name, _ in bars(drawn)], ["blkd", "direct"])

    def test_small_ratios_are_linear(self):
        (_, blkd), (_, direct) = bars(chart.svg(document(
            [(row(), {"direct": median(200), "blkd": median(100)})])))
        self.assertAlmostEqual(direct / blkd, 2, places=2)

    def test_large_ratios_are_logarithmic(self):
        drawn = chart.svg(document([(row(), {"blkd": median(1000), "direct": median(10000)}),
                                    (row(), {"blkd": median(100000)})]))
        widths = sorted(width for _, width in bars(drawn))
        self.assertAlmostEqual(widths[1] - widths[0], widths[2] - widths[1], delta=0.2)
        self.assertGreater(widths[0], 0)
        self.assertIn("logarithmic", drawn)

    def test_figures_legend_command_and_machine_are_written(self):
        drawn = chart.svg(document([(row(), {"direct": median(212345), "blkd": median(1e5)})]))
        written = [each.text for each in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
        for text in ("212.3 k/s", "pread, pwrite", "blkd", "ring tmpfs randread 4k d8",
                     "compare --rows 'a<b'"):
            self.assertIn(text, written)
        self.assertTrue(any("kernel 6.1" in text for text in written))

    def test_a_figure_stands_behind_its_bar_also_where_more_is_demanded(self):
        for demands in ((), (at_least("blkd", "direct", 0.52),)):
            drawn = chart.svg(document([(row(*demands),
                                         {"direct": median(20000), "blkd": median(10000)})]))
            end = chart.LEFT + bars(drawn)[0][1]
            at = [float(each.get("x")) for each in ElementTree.fromstring(drawn).iter(f"{SVG}text")
                  if each.text == "10.0 k/s" and each.get("class") == "v"]
            self.assertEqual(len(at), 1)
            mark = chart.Scale([20000, 10000]).x(10400) if demands else end
            self.assertTrue(mark < at[0] < mark + 20, (mark, at))

    def test_what_is_demanded_is_marked_on_its_bar(self):
        medians = {"direct": median(200), "blkd": median(100)}
        marks = [sum('class="d"' in line for line in chart.svg(document([(each, medians)]))
                     .splitlines()) for each in (row(), row(at_least("blkd", "direct", 0.75)))]
        self.assertEqual(marks, [1, 2])  # the legend's, and the row's
        scale = chart.Scale([200, 100])
        self.assertIn(f'M{chart.number(scale.x(150))} ', chart.svg(document(
            [(row(at_least("blkd", "direct", 0.75)), medians)])))

    def test_the_whole_comparison_is_small_and_the_same_each_time(self):
        entries = [(each, {name: median(1000 + 97 * len(name) * (i + 1), idle_kib=1, idle_cpu=0)
                           for name in each.contestants}) for i, each in enumerate(ROWS)]
        drawn = chart.svg(document(entries))
        self.assertEqual(drawn, chart.svg(document(entries)))
        self.assertLess(len(drawn), 60 * 1024)
        ElementTree.fromstring(drawn)

    def test_a_long_legend_is_wrapped(self):
        entry = (row(), {name: median(1000 + i) for i, name in enumerate(chart.COLOURS)})
        tree = ElementTree.fromstring(chart.svg(document([entry])))
        keys = [rect for rect in tree.iter(f"{SVG}rect") if rect.get("height") == "10"
                and rect.get("width") == "10"]
        self.assertEqual(len(keys), len(chart.COLOURS))
        self.assertGreater(len({key.get("y") for key in keys}), 1)
        labels = [each for each in tree.iter(f"{SVG}text") if not each.get("class")]
        self.assertTrue(all(float(each.get("x")) + 6 * len(each.text) < chart.WIDTH
                            for each in labels))
        self.assertLess(max(float(key.get("y")) for key in keys),
                        min(float(rect.get("y")) for rect in tree.iter(f"{SVG}rect")
                            if rect.get("x") == str(chart.LEFT)))

    def test_nothing_measured_is_said(self):
        with self.assertRaisesRegex(chart.ChartError, "nothing to draw"):
            chart.svg(document([]))


if __name__ == "__main__":
    unittest.main()
