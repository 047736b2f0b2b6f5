"""Texts of options to values: folds, times, amounts. For commands, and for machines without click."""

import re
from typing import TYPE_CHECKING

from medmtl.errors import Code, UsageError

if TYPE_CHECKING:
    from medmtl_training.cases import Dataset

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_folds(text: str) -> frozenset[int] | None:
    """Fold numbers of "0", "0,2", "0-4"; None for "all".

    Raises:
        UsageError: `bad-option`.
    """
    if text.strip() == "all":
        return None
    folds: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise UsageError(Code.BAD_OPTION, f"--folds {text!r} names no folds", "write 0, 0,2, 0-4 or all")
        first = int(match[1])
        folds.update(range(first, int(match[2] or first) + 1))
    return frozenset(folds)


def fold_numbers(text: str, data: "Dataset") -> tuple[int, ...]:
    """The folds of `data` that the text of `--folds` names; none for "none", and where the data set has none.

    Raises:
        UsageError: `bad-option`.
        DatasetError: no case is in a fold.
    """
    if text.strip() == "none" or not data.folds:
        return ()
    numbers = parse_folds(text)
    folds = data.folds if numbers is None else tuple(sorted(numbers))
    for number in folds:
        data.fold(number)  # refuses one that is not there
    return folds


def seconds_of(text: str) -> float:
    """Seconds of "90s", "30m", "2h".

    Raises:
        UsageError: `bad-option`.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None:
        raise UsageError(Code.BAD_OPTION, f"--max-time {text} is no time", "write 90s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def bytes_of(text: str) -> int:
    """Bytes of "8G", "500M", "1.5GiB".

    Raises:
        UsageError: `bad-option`.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(Code.BAD_OPTION, f"{text} is no amount of memory", "write 8G or 500M")
    return int(float(match[1]) * _BYTES[match[2].upper()])
