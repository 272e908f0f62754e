"""A plot of grouped bars as SVG text, the same for the same figures."""

from collections.abc import Mapping, Sequence
from html import escape

import line_plot

COLOURS = (*line_plot.COLOURS, "#d4a017", "#3d405b", "#81b29a", "#b5838d")
WIDTH, LEFT, RIGHT, TOP, BOTTOM, BAR, GAP = 860, 150, 60, 20, 50, 12, 10


def bar_plot(groups: Mapping[str, Mapping[str, float]], *, x: str, line_at: float) -> str:
    """Horizontal bars from zero, a group for each name, and a vertical line at one value.

    groups : of each group, its bars by name; bars of one name have one colour
    """
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    most = max(line_at, *(value for bars in groups.values() for value in bars.values()))
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    top = TOP + 22 * len(names)
    for group, bars in groups.items():
        middle = top + BAR * len(bars) / 2 + 4
        parts.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(group)}</text>')
        for name, value in bars.items():
            parts += _bar(top, value * scale, f"{value:.2f}", _colour(names, name))
            top += BAR
        top += GAP
    at, height = LEFT + line_at * scale, top + BOTTOM
    parts.append(f'<path d="M{at:.1f} {TOP + 22 * len(names) - 4}V{top}" stroke="#333"/>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{top + 20}" text-anchor="middle">{escape(x)}</text>')
    return "\n".join([*_head(height), *_legend(names), *parts, "</svg>", ""])


def _head(height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        top = TOP + 22 * number - 10
        parts.append(
            f'<rect x="{LEFT}" y="{top}" width="28" height="{BAR}" fill="{_colour(names, name)}"/>'
        )
        parts.append(f'<text x="{LEFT + 36}" y="{top + 10}">{escape(name)}</text>')
    return parts


def _bar(top: int, length: float, label: str, colour: str) -> list[str]:
    return [
        f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>',
        f'<text x="{LEFT + length + 5:.1f}" y="{top + 9}" font-size="10">{label}</text>',
    ]


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[list(names).index(name) % len(COLOURS)]
