"""A profile as one HTML page that needs nothing else: a timeline, the graph of kernels, a table to sort, and why each is as it is.

    Path("report.html").write_text(profile_page(profile("model.onnx")))
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from edgec.errors import Unsupported
from edgec.graph_drawing import HEIGHT, WIDTH, Drawing, draw
from edgec.profile import Profile, Row, shortened

TIMELINE = 1000.0  # units of the timeline's width


@dataclass(frozen=True)
class Bar:
    """One kernel on the timeline."""

    number: int
    start: float
    width: float
    colour: str


def profile_page(profile: Profile) -> str:
    """The page. Unsupported where the template library is not installed."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise Unsupported("the page needs jinja2, which is not installed", hint="pip install 'edgec[report]'") from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"us": lambda s: f"{1e6 * s:,.1f}", "count": lambda n: f"{n:,}", "percent": lambda x: f"{100 * x:.1f} %",
                            "short": shortened, "node": lambda name: shortened(name, 27)}
    template = environment.from_string((files("edgec") / "profile_page.html").read_text(encoding="utf-8"))
    colours = [_colour(row, profile) for row in profile.rows]
    drawing = draw(len(profile.rows), _edges(profile.rows))
    return template.render(profile=profile, rows=profile.rows, colours=colours, bars=_bars(profile, colours), drawing=drawing,
                           paths=_paths(drawing), box_width=WIDTH, box_height=HEIGHT, timeline=TIMELINE)


def _colour(row: Row, profile: Profile) -> str:
    """White for no time above the roofline, red for the kernel that loses most."""
    most = max((r.lost for r in profile.rows), default=0.0)
    share = row.lost / most if most else 0.0
    return f"hsl({120 - 120 * share:.0f}, 65%, {88 - 22 * share:.0f}%)"


def _bars(profile: Profile, colours: list[str]) -> list[Bar]:
    found, at = [], 0.0
    for number, (row, colour) in enumerate(zip(profile.rows, colours)):
        width = TIMELINE * row.seconds / (profile.total or 1.0)
        found.append(Bar(number, at, width, colour))
        at += width
    return found


def _edges(rows: tuple[Row, ...]) -> set[tuple[int, int]]:
    """(writer, reader) of every buffer that one kernel stores and a later one reads."""
    found: set[tuple[int, int]] = set()
    writers: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        found |= {(w, number) for name in row.reads for w in writers.get(name, ())}
        for name in row.writes:
            writers.setdefault(name, []).append(number)
    return found


def _paths(drawing: Drawing) -> list[str]:
    """Every edge as an SVG path, bent smoothly."""
    found = []
    for (x, y), *rest in drawing.lines:
        path = [f"M{x:.1f},{y:.1f}"]
        for to_x, to_y in rest:
            half = (y + to_y) / 2
            path.append(f"C{x:.1f},{half:.1f} {to_x:.1f},{half:.1f} {to_x:.1f},{to_y:.1f}")
            x, y = to_x, to_y
        found.append(" ".join(path))
    return found
