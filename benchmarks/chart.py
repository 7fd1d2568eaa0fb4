"""Line charts as SVG, each point with its value beside it; readable on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Chart", "svg"]

WIDTH, HEIGHT = 400, 280
"""Of one chart, in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 30, 40, 60, 45
COLOURS = ("#2f6fde", "#d9822b", "#3a9d5d")
INK = "#808080"


@dataclass(frozen=True)
class Chart:
    """Series of values, each with one value for every place on the x axis; the y axis begins at 0."""

    title: str
    x_title: str
    places: Sequence[str]
    series: Mapping[str, Sequence[float]]


def svg(charts: Sequence[Chart]) -> str:
    """The charts beside each other."""
    drawn = "\n".join(_drawn(chart, WIDTH * number) for number, chart in enumerate(charts))
    width = WIDTH * len(charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n{drawn}\n</svg>\n'
    )


def _drawn(chart: Chart, left: int) -> str:
    top_value = max(max(values) for values in chart.series.values()) * 1.1
    step = (WIDTH - LEFT - RIGHT) / (len(chart.places) - 0.5)
    xs = [LEFT + step * (place + 0.25) for place in range(len(chart.places))]
    floor = HEIGHT - BOTTOM
    parts = [
        _text(WIDTH / 2, 18, chart.title, "middle", weight="bold"),
        _text(WIDTH / 2, HEIGHT - 8, chart.x_title, "middle"),
        f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT / 2}" fill="none" stroke="{INK}"/>',
        *(_text(x, floor + 16, place, "middle") for x, place in zip(xs, chart.places, strict=True)),
    ]
    for number, (name, values) in enumerate(chart.series.items()):
        colour = COLOURS[number]
        ys = [floor - (floor - TOP) * value / top_value for value in values]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, value in zip(xs, ys, values, strict=True):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            parts.append(_text(x, y - 8, f"{value:.3g}", "middle", colour))
        parts.append(_text(LEFT + 10 + 90 * number, 40, f"● {name}", "start", colour))
    return f'<g transform="translate({left})">\n' + "\n".join(parts) + "\n</g>"


def _text(x: float, y: float, text: str, anchor: str, colour: str = INK, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
