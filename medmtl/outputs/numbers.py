"""Numbers as people read them: one function per kind, so that text, tables and pictures agree."""

MISSING = "–"


def amount(value: float | None, unit: str) -> str:
    """`value` with its unit: two decimals below 10 mL or g, one below 100, none above; mm and % with one.

    Args:
        value: what is shown; `None` gives a dash.
        unit: "mL", "g", "mm", "%" or any other; empty for a bare number.
    """
    if value is None:
        return MISSING
    text = figure(value, unit)
    return f"{text} {unit}" if unit else text


def figure(value: float, unit: str) -> str:
    """The digits of `amount`, without the unit."""
    if unit in ("mm", "%"):
        return f"{value:.1f}"
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"


def percent(probability: float | None) -> str:
    """A probability or share in 0..1 as "93.1 %"; never a rounded-up 100 or rounded-down 0."""
    if probability is None:
        return MISSING
    if 0.9995 <= probability < 1.0:
        return "> 99.9 %"
    if 0.0 < probability < 0.0005:
        return "< 0.1 %"
    return f"{100.0 * probability:.1f} %"
