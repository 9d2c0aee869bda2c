"""A chart of bars as SVG text."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, LEFT, TOP = 760, 300, 44
COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#937264", "#dfab01", "#e03e3e")


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """One horizontal bar per name, in the order given."""
    row = 30
    top = max(values.values(), default=0) or 1
    width = WIDTH - LEFT - 90
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = TOP + number * row
        length = width * value / top
        colour = COLOURS[number % len(COLOURS)]
        parts += [
            _text(LEFT - 8, y + 17, name.replace("`", ""), "end"),
            f'<rect x="{LEFT}" y="{y + 3}" width="{length:.1f}" height="20" fill="{colour}"/>',
            _text(LEFT + length + 6, y + 17, f"{short(value)} {unit}"),
        ]
    return _page(title, TOP + row * len(values) + 12, parts)


def short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


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
