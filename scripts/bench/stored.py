"""What is kept: the tables in README.md that --write puts there and --check
reads, and the runs of a measurement that --keep continues."""

import json
import os
from dataclasses import asdict

import report
from measure import Usage

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md")
# How much worse a figure may get. The tables round, which must not count.
ROOM = 1.1
ROUNDED = {"wall": 0.005, "cpu": 0.005, "peak": 0.5, "requests": 0.5}


class NoTable(Exception):
    """A file without the tables or runs that are looked for."""


def marks(name):
    return f"<!-- {name}: written by scripts/bench, do not edit -->\n", f"<!-- end of {name} -->\n"


def section(path, name):
    """What stands between the marks of `name`."""
    begin, end = marks(name)
    with open(path) as file:
        _, found, rest = file.read().partition(begin)
    text, closed, _ = rest.partition(end)
    if not found or not closed:
        raise NoTable(f"{path} has no section {begin.strip()}")
    return text


def replace(path, name, text):
    """Puts `text` between the marks of `name`; a new file has nothing else."""
    begin, end = marks(name)
    whole = begin + end
    if os.path.exists(path):
        section(path, name)
        with open(path) as file:
            whole = file.read()
    before, _, rest = whole.partition(begin)
    with open(path, "w") as file:
        file.write(f"{before}{begin}{text.strip()}\n{end}{rest.partition(end)[2]}")


def keep(path, about, results):
    """Writes the runs of `results` to a file, with what they were measured on."""
    cases = {result.case.name: kept(result) for result in results}
    with open(f"{path}.new", "w") as file:
        json.dump({"about": about, "cases": cases}, file)
    os.replace(f"{path}.new", path)


def kept(result):
    runs = {tool: [asdict(usage) for usage in usages] for tool, usages in result.runs.items()}
    return {"title": result.title, "runs": runs, "failed": result.failed}


def continued(path, about, cases):
    """The results that `keep` wrote, of those cases; none without a file, and
    `NoTable` if it is about other programs or sizes."""
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        known = json.load(file)
    if known["about"] != about:
        raise NoTable(f"{path} has runs of other programs or with other options: remove it, or name another file")
    results = {}
    for case in cases:
        if case.name in known["cases"]:
            one = known["cases"][case.name]
            result = results[case.name] = report.Result(case, one["title"])
            result.runs = {tool: [Usage(**usage) for usage in usages] for tool, usages in one["runs"].items()}
            result.failed = one["failed"]
    return results


def figures(text):
    """The tables' figures: by what stands above the table, title and tool."""
    known, place, title = {}, "", ""
    for line in text.splitlines():
        place = line if line.endswith(":") else place
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or len(cells) != 8 or cells[2] in ("wall s", "failed"):
            continue
        title = cells[0] or title
        names = {"peak": cells[4], "requests": cells[5], "wall": cells[6], "cpu": cells[7]}
        known[place, title, cells[1]] = {name: float(cell) for name, cell in names.items() if cell}
    return known


def worse(results, known, options):
    """A line for each figure of ours that is worse than the table's by more than a
    tenth: time beside each other tool, and memory and requests as they are."""
    lines, compared = [], 0
    for result in results:
        for tool in result.runs:
            before = known.get((report.title(result.case.place, options), result.title, tool), {})
            for what in ("peak", "requests") if tool == report.OURS else ("wall", "cpu"):
                if what not in before:
                    continue
                ours = tool == report.OURS
                now = result.median(tool, what) if ours else result.ratio(tool, what)
                compared += 1
                if now > before[what] * ROOM + ROUNDED[what]:
                    beside = "" if ours else f" beside {tool}"
                    lines.append(f"{result.title}: {what}{beside} is {now:.2f}, was {before[what]:.2f}")
    if not compared:
        raise NoTable("no row of the table fits what was measured")
    return lines
