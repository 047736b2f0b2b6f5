"""Cells of `cases.csv` to values."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from medmtl.errors import Code, DatasetError
from medmtl.task import Kind, Task

CaseLabel = str | float | tuple[str, ...] | None
"""A class name, a number, the names of the classes that apply, or None where the truth is not known."""

VoxelLabel = Path | Mapping[str, Path]
"""The label map of a `segmentation`, or label name to binary mask of `regions`."""

ANNOTATED = ":annotated"
_NONE_OF_THEM = "none"  # a multilabel cell: known, and no class applies
_SEPARATORS = re.compile(r"[;|,\s]+")


def bad_cases(what: str, todo: str = "correct cases.csv") -> DatasetError:
    """The refusal of a case list."""
    return DatasetError(Code.BAD_CASES, what, todo)


def fold_number(case: str, text: str) -> int | None:
    """Fold number, None for an empty cell.

    Raises:
        DatasetError: `bad-cases`.
    """
    if not text:
        return None
    if not text.isdecimal():
        raise bad_cases(f"case {case} has the fold {text!r}, not 0, 1, 2 ...")
    return int(text)


def annotated_labels(task: Task, case: str, text: str, found: VoxelLabel) -> frozenset[str] | None:
    """Labels that were looked for, None where all were.

    Raises:
        DatasetError: `bad-cases`.
    """
    known = frozenset(label.name for label in task.labels)
    drawn = frozenset(part for part in _SEPARATORS.split(text) if part) or known
    if drawn - known:
        raise bad_cases(f"{task.name}{ANNOTATED} of case {case} names {min(drawn - known)}, no label of the task")
    if not isinstance(found, Path):  # of prepared regions the arrays themselves say it: 255
        drawn &= frozenset(found)  # a region without a file was not drawn
    return None if drawn == known else drawn


def case_label(task: Task, case: str, text: str) -> CaseLabel:
    """Truth of a case-level task, None for an empty cell.

    Raises:
        DatasetError: `bad-cases`.
    """
    if not text:
        return None
    if task.kind is Kind.REGRESSION:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise bad_cases(f"{task.name} of case {case} is {text!r}, not a number")
        return value
    known = [label.name for label in task.labels]
    many = task.kind is Kind.MULTILABEL
    parts = [part for part in _SEPARATORS.split(text) if part] if many else [text]
    if many and parts == [_NONE_OF_THEM] and _NONE_OF_THEM not in known:
        return ()
    for part in parts:
        if part not in known:
            raise bad_cases(f"{task.name} of case {case} is {part!r}, not one of {', '.join(known)}")
    return tuple(name for name in known if name in parts) if many else text
