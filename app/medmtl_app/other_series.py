"""The series of a study: listed on request, each can be opened as a row of its own."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmtl.errors import Code, UsageError
from medmtl.volume import Volume

if TYPE_CHECKING:
    from medmtl.reading.any_volume import CaseInput


def series_key(selector: str) -> str:
    """A name for a series that can be kept and sent: it holds no UID."""
    return sha256(selector.encode()).hexdigest()[:16]


def key_of(volume: Volume) -> str:
    """The key of the series that a volume is; empty for NIfTI."""
    if volume.dicom is None:
        return ""
    part = "" if volume.dicom.part is None else f":{volume.dicom.part}"
    return series_key(f"{volume.dicom.series_uid or f'number={volume.dicom.number}'}{part}")


def listed(request: Mapping[str, Any]) -> dict[str, Any]:
    """The volumes of a study that could be read, and those that could not, by Series Number (0020,0011).

    Args:
        request: `upload` (folder) and `number` of the case in it.

    Raises:
        MedmtlError: the study's files can no longer be read.
    """
    from medmtl.reading.any_volume import discover, list_series
    from medmtl_app.stored_study import worth_reading

    cases = worth_reading(discover(Path(request["upload"])))
    rows = []
    for series in list_series(cases[min(int(request["number"]), len(cases) - 1)]):
        words = (series.first.description, series.label and f"({series.label})")
        rows.append(
            {
                "key": series_key(series.selector),
                "title": " ".join(word for word in words if word),
                "images": series.plane_count,
                "why": "" if series.error is None else series.error.what,
            }
        )
    return {"series": rows}


def with_series(case: "CaseInput", key: str) -> "CaseInput":
    """The case, told which of its series is meant.

    Raises:
        UsageError: `unknown-series`.
        MedmtlError: nothing of the case can be read.
    """
    from medmtl.reading.any_volume import list_series

    for series in list_series(case):
        if series_key(series.selector) == key:
            return replace(case, series_uid=series.selector)
    raise UsageError(Code.UNKNOWN_SERIES, "the study holds no such series", "list its series again")
