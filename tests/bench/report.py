#!/usr/bin/env python3
"""Keeps the history of a benchmark, judges its newest rows against it, and draws it.

    report.py [--subject NAME] [--tolerance SHARE] [--version V] [--settings S] [--results DIR] NAME ROWS.csv
    report.py --draw-only [--results DIR] NAME

ROWS.csv is what bench_engine or bench_files printed: columns that say what was measured, then median_per_s, min_per_s,
max_per_s and perhaps more. Each row is appended to DIR/NAME.csv with the time, the version, the settings, its spread,
its ratio to the best peer of the same run, and a verdict.

The verdict compares with the median of the earlier rows of the same measurement (at least three; else it is OK for
want of a history): FAILED when the figure is less than (1 - tolerance) of it. With peers in the run the figure is the
rate over the geometric mean of the peers' rates, so a slow day of the machine is no regression; else the rate.
The exit status is 1 when a row of the subject FAILED. DIR/NAME.html has the plots.
"""
import argparse
import csv
import html
import math
import os
import statistics
import sys
import time

ADDED_BEFORE = ["time", "version", "settings"]
ADDED_BEHIND = ["spread_percent", "ratio_to_best_peer", "relative", "verdict"]
HISTORY_MIN = 3


def read_csv(path):
    with open(path, newline="") as f:
        reader = csv.DictReader(f)
        return reader.fieldnames or [], list(reader)


def identity(row, fields):
    """What makes two rows measurements of the same thing: all that stands before the rate, and the settings."""
    what = fields[: fields.index("median_per_s")]
    return tuple([row.get("settings", "none")] + [row[c] for c in what if c != "rounds"])


def rate(row):
    return float(row["median_per_s"])


def judge(rows, fields, history, history_fields, subject, tolerance):
    """Adds the columns behind to each row."""
    who = fields[0]
    earlier = {}
    for old in history:
        earlier.setdefault(identity(old, [c for c in history_fields if c not in ADDED_BEFORE]), []).append(old)
    for row in rows:
        peers = [rate(r) for r in rows if r[who] != row[who] and identity(r, fields)[2:] == identity(row, fields)[2:] and rate(r) > 0]
        mean = math.exp(statistics.fmean(math.log(p) for p in peers)) if peers else 0
        low, high, middle = float(row["min_per_s"]), float(row["max_per_s"]), rate(row)
        row["spread_percent"] = "%.1f" % ((high - low) / middle * 50 if middle else 0)
        row["ratio_to_best_peer"] = "%.3f" % (middle / max(peers)) if peers else ""
        row["relative"] = "%.4f" % (middle / mean) if mean else ""
        past = earlier.get(identity(row, fields), [])
        column = "relative" if row["relative"] else "median_per_s"
        figures = [float(old[column]) for old in past if old.get(column)]
        bad = len(figures) >= HISTORY_MIN and float(row[column]) < (1 - tolerance) * statistics.median(figures)
        row["verdict"] = "FAILED" if bad else "OK"
    return [row for row in rows if row[who] == subject and row["verdict"] == "FAILED"]


def append(path, fields, rows):
    """Appends; a file of other columns is put aside."""
    if os.path.exists(path) and read_csv(path)[0] != fields:
        os.replace(path, path + ".before-" + time.strftime("%Y%m%d%H%M%S"))
    new = not os.path.exists(path)
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, fields, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def print_table(rows, who):
    names = list(dict.fromkeys(r[who] for r in rows))
    workloads = list(dict.fromkeys(r["workload"] for r in rows))
    print("%-18s" % "median/s" + "".join("%20s" % n for n in names))
    for w in workloads:
        cells = []
        for n in names:
            found = [r for r in rows if r[who] == n and r["workload"] == w]
            cells.append("%13.0f \u00b1%3.0f %%" % (rate(found[0]), float(found[0]["spread_percent"])) if found else " " * 20)
        print("%-18s" % w + "".join(cells))


# ---- Plots ----------------------------------------------------------------------------------------

COLOURS = ["#1b6ca8", "#c8553d", "#588157", "#9c6644", "#6d597a", "#2a9d8f", "#b5838d"]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 300, 70, 40, 24


def svg(body, title, width=WIDTH):
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" '
            'font-size="11"><text x="%d" y="15" font-size="13">%s</text>%s</svg>'
            % (width, HEIGHT, width, HEIGHT, LEFT, html.escape(title), body))


def human(n):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return "%.3g%s" % (n / size, unit)
    return "%.3g" % n


def axis(top, width=WIDTH):
    """The scale, from 0, and a function from a value to a height."""
    def y(value):
        return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)
    lines = "".join('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>'
                    % (LEFT, width - 10, y(top * i / 4), y(top * i / 4), LEFT - 6, y(top * i / 4) + 4, human(top * i / 4))
                    for i in range(5))
    return lines, y


def bars(rows, who, workload):
    """The newest run: a bar for each, with the least and most of its rounds."""
    top = max([float(r["max_per_s"]) for r in rows] + [1]) * 1.05
    body, y = axis(top)
    step = (WIDTH - LEFT - 20) / max(len(rows), 1)
    for i, r in enumerate(rows):
        x, w = LEFT + 10 + i * step, step * 0.6
        low, high, middle = float(r["min_per_s"]), float(r["max_per_s"]), rate(r)
        body += ('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>'
                 '<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#333"/>'
                 '<text x="%.1f" y="%d" text-anchor="middle">%s</text><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>'
                 % (x, y(middle), w, y(0) - y(middle), COLOURS[i % len(COLOURS)], x + w / 2, x + w / 2, y(low), y(high),
                    x + w / 2, HEIGHT - 22, html.escape(r[who]), x + w / 2, HEIGHT - 8, human(middle)))
    return svg(body, workload + ", operations per second")


def lines(rows, who, workload):
    """The history: a line for each, run by run; runs that FAILED are marked."""
    times = list(dict.fromkeys(r["time"] for r in rows))
    names = list(dict.fromkeys(r[who] for r in rows))
    top = max([rate(r) for r in rows] + [1]) * 1.05
    body, y = axis(top)
    def x(when):
        return LEFT + 10 + times.index(when) * (WIDTH - LEFT - 40) / max(len(times) - 1, 1)
    for i, name in enumerate(names):
        mine = [r for r in rows if r[who] == name]
        colour = COLOURS[i % len(COLOURS)]
        body += '<polyline fill="none" stroke="%s" stroke-width="%s" points="%s"/>' % (
            colour, 2.5 if i == 0 else 1.2, " ".join("%.1f,%.1f" % (x(r["time"]), y(rate(r))) for r in mine))
        for r in mine:
            failed = r["verdict"] == "FAILED"
            body += '<circle cx="%.1f" cy="%.1f" r="%d" fill="%s"><title>%s %s %s/s %s</title></circle>' % (
                x(r["time"]), y(rate(r)), 5 if failed else 3, "#d00" if failed else colour, html.escape(r["version"]),
                html.escape(r["time"]), human(rate(r)), r["verdict"])
        body += '<text x="%d" y="%d" fill="%s">%s</text>' % (LEFT + 10 + i * 110, HEIGHT - 8, colour, html.escape(name))
    return svg(body, workload + ", run by run")


def draw(directory, name):
    fields, rows = read_csv(os.path.join(directory, name + ".csv"))
    who = [c for c in fields if c not in ADDED_BEFORE][0]
    kinds = {}
    for r in rows:
        kinds.setdefault(identity(r, [c for c in fields if c not in ADDED_BEFORE])[0:1] +
                         identity(r, [c for c in fields if c not in ADDED_BEFORE])[2:], []).append(r)
    plots = os.path.join(directory, name)
    os.makedirs(plots, exist_ok=True)
    page = ["<!doctype html><meta charset=utf-8><title>%s</title><style>body{font-family:sans-serif;margin:2em}"
            "table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right}.FAILED{color:#d00;font-weight:bold}"
            "</style><h1>Benchmark: %s</h1>" % (name, name)]
    for i, (kind, of_kind) in enumerate(kinds.items()):
        newest = max(r["time"] for r in of_kind)
        last = [r for r in of_kind if r["time"] == newest]
        measured = [c for c in fields[: fields.index("median_per_s")] if c not in ADDED_BEFORE + [who, "workload", "rounds"]]
        title = "%s (%s)" % (last[0]["workload"], ", ".join(["%s %s" % (c, last[0][c]) for c in measured] +
                             ([kind[0]] if kind[0] != "none" else [])))
        for suffix, text in (("bars", bars(last, who, title)), ("history", lines(of_kind, who, title))):
            with open(os.path.join(plots, "%03d-%s-%s.svg" % (i, last[0]["workload"], suffix)), "w") as f:
                f.write(text)
        columns = [c for c in fields if c not in ("settings", "workload")]
        page.append("<h2>%s</h2>%s%s<table><tr>%s</tr>" % (html.escape(title), bars(last, who, title), lines(of_kind, who, title),
                    "".join("<th>%s</th>" % html.escape(c) for c in columns)))
        for r in last:
            page.append("<tr>%s</tr>" % "".join("<td class=%s>%s</td>" % (r["verdict"] if c == "verdict" else "x",
                                                                        html.escape(r[c])) for c in columns))
        page.append("</table>")
    path = os.path.join(directory, name + ".html")
    with open(path, "w") as f:
        f.write("\n".join(page))
    return path


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--subject", default="wombat")
    p.add_argument("--tolerance", type=float, default=float(os.environ.get("WOMBAT_BENCH_TOLERANCE", "0.3")))
    p.add_argument("--version", default="unknown")
    p.add_argument("--settings", default="none")
    p.add_argument("--results", default="benchmark_results")
    p.add_argument("--draw-only", action="store_true")
    p.add_argument("name")
    p.add_argument("rows", nargs="?")
    a = p.parse_args()
    if a.draw_only:
        print(draw(a.results, a.name))
        return 0
    if not a.rows:
        p.error("ROWS.csv is missing")
    fields, rows = read_csv(a.rows)
    path = os.path.join(a.results, a.name + ".csv")
    history_fields, history = read_csv(path) if os.path.exists(path) else ([], [])
    all_fields = ADDED_BEFORE + fields + ADDED_BEHIND
    if history_fields != all_fields:
        history = []
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for row in rows:
        row.update(time=now, version=a.version, settings=a.settings)
    failed = judge(rows, fields, history, history_fields, a.subject, a.tolerance)
    os.makedirs(a.results, exist_ok=True)
    append(path, all_fields, rows)
    print_table(rows, fields[0])
    print("plots: %s" % draw(a.results, a.name))
    for row in failed:
        print("FAILED: %s is more than %.0f %% below its history" % (row["workload"], 100 * a.tolerance))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
