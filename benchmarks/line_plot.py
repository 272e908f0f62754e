"""A plot of lines as SVG text, the same for the same figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LEGEND = 860, 420, 60, 20, 50, 270
COLOURS = ("#0b6e99", "#c8553d", "#588157", "#7b4b94", "#b08900", "#444444")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """points : (x, y); a dashed line has the colour of the one before it"""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def line_plot(lines: Sequence[Line], *, x: str, y: str) -> str:
    """Lines over common axes from zero, named beside them."""
    most_x = max(point[0] for line in lines for point in line.points)
    most_y = max(point[1] for line in lines for point in line.points)
    width, height = WIDTH - LEFT - LEGEND, HEIGHT - TOP - BOTTOM

    def place(at_x: float, at_y: float) -> tuple[float, float]:
        return LEFT + at_x / most_x * width, TOP + height - at_y / most_y * height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in range(0, int(most_y) + 1, max(1, round(most_y / 8))):
        left, at = place(0, tick)
        parts.append(f'<path d="M{left} {at:.1f}h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{tick}</text>')
    for tick in sorted({point[0] for point in lines[0].points}):
        at, bottom = place(tick, 0)
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    middle, bottom = place(most_x / 2, 0)
    parts.append(
        f'<text x="{middle:.1f}" y="{bottom + 38}" text-anchor="middle">{escape(x)}</text>'
    )
    parts.append(
        f'<text transform="translate(16 {TOP + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y)}</text>"
    )
    colour = -1
    for number, line in enumerate(lines):
        colour += not line.dashed
        style = f'stroke="{COLOURS[colour % len(COLOURS)]}" stroke-width="2" fill="none"'
        if line.dashed:
            style += ' stroke-dasharray="5 4"'
        points = " ".join(
            f"{at_x:.1f},{at_y:.1f}" for at_x, at_y in (place(*p) for p in line.points)
        )
        at = TOP + 12 + 22 * number
        left = WIDTH - LEGEND + 16
        parts.append(f'<polyline points="{points}" {style}/>')
        parts.append(f'<path d="M{left} {at}h28" {style}/>')
        parts.append(f'<text x="{left + 36}" y="{at + 4}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
