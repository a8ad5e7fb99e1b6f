"""The same as a picture: how many times as long as ours each other tool takes.

Hand-made SVG, small, in colours that fit a light page and a dark one.
"""

import math
from xml.sax.saxutils import escape

from report import OURS
from world import FAR

WIDTH, LEFT, RIGHT = 760, 100, 50
BAR, GAP, TITLE = 13, 4, 20
# The axis is logarithmic, and goes from a half to this many times.
LEAST, MOST = 0.5, 64

STYLE = """\
text{font:12px system-ui,sans-serif;fill:#24292f}
.t{font-weight:600}.v{fill:#57606a}.b{fill:#2f81f7}.s{fill:#d1242f}.l{stroke:#8c959f;stroke-dasharray:3 3}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.v{fill:#9198a1}.l{stroke:#656c76}}"""


def place(ratio):
    """Where on the axis a ratio is."""
    ratio = min(max(ratio, LEAST), MOST)
    span = math.log(MOST) - math.log(LEAST)
    return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(ratio) - math.log(LEAST)) / span


def svg(results, options):
    """The picture of those results that are to be in it."""
    shown = [r for r in results if r.case.plot and OURS in r.runs and len(r.runs) > 1]
    lines, y = [], 24
    for result in shown:
        title = result.title
        if result.case.place == FAR:
            title += f", {options.latency:g} ms away"
        lines.append(f'<text class="t" x="8" y="{y + 12}">{escape(title)}</text>')
        y += TITLE
        for tool in result.runs:
            if tool != OURS:
                lines.append(bar(tool, 1 / max(result.ratio(tool, "wall"), 1e-9), y))
                y += BAR + GAP
        y += GAP
    one, height = round(place(1), 1), y + 8
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Wall time of other tools, as multiples of dxf's</title><style>{STYLE}</style>",
        f'<text class="v" x="8" y="14">wall time as a multiple of dxf\'s; to the left of the line is faster</text>',
        f'<line class="l" x1="{one}" x2="{one}" y1="20" y2="{height - 4}"/>',
        *lines,
        "</svg>\n",
    ])


def bar(tool, times, y):
    here, one = place(times), place(1)
    left, width = min(here, one), max(abs(here - one), 1)
    kind = "b" if times >= 1 else "s"
    middle = y + BAR - 3
    return (
        f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{escape(tool)}</text>'
        f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        f'<text class="v" x="{max(here, one) + 6:.1f}" y="{middle}">{times:.1f}</text>'
    )
