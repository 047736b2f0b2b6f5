"""Structures drawn in DICOM objects: SEG (PS3.3 A.51) and RTSTRUCT (PS3.3 A.19) to masks on the image's grid."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from medmtl.errors import Code, DatasetError
from medmtl.geometry.grid import Grid
from medmtl.outputs.contours import filled
from medmtl.reading.dicom_values import PARSE_FAULTS
from medmtl.reading.quiet_pydicom import quiet_pydicom
from medmtl.shapes import FloatArray, Mask
from medmtl.task import CodedConcept

OFF_GRID_VOXELS = 0.1
"""A voxel of a SEG that lies further than that from one of the image does not lie on the image's grid."""

OFF_SLICE = 0.3
"""A contour that lies further than that part of a slice from one was not drawn on this image."""

_ABNORMAL = "49755003"  # Morphologically Abnormal Structure (SCT)
_LATERALITY = {"7771000": "left", "24028007": "right"}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One structure of a SEG or RTSTRUCT.

    Attributes:
        name: Segment Label (0062,0005) or ROI Name (3006,0026).
        tracking: Tracking ID (0062,0020) or the first word of ROI Description (3006,0028); `TASK.LABEL` where medmtl
            wrote it.
        code: its coded type, None where none is given.
        lesion: whether it is coded as abnormal; None where the object does not say.
        laterality: "left", "right" or None.
        modifier: a further coded modifier of its type, None where none is given.
        series_uid: Series Instance UID (0020,000E) of the image it was drawn on; empty where not said. Never logged.
        mask: gives its `(i, j, k)` mask on a grid, LPS mm, or raises `DatasetError` (`grid-mismatch`).
    """

    name: str
    tracking: str
    code: CodedConcept | None
    lesion: bool | None
    laterality: str | None
    modifier: CodedConcept | None
    series_uid: str
    mask: Callable[[Grid], Mask]


def read_drawn(path: Path) -> tuple[Drawn, ...]:
    """The structures in a SEG or RTSTRUCT file.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path)
            found = _segments(dataset) if dataset.Modality == "SEG" else _rois(dataset)
    except PARSE_FAULTS as fault:
        raise DatasetError(Code.UNREADABLE, "a SEG or RTSTRUCT cannot be read", "export it again") from fault
    return found


def _segments(dataset: Any) -> tuple[Drawn, ...]:
    series = dataset.get("ReferencedSeriesSequence")
    uid = str(series[0].SeriesInstanceUID) if series else ""
    found = []
    for item in dataset.SegmentSequence:
        kind = _first(item, "SegmentedPropertyTypeCodeSequence")
        category = _first(item, "SegmentedPropertyCategoryCodeSequence")
        modifiers = [] if kind is None else list(kind.get("SegmentedPropertyTypeModifierCodeSequence") or [])
        laterality, modifier = _sides(modifiers)
        found.append(
            Drawn(
                name=str(item.get("SegmentLabel", "")),
                tracking=str(item.get("TrackingID", "")),
                code=_concept(kind),
                lesion=None if category is None else str(category.get("CodeValue", "")) == _ABNORMAL,
                laterality=laterality,
                modifier=modifier,
                series_uid=uid,
                mask=_mask_of_segment(dataset, int(item.SegmentNumber)),
            )
        )
    return tuple(found)


def _mask_of_segment(dataset: Any, number: int) -> Callable[[Grid], Mask]:
    def mask(grid: Grid) -> Mask:
        try:
            points = _segment_points(dataset, number)
        except PARSE_FAULTS as fault:
            raise DatasetError(Code.UNREADABLE, "the pixels of a SEG cannot be read", "export it again") from fault
        result = np.zeros(grid.shape, dtype=np.bool_)
        if len(points) == 0:
            return result
        index = grid.to_index(points)
        voxels = np.rint(index).astype(np.int64)
        inside = ((voxels >= 0) & (voxels < grid.shape)).all(axis=1)
        if np.abs(index - voxels).max() > OFF_GRID_VOXELS or not inside.all():
            what = "a segment does not lie on the voxels of its image"
            raise DatasetError(Code.GRID_MISMATCH, what, "export the segmentation on the image it was drawn on")
        result[tuple(voxels.T)] = True
        return result

    return mask


def _segment_points(dataset: Any, number: int) -> FloatArray:
    """LPS mm `(n, 3)` of the voxels of one segment."""
    frames = dataset.pixel_array
    frames = frames[None] if frames.ndim == 2 else frames
    kind = str(dataset.get("SegmentationType", "BINARY"))
    half = float(dataset.get("MaximumFractionalValue", 1)) / 2 if kind == "FRACTIONAL" else 0.5
    shared = dataset.SharedFunctionalGroupsSequence[0]
    points = [np.zeros((0, 3))]
    for frame, item in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if kind == "LABELMAP":
            held = frame == number
        elif int(_group(item, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber) == number:
            held = frame > half if kind != "FRACTIONAL" else frame >= half
        else:
            continue
        rows, columns = np.nonzero(held)
        if len(rows) == 0:
            continue
        position = np.asarray(_group(item, shared, "PlanePositionSequence").ImagePositionPatient, dtype=np.float64)
        orientation = np.asarray(
            _group(item, shared, "PlaneOrientationSequence").ImageOrientationPatient, dtype=np.float64
        )
        row_gap, column_gap = (
            float(v) for v in _group(item, shared, "PixelMeasuresSequence").PixelSpacing
        )  # PS3.3 C.7.6.2.1.1: a step along a row crosses columns
        along_row, along_column = orientation[:3] * column_gap, orientation[3:] * row_gap
        points.append(position + columns[:, None] * along_row + rows[:, None] * along_column)
    return np.concatenate(points)


def _group(item: Any, shared: Any, keyword: str) -> Any:
    found = item.get(keyword) or shared.get(keyword)
    if not found:
        raise KeyError(keyword)
    return found[0]


def _rois(dataset: Any) -> tuple[Drawn, ...]:
    uid = _referenced_series(dataset)
    contours = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []}
    seen = {int(item.ReferencedROINumber): item for item in dataset.get("RTROIObservationsSequence") or []}
    found = []
    for roi in dataset.StructureSetROISequence:
        number = int(roi.ROINumber)
        observed = seen.get(number)
        kind = None if observed is None else _first(observed, "RTROIIdentificationCodeSequence")
        category = None if observed is None else _first(observed, "SegmentedPropertyCategoryCodeSequence")
        modifiers = [] if kind is None else list(kind.get("SegmentedPropertyTypeModifierCodeSequence") or [])
        laterality, modifier = _sides(modifiers)
        found.append(
            Drawn(
                name=str(roi.get("ROIName", "")),
                tracking=str(roi.get("ROIDescription", "")).split(",")[0],
                code=_concept(kind),
                lesion=_is_lesion(observed, category),
                laterality=laterality,
                modifier=modifier,
                series_uid=uid,
                mask=_mask_of_roi(contours.get(number)),
            )
        )
    return tuple(found)


def _is_lesion(observed: Any, category: Any) -> bool | None:
    if category is not None:
        return str(category.get("CodeValue", "")) == _ABNORMAL
    word = "" if observed is None else str(observed.get("RTROIInterpretedType", ""))
    return {"GTV": True, "CTV": True, "PTV": True, "ORGAN": False, "AVOIDANCE": False}.get(word)


def _referenced_series(dataset: Any) -> str:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return str(series.SeriesInstanceUID)
    return ""


def _mask_of_roi(item: Any) -> Callable[[Grid], Mask]:
    def mask(grid: Grid) -> Mask:
        by_slice: dict[int, list[FloatArray]] = {}
        try:
            outlines = [
                np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
                for contour in (item.get("ContourSequence") or [] if item is not None else [])
                if str(contour.get("ContourGeometricType", "")).startswith("CLOSED_PLANAR")
            ]
        except PARSE_FAULTS as fault:
            raise DatasetError(Code.UNREADABLE, "a contour cannot be read", "export the structures again") from fault
        for points in outlines:
            index = grid.to_index(points)
            k = round(float(index[:, 2].mean()))
            if np.abs(index[:, 2] - k).max() > OFF_SLICE or not 0 <= k < grid.shape[2]:
                what = "a contour does not lie in a slice of its image"
                raise DatasetError(Code.GRID_MISMATCH, what, "export the structures on the image they were drawn on")
            by_slice.setdefault(k, []).append(index[:, :2])
        result = np.zeros(grid.shape, dtype=np.bool_)
        for k, polygons in by_slice.items():
            result[:, :, k] = filled(tuple(polygons), grid.shape[:2])
        return result

    return mask


def _first(item: Any, keyword: str) -> Any:
    sequence = item.get(keyword)
    return sequence[0] if sequence else None


def _concept(item: Any) -> CodedConcept | None:
    if item is None or not item.get("CodeValue"):
        return None
    # SNOMED-RT names of older objects stand for the same concepts but not by the same values: kept as they are
    return CodedConcept(
        scheme=str(item.get("CodingSchemeDesignator", "")),
        value=str(item.CodeValue),
        meaning=str(item.get("CodeMeaning", "")),
    )


def _sides(items: list[Any]) -> tuple[str | None, CodedConcept | None]:
    laterality, modifier = None, None
    for item in items:
        side = _LATERALITY.get(str(item.get("CodeValue", "")))
        laterality = laterality or side
        modifier = modifier or (None if side else _concept(item))
    return laterality, modifier
