"""Two kinds of chart as SVG text: bars, and lines over a logarithmic x axis."""

import math
from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 190, 44, 44
COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#937264", "#dfab01", "#e03e3e")
Point = tuple[float, float]


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """One horizontal bar per name, in the order given."""
    left, row = 210, 30
    top = max(values.values(), default=0) or 1
    width = WIDTH - left - 90
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = TOP + number * row
        length = width * value / top
        colour = COLOURS[number % len(COLOURS)]
        parts += [
            _text(left - 8, y + 17, name, "end"),
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="20" fill="{colour}"/>',
            _text(left + length + 6, y + 17, f"{short(value)} {unit}"),
        ]
    return _page(title, TOP + row * len(values) + 12, parts)


def lines(
    title: str, x_says: str, y_says: str, series: Mapping[str, Sequence[Point]], *, log: bool
) -> str:
    """One line per name; `log` makes the y axis logarithmic too."""
    shown = {name: [p for p in line if p[1] > 0 or not log] for name, line in series.items()}
    points = [point for line in shown.values() for point in line]
    if not points:
        return _page(title, HEIGHT, [])
    bent = math.log10 if log else float
    xs = sorted({x for x, _ in points})
    marks = _marks(max(y for _, y in points), min(y for _, y in points), log)
    across = _scale(math.log10(xs[0]), math.log10(xs[-1]), LEFT, WIDTH - RIGHT)
    up = _scale(bent(marks[0]), bent(marks[-1]), HEIGHT - BOTTOM, TOP)
    parts = [
        *(_rule(up(bent(mark)), mark) for mark in marks),
        *(_text(across(math.log10(x)), HEIGHT - BOTTOM + 18, short(x), "middle") for x in xs),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_says, "middle"),
        _text(LEFT, TOP - 8, y_says),
    ]
    for number, (name, line) in enumerate(shown.items()):
        colour, y = COLOURS[number % len(COLOURS)], TOP + number * 20
        drawn = " ".join(f"{across(math.log10(x)):.1f},{up(bent(y)):.1f}" for x, y in line)
        parts += [
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{WIDTH - RIGHT + 14}" y="{y}" width="12" height="12" fill="{colour}"/>',
            _text(WIDTH - RIGHT + 32, y + 10, name),
        ]
    return _page(title, HEIGHT, parts)


def _rule(y: float, mark: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    return line + _text(LEFT - 8, y + 4, short(mark), "end")


def short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    step = (end - start) / ((high - low) or 1)
    return lambda value: start + (value - low) * step


def _marks(high: float, low: float, log: bool) -> list[float]:
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    step = 10 ** math.floor(math.log10(high or 1))
    while high / step < 4:
        step /= 2
    return [step * number for number in range(math.ceil(high / step) + 1)]


def _text(x: float, y: float, says: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(says)}</text>'


def _page(title: str, height: int, parts: Sequence[str]) -> str:
    font = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="12" y="20" font-size="15" font-weight="600">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )
