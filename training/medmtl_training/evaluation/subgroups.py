"""Rows of cases by the values of a column."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medmtl.errors import Code, UsageError
from medmtl_training.evaluation.baselines import number_of

SLICE_STEP = "slice_step_mm"
"""Column that is derived from the image where `cases.csv` does not have it."""

MOST_VALUES = 6
NOT_STATED = "not stated"

Row = Mapping[str, Any]


def subgroups(rows: Sequence[Row], column: str) -> dict[str, list[Row]]:
    """Rows by their value in `column`; numbers of more than `MOST_VALUES` values are cut into thirds of the cases.

    Raises:
        UsageError: `bad-option` where no case has that column.
    """
    cells = [(row, row["columns"].get(column)) for row in rows]
    if rows and all(cell is None for _, cell in cells):
        raise UsageError(Code.BAD_OPTION, f"cases.csv has no further column {column}", "name one that it has")
    stated = [(row, str(cell)) for row, cell in cells if cell]
    groups = _thirds(stated) or _by_value(stated)
    rest = [row for row, cell in cells if not cell]
    return groups | ({NOT_STATED: rest} if rest else {})


def _by_value(stated: list[tuple[Row, str]]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row, cell in sorted(stated, key=lambda pair: (number_of(pair[1]) or 0.0, pair[1])):
        groups.setdefault(cell, []).append(row)
    return groups


def _thirds(stated: list[tuple[Row, str]]) -> dict[str, list[Row]] | None:
    numbers = [number_of(cell) for _, cell in stated]
    known = [number for number in numbers if number is not None]
    if len(known) < len(stated) or len(set(known)) <= MOST_VALUES:
        return None
    values = np.array(known)
    edges = np.quantile(values, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, values, side="left")  # a value on an edge belongs to the lower part
    groups: dict[str, list[Row]] = {}
    for index in range(3):
        members = np.flatnonzero(third == index)
        if len(members):
            low, high = values[members].min(), values[members].max()
            groups[f"{low:g} to {high:g}"] = [stated[member][0] for member in members]
    return groups
