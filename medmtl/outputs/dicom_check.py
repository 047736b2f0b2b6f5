"""Read back what was written before it gets its name: voxels, positions and numbers."""

import io
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from medmtl.errors import Code, OutputError
from medmtl.geometry.grid import Grid
from medmtl.outputs.structures import Structure
from medmtl.shapes import FloatArray

POSITION_TOLERANCE_MM = 0.06
"""A series counts as straight when its slices lie within 0.05 mm of the fitted affine; the rest is rounding."""


def part10_bytes(dataset: Dataset) -> bytes:
    """`dataset` as a DICOM file (PS3.10)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values taken over from the source as they are
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def check_segmentation(data: bytes, segments: tuple[Structure, ...], grid: Grid) -> None:
    """Compare a SEG's bytes with the masks, by pydicom alone: each voxel, and where each frame lies.

    Raises:
        OutputError: `output-check-failed`, a voxel or a position differs.
    """
    seg = pydicom.dcmread(io.BytesIO(data))
    bits = np.unpackbits(np.frombuffer(seg.PixelData, dtype=np.uint8), bitorder="little")
    count, rows, columns = int(seg.NumberOfFrames), int(seg.Rows), int(seg.Columns)
    if (columns, rows) != grid.shape[:2] or bits.size < count * rows * columns:
        raise _failed("the frames of the segmentation have another size than the mask")
    frames = bits[: count * rows * columns].reshape(count, rows, columns)
    read = {segment.number: np.zeros(grid.shape, dtype=bool) for segment in segments}
    for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        k = _slice_of(_corners(seg, item), grid)
        if number not in read:
            raise _failed("the segmentation holds a segment that was not asked for")
        read[number][:, :, k] |= frame.T.astype(bool)
    for segment in segments:
        if not np.array_equal(read[segment.number], segment.mask):
            raise _failed(f"segment {segment.number} of the segmentation differs from its mask")


def check_report(data: bytes, expected: FloatArray) -> None:
    """Compare the numbers of an SR's bytes with `expected`, the measurements in their order.

    Raises:
        OutputError: `output-check-failed`, a number is missing or differs.
    """
    read = np.array(_numbers(pydicom.dcmread(io.BytesIO(data))))
    if read.shape != expected.shape or not np.allclose(read, expected, rtol=1e-9, atol=0.0):
        raise _failed("the measurements in the structured report differ from the findings")


def _numbers(item: Dataset) -> list[float]:
    found = [float(value.NumericValue) for value in item.get("MeasuredValueSequence", ())]
    for child in item.get("ContentSequence", ()):
        found.extend(_numbers(child))
    return found


def _corners(seg: Dataset, item: Dataset) -> FloatArray:
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = _of("PlaneOrientationSequence", item, shared).ImageOrientationPatient
    row_gap, column_gap = (float(v) for v in _of("PixelMeasuresSequence", item, shared).PixelSpacing)
    origin = np.array(_of("PlanePositionSequence", item, shared).ImagePositionPatient, dtype=np.float64)
    along_row = np.array(orientation[:3], dtype=np.float64) * column_gap * (int(seg.Columns) - 1)
    along_column = np.array(orientation[3:], dtype=np.float64) * row_gap * (int(seg.Rows) - 1)
    return np.stack([origin, origin + along_row, origin + along_column, origin + along_row + along_column])


def _of(keyword: str, item: Dataset, shared: Dataset) -> Dataset:
    return item[keyword].value[0] if keyword in item else shared[keyword].value[0]


def _slice_of(corners: FloatArray, grid: Grid) -> int:
    k = round(float(grid.to_index(corners[0])[2]))
    i, j = grid.shape[0] - 1.0, grid.shape[1] - 1.0
    wanted = grid.to_lps(np.array([[0, 0, k], [i, 0, k], [0, j, k], [i, j, k]], dtype=np.float64))
    if not 0 <= k < grid.shape[2] or np.abs(corners - wanted).max() > POSITION_TOLERANCE_MM:
        raise _failed("a frame of the segmentation lies elsewhere than its slice")
    return k


def _failed(what: str) -> OutputError:
    return OutputError(Code.OUTPUT_CHECK_FAILED, what, "nothing was written; report this with the version of medmtl")
