"""Small plots as inline SVG: no script, no fonts or files from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape

from medmtl_training.evaluation.overlap import Agreement

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 44
_COLOURS = ("#1f6fb2", "#d1495b", "#3a7d44", "#b9770e", "#7b5ea7", "#5c6b73")


class _Frame:
    """Axes of one plot: data to pixels."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], titles: tuple[str, str], ticks: int = 5) -> None:
        self._x, self._y = x, y
        self._parts = [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="11">',
            f'<rect x="{_LEFT}" y="{_TOP}" width="{WIDTH - _LEFT - _RIGHT}" height="{HEIGHT - _TOP - _BOTTOM}" '
            'fill="none" stroke="#999"/>',
        ]
        for step in range(5):
            part = step / 4
            value = x[0] + part * (x[1] - x[0])
            self.text(self.px(value), HEIGHT - _BOTTOM + 14, f"{value:.3g}", "middle")
        for step in range(ticks):
            value = y[0] + step / (ticks - 1) * (y[1] - y[0])
            self.text(_LEFT - 4, self.py(value) + 4, f"{value:.3g}", "end")
        self.text((WIDTH + _LEFT) / 2, HEIGHT - 8, titles[0], "middle")
        middle = (HEIGHT - _BOTTOM) / 2
        self._parts.append(
            f'<text x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">'
            f"{escape(titles[1])}</text>"
        )

    def px(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def py(self, value: float) -> float:
        low, high = self._y
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def text(self, x: float, y: float, content: str, anchor: str = "start", colour: str = "#222") -> None:
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(content)}</text>'
        )

    def dot(self, x: float, y: float, title: str, colour: str) -> None:
        self._parts.append(
            f'<circle cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="3" fill="{colour}" fill-opacity="0.6">'
            f"<title>{escape(title)}</title></circle>"
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str, dashes: str = "") -> None:
        path = " ".join(f"{self.px(x):.1f},{self.py(y):.1f}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5" '
            f'stroke-dasharray="{dashes or "none"}"/>'
        )

    def svg(self) -> str:
        return "".join([*self._parts, "</svg>"])


def bland_altman_svg(points: Sequence[tuple[str, float, float]], agreement: Agreement) -> str:
    """Difference against mean of (case, true mL, found mL), with bias and limits of agreement."""
    means = [(true + found) / 2 for _, true, found in points]
    differences = [found - true for _, true, found in points]
    low, high = min(*differences, agreement.lower), max(*differences, agreement.upper)
    margin = 0.08 * (high - low) or 1.0
    frame = _Frame(
        (0.0, max(means) * 1.05 or 1.0), (low - margin, high + margin), ("mean of both, mL", "found minus true, mL")
    )
    edge = max(means) * 1.05 or 1.0
    for value, dashes in ((agreement.bias, ""), (agreement.lower, "5 4"), (agreement.upper, "5 4")):
        frame.line([(0.0, value), (edge, value)], "#555", dashes)
    for (case, true, found), mean, difference in zip(points, means, differences, strict=True):
        frame.dot(mean, difference, f"{case}: true {true:.2f} mL, found {found:.2f} mL", _COLOURS[0])
    return frame.svg()


def roc_svg(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """ROC curves: name to false and true positive rates."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0), ("false positive rate", "true positive rate"))
    frame.line([(0.0, 0.0), (1.0, 1.0)], "#aaa", "4 4")
    for index, (name, (false, true)) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        frame.line(list(zip(false, true, strict=True)), colour)
        frame.text(WIDTH - _RIGHT - 8, HEIGHT - _BOTTOM - 10 - 14 * index, name, "end", colour)
    return frame.svg()


def strip_svg(values: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    """A dot for each case: label to (case, Dice in 0..1), the median as a bar."""
    frame = _Frame((0.0, 1.0), (0.0, float(max(len(values), 1))), ("Dice", ""), ticks=0)
    for row, (label, cells) in enumerate(values.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        base = len(values) - row - 0.5
        for index, (case, dice) in enumerate(cells):
            frame.dot(dice, base + 0.5 * ((index * 0.618) % 1 - 0.5), f"{case}: {dice:.3f}", colour)
        ordered = sorted(dice for _, dice in cells)
        if ordered:
            middle = ordered[len(ordered) // 2]
            frame.line([(middle, base - 0.35), (middle, base + 0.35)], "#222")
        frame.text(_LEFT + 6, frame.py(base + 0.36), label, "start", colour)
    return frame.svg()


def reliability_svg(points: Sequence[tuple[float, float, int]]) -> str:
    """Mean confidence against accuracy of each bin (confidence, accuracy, cases)."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0), ("mean probability of the answer", "part that was right"))
    frame.line([(0.0, 0.0), (1.0, 1.0)], "#aaa", "4 4")
    frame.line([(confidence, right) for confidence, right, _ in points], _COLOURS[0])
    for confidence, right, cases in points:
        frame.dot(confidence, right, f"{cases} cases", _COLOURS[0])
    return frame.svg()
