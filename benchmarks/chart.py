"""Draws lines over time as an SVG that needs nothing else: white ground, labelled axes, a legend. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 66, 48
_COLOURS = ("#1f2937", "#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626")
_STEPS = 6  # about so many marks on an axis

_TEXT = 'font-family="sans-serif" font-size="13" fill="#1f2937"'

Line = Sequence[tuple[float, float]]


def chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Line]) -> str:
    """All lines over the same axes, which begin at 0; at most as many as there are colours."""
    x_step = _step(max(x for line in lines.values() for x, _ in line))
    y_step = _step(max(y for line in lines.values() for _, y in line))
    x_most = max(max(x for x, _ in line) for line in lines.values()) or 1.0
    y_most = y_step * (max(y for line in lines.values() for _, y in line) // y_step + 1)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_TEXT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{middle:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="10" y="{_TOP - 10}">{escape(y_label)}</text>',
    ]

    def x_of(value: float) -> float:
        return _LEFT + value / x_most * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / y_most * (_HEIGHT - _TOP - _BOTTOM)

    for value in _marks(y_step, y_most):
        y = y_of(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#d1d5db"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _marks(x_step, x_most):
        x, bottom = x_of(value), _HEIGHT - _BOTTOM
        parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="#6b7280"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{value:g}</text>')
    legend_width = (_WIDTH - _LEFT - _RIGHT) / len(lines)
    for number, (name, line) in enumerate(lines.items()):
        # Lines may lie on each other: every other one has gaps.
        stroke = f'stroke="{_COLOURS[number]}"' + ' stroke-dasharray="7 4"' * (number % 2)
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" {stroke} stroke-width="2"/>')
        x = _LEFT + number * legend_width
        parts.append(f'<path d="M{x:.0f} 42h18" {stroke} stroke-width="3"/>')
        parts.append(f'<text x="{x + 23:.0f}" y="46" font-size="12">{escape(name)} {line[-1][1]:.0f} {y_label}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _step(most: float) -> float:
    """A round distance of marks: 1, 2 or 5 times a power of ten."""
    scale = 1.0
    while scale * 10 <= most / _STEPS:
        scale *= 10
    while scale > most / _STEPS and scale > 1e-3:
        scale /= 10
    return next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= most / _STEPS or factor == 10)


def _marks(step: float, most: float) -> Iterator[float]:
    number = 0
    while number * step <= most * 1.0001:
        yield number * step
        number += 1
