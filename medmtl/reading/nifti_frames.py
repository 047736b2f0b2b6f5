"""NIfTI files of four dimensions: several volumes on one grid."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError

from medmtl.errors import StudyError
from medmtl.reading import nifti
from medmtl.volume import Volume

_MS_PER_UNIT = {0: 0.0, 8: 1000.0, 16: 1.0, 24: 0.001}  # 0: not said
_OTHER_AXES = {32: "a frequency", 40: "in parts per million", 48: "a frequency"}


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """What a header says of the fourth axis of a file.

    Attributes:
        step_ms: from volume to volume; None where it is not said.
        other: what the axis is, where its unit is none of time; else empty.
    """

    step_ms: float | None = None
    other: str = ""


def frame_count(path: Path) -> int:
    """Volumes of a file as its header says; 1 for three dimensions, for more than four and for what is no NIfTI."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with igzip.open(path, "rb") if packed else path.open("rb") as stream:
            return _count(nifti.header_of(cast("IO[bytes]", stream)))
    except (EOFError, IsalError, OSError, StudyError):  # type: ignore[misc]
        return 1


def read_frames(path: Path) -> tuple[tuple[Volume, ...], TimeAxis]:
    """The volumes of a file of four dimensions, and what it says of the time between them; LPS mm.

    Raises:
        StudyError: as `read_nifti`.
    """
    content = nifti.read_content(path, _count)
    values = nifti.scaled(content)
    whole = values if values.ndim == 4 else values[..., None]
    frames = []
    for index in range(whole.shape[3]):
        digest = hashlib.sha256(f"{content.digest}|{index}".encode()).hexdigest()
        array = np.asfortranarray(whole[..., index])
        frames.append(Volume(array=array, grid=content.grid, modality=None, content_hash=digest, frame=index + 1))
    return tuple(frames), _time_axis(content.header)


def _count(header: Any) -> int:
    dim = [int(n) for n in header["dim"]]
    return dim[4] if dim[0] >= 4 and dim[4] > 1 and all(n == 1 for n in dim[5 : dim[0] + 1]) else 1


def _time_axis(header: Any) -> TimeAxis:
    """Step and unit of the fourth axis (pixdim[4], xyzt_units); one and zero are what writers leave there."""
    unit = int(header["xyzt_units"]) & 0x38
    if unit not in _MS_PER_UNIT:
        return TimeAxis(other=_OTHER_AXES.get(unit, "of an unknown unit"))
    written = float(header["pixdim"][4])
    told = unit != 0 and math.isfinite(written) and written > 0.0 and written != 1.0
    return TimeAxis(step_ms=written * _MS_PER_UNIT[unit] if told else None)
