"""Who a study is of: what the page may show at any time, and what it shows on request alone."""

from pathlib import Path

import numpy as np
from PIL import Image

from medmtl.shapes import VoxelArray
from medmtl.volume import Volume

_SHOWN = {
    "date": "StudyDate",
    "accession": "AccessionNumber",
    "study_id": "StudyID",
    "description": "StudyDescription",
    "sex": "PatientSex",
    "age": "PatientAge",
}
_HIDDEN = {"name": "PatientName", "patient_id": "PatientID", "birth_date": "PatientBirthDate"}
THUMBNAIL = 96


def shown(volume: Volume) -> dict[str, str]:
    """Study Date (0008,0020), Accession Number (0008,0050), Study ID (0020,0010), Study Description (0008,1030),
    Patient's Sex (0010,0040) and Age (0010,1010)."""
    return _read(volume, _SHOWN)


def hidden(volume: Volume) -> dict[str, str]:
    """Patient's Name (0010,0010), Patient ID (0010,0020) and Birth Date (0010,0030); empty for NIfTI."""
    return _read(volume, _HIDDEN)


def _read(volume: Volume, wanted: dict[str, str]) -> dict[str, str]:
    if volume.dicom is None or not volume.dicom.instances:
        return {}
    import pydicom

    try:
        header = pydicom.dcmread(volume.dicom.instances[0], specific_tags=list(wanted.values()))
    except OSError:
        return {}
    return {key: str(header.get(tag) or "").replace("^", " ").strip() for key, tag in wanted.items()}


def write_thumbnail(
    path: Path, array: VoxelArray, axis: int, spacing: tuple[float, float, float], focus: dict[str, list[int]]
) -> None:
    """The middle slice of the focus as a small square PNG.

    Args:
        path: of the PNG.
        array: `(i, j, k)`, axes to the left, back and head.
        axis: which one the slices follow.
        spacing: mm along each axis.
        focus: box of voxels worth seeing, `low` and `high`.
    """
    low, high = np.array(focus["low"]), np.array(focus["high"]) + 1
    middle = int(low[axis] + high[axis]) // 2
    plane = np.take(array, middle, axis=axis)
    across, down = (n for n in range(3) if n != axis)
    plane = plane[low[across] : high[across], low[down] : high[down]].T.astype(np.float32)
    if down == 2:  # the head is up
        plane = plane[::-1]
    dark, bright = np.percentile(plane, (2.0, 99.0))
    grey = np.clip((plane - dark) / max(float(bright - dark), 1e-6), 0.0, 1.0)
    width, height = plane.shape[1] * spacing[across], plane.shape[0] * spacing[down]
    scale = THUMBNAIL / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(np.rint(255 * grey).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    square = Image.new("L", (THUMBNAIL, THUMBNAIL))
    square.paste(small, ((THUMBNAIL - size[0]) // 2, (THUMBNAIL - size[1]) // 2))
    square.save(path)
