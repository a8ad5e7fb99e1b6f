"""What came out: medians, and how ours stands beside each other tool's."""

import os
import platform
from statistics import median

from world import PLACES

OURS = "dxf"
# How much more than the build before a case may take.
MARGIN = 1.03


class Result:
    """The runs of a case: by tool a list of usages, or why it failed."""

    def __init__(self, case, title):
        self.case = case
        self.title = title
        self.runs = {}
        self.failed = {}

    def median(self, tool, what):
        return median(getattr(usage, what) for usage in self.runs[tool])

    def ratio(self, tool, what):
        """Ours divided by that tool's, run by run: both had the same weather."""
        pairs = zip(self.runs[OURS], self.runs[tool])
        ratios = [getattr(ours, what) / max(getattr(theirs, what), 1e-9) for ours, theirs in pairs]
        return median(ratios)


HEAD = """\
| | | wall s | CPU s | peak MiB | requests | wall of dxf beside it | CPU |
|---|---|---:|---:|---:|---:|---:|---:|"""


def regressions(results, before):
    """A line for each figure that is more than the margin above that tool's."""
    lines = []
    for result in results:
        if before not in result.runs or OURS not in result.runs:
            continue
        for what in ("wall", "cpu", "peak", "requests"):
            ratio = result.ratio(before, what)
            if ratio > MARGIN:
                lines.append(f"{result.title}: {what} is {ratio:.2f} times that of {before}")
    return lines


def table(results):
    """A Markdown table."""
    lines = [HEAD]
    for result in results:
        title = result.title
        for tool in result.runs:
            lines.append(row(result, title, tool))
            title = ""
        for tool in result.failed:
            lines.append(f"| {title} | {tool} | failed | | | | | |")
            title = ""
    return "\n".join(lines)


def row(result, title, tool):
    numbers = [digits(result.median(tool, what)) for what in ("wall", "cpu")]
    numbers.append(f"{result.median(tool, 'peak'):.0f}")
    numbers.append(f"{result.median(tool, 'requests'):.0f}")
    ratios = ["", ""]
    if tool != OURS and OURS in result.runs:
        ratios = [shown(result.ratio(tool, what)) for what in ("wall", "cpu")]
    return "| " + " | ".join([title, tool, *numbers, *ratios]) + " |"


def shown(ratio):
    """Bold where ours took more, beyond what differs from run to run."""
    return f"**{ratio:.2f}**" if ratio > MARGIN else f"{ratio:.2f}"


def slower(results):
    """Each result in which another tool took less, with the tool and of what."""
    for result in results:
        for tool in result.runs:
            for what in ("wall", "cpu"):
                if tool != OURS and OURS in result.runs and result.ratio(tool, what) > MARGIN:
                    yield result, tool, what


def unexplained(results):
    """A line for each figure of another tool that is better for no known reason."""
    for result, tool, what in slower(results):
        if not result.case.reason(tool, what):
            yield f"{result.case.name}: {tool} takes less ({what}), and cases.py does not say why"


def title(place, options):
    """What stands above the table of a place."""
    return place.title.format(latency=options.latency)


def digits(seconds):
    """Three that count, and no more than the clock knows."""
    return f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}" if seconds >= 0.1 else f"{seconds:.4f}"


def machine():
    """What it was measured on, in a line."""
    name = platform.machine()
    extensions = set()
    with open("/proc/cpuinfo") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                extensions = set(value.split())
    hashing = "with" if extensions & {"sha_ni", "sha2"} else "without"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{len(os.sched_getaffinity(0))} cores of {name}, {hashing} SHA extensions, "
        f"{memory:.0f} GiB of memory, {platform.system()} {platform.release()}"
    )


def document(results, tools, options):
    """The whole report as Markdown."""
    versions = ", ".join(f"{tool.name} {tool.version()}" for tool in tools if tool.versioned)
    parts = [
        f"Measured on {machine()}, over plain http on loopback where nothing else is said, with the storage of "
        f"{os.path.basename(options.registry)} in memory and files on disk. {versions}. Medians of {options.runs} runs in turn after a "
        "warm-up; ratios are medians of those within each turn.",
    ]
    for place in PLACES:
        there = [result for result in results if result.case.place == place]
        if there and place.title:
            parts.append(title(place, options))
        if there:
            parts.append(table(there))
    reasons = (result.case.reason(tool, what) for result, tool, what in slower(results))
    reasons = list(dict.fromkeys(filter(None, reasons)))
    if reasons:
        parts.append("Bold: the other tool is faster.\n\n" + "\n".join(f"- {reason}" for reason in reasons))
    return "\n\n".join(parts) + "\n"
