"""Masks to a DICOM RT Structure Set (PS3.3 A.19): closed contours on the source slices."""

import io
import warnings
from collections.abc import Iterator

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import RTStructureSetStorage

from medmtl import __version__
from medmtl.errors import Code, OutputError
from medmtl.geometry.grid import Grid
from medmtl.outputs.contours import filled, outlines
from medmtl.outputs.dicom_check import POSITION_TOLERANCE_MM
from medmtl.outputs.dicom_instance import research_instance
from medmtl.outputs.dicom_seg import (
    ALGORITHM_FAMILY,
    LATERALITY,
    LESION_CATEGORY,
    ORGAN_CATEGORY,
    SERIES_NUMBER,
    origin_of,
)
from medmtl.outputs.dicom_source import SourceStudy
from medmtl.outputs.structures import Structure
from medmtl.result import CaseResult
from medmtl.shapes import FloatArray
from medmtl.task import CodedConcept

_STUDY_REFERENCE = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management: what (3006,0012) refers to a study by
_CONTOUR_DATA = Tag(0x3006, 0x0050)


def structure_set(result: CaseResult, source: SourceStudy, structures: tuple[Structure, ...]) -> Dataset:
    """An RT Structure Set with an ROI per structure and a closed planar contour per piece and source slice.

    Contours follow the pixel border, smoothed; holes are reached by keyholes, see `outlines`. The same result gives
    the same bytes.

    Args:
        result: the case.
        source: headers of the series, in the order of axis k.
        structures: what to write, at least one.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry a structure set.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source's own values, such as a name without ^
        dataset = research_instance(
            result,
            source,
            sop_class_uid=RTStructureSetStorage,
            modality="RTSTRUCT",
            role="contours",
            series=SERIES_NUMBER + 2,
        )
        del dataset.ContentDate, dataset.ContentTime  # a structure set has its own, StructureSetDate and -Time
        dataset.OperatorsName = ""
        dataset.StructureSetLabel = "RESEARCH medmtl"
        dataset.StructureSetName = "medmtl, research use only, not for diagnosis"
        dataset.StructureSetDate, dataset.StructureSetTime = source.date, source.time
        dataset.FrameOfReferenceUID = source.frame_of_reference_uid
        dataset.PositionReferenceIndicator = ""
        dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
        dataset.StructureSetROISequence = [_roi(structure, result, source) for structure in structures]
        dataset.ROIContourSequence = [_contours(structure, result.volume.grid, source) for structure in structures]
        dataset.RTROIObservationsSequence = [_observation(structure, result) for structure in structures]
        dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def check_structure_set(data: bytes, structures: tuple[Structure, ...], grid: Grid) -> None:
    """Fill the contours of a structure set's bytes and compare with the masks, each voxel.

    Raises:
        OutputError: `output-check-failed`, a voxel's centre lies on another side or a contour off its slice.
    """
    dataset = pydicom.dcmread(io.BytesIO(data))
    read = {int(item.ReferencedROINumber): item for item in dataset.ROIContourSequence}
    if sorted(read) != sorted(structure.number for structure in structures):
        raise _failed("the structure set holds other structures than were asked for")
    for structure in structures:
        polygons: dict[int, list[FloatArray]] = {}
        for item in read[structure.number].ContourSequence:
            k, polygon = _polygon(item, grid)
            polygons.setdefault(k, []).append(polygon)
        for k in range(grid.shape[2]):
            if not np.array_equal(filled(tuple(polygons.get(k, ())), grid.shape[:2]), structure.mask[:, :, k]):
                raise _failed(f"the contours of structure {structure.number} differ from its mask")


def _frame_of_reference(source: SourceStudy) -> Dataset:
    first = source.headers[0]
    series = Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = [_referenced(header) for header in source.headers]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_REFERENCE
    study.ReferencedSOPInstanceUID = first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _referenced(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def _roi(structure: Structure, result: CaseResult, source: SourceStudy) -> Dataset:
    model = result.findings["model"]
    item = Dataset()
    item.ROINumber = structure.number
    item.ReferencedFrameOfReferenceUID = source.frame_of_reference_uid
    item.ROIName = structure.label.title("en")[:64]
    item.ROIDescription = f"{structure.task}.{structure.label.name}, research use only"
    item.ROIVolume = f"{result.volume.grid.mask_ml(structure.mask):.8g}"  # cm3
    item.ROIGenerationAlgorithm = origin_of(structure, result)
    item.ROIGenerationDescription = f"medmtl {__version__}, model {model['name']}"[:64]
    item.ROIDerivationAlgorithmIdentificationSequence = hd.AlgorithmIdentificationSequence(
        name=f"medmtl {model['name']}"[:64],
        family=ALGORITHM_FAMILY,
        version=str(model["version"])[:64],
        source="medmtl, research use only",
    )
    return item


def _contours(structure: Structure, grid: Grid, source: SourceStudy) -> Dataset:
    color = structure.label.color
    item = Dataset()
    item.ReferencedROINumber = structure.number
    item.ROIDisplayColor = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    item.ContourSequence = []
    for k, points in _lps_outlines(structure, grid):
        contour = Dataset()
        contour.ContourImageSequence = [source.image(k)]
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.ContourNumber = len(item.ContourSequence) + 1
        contour[_CONTOUR_DATA] = _decimal_strings(points, min(grid.spacing))
        item.ContourSequence.append(contour)
    return item


def _lps_outlines(structure: Structure, grid: Grid) -> Iterator[tuple[int, FloatArray]]:
    for k in np.flatnonzero(structure.mask.any(axis=(0, 1))).tolist():
        for polygon in outlines(structure.mask[:, :, k]):
            yield k, grid.to_lps(np.column_stack([polygon, np.full(len(polygon), float(k))]))


def _decimal_strings(points: FloatArray, finest_mm: float) -> RawDataElement:
    """Contour Data (3006,0050), to a thousandth of a voxel; encoded here, since pydicom takes seconds for an organ."""
    digits = max(3, 3 - int(np.floor(np.log10(finest_mm))))
    numbers = np.round(points.ravel(), digits) + 0.0  # no minus zero
    text = "\\".join([f"{number:.{digits}f}" for number in numbers.tolist()])
    data = text.encode("ascii")
    data += b" " * (len(data) % 2)
    return RawDataElement(_CONTOUR_DATA, "DS", len(data), data, 0, True, True)


def _observation(structure: Structure, result: CaseResult) -> Dataset:
    label = structure.label
    item = Dataset()
    item.ObservationNumber = structure.number
    item.ReferencedROINumber = structure.number
    how = "reviewed by a reader" if "review" in result.findings else "not reviewed"
    item.ROIObservationDescription = f"Made by software, {how}, research use only"
    item.SegmentedPropertyCategoryCodeSequence = [_coded(LESION_CATEGORY if structure.is_lesion else ORGAN_CATEGORY)]
    if label.code is not None:
        code = _concept(label.code)
        modifiers = [_coded(LATERALITY[label.laterality])] if label.laterality in LATERALITY else []
        if label.modifier is not None:
            modifiers.append(_concept(label.modifier))
        if modifiers:
            code.SegmentedPropertyTypeModifierCodeSequence = modifiers
        item.RTROIIdentificationCodeSequence = [code]
    # a lesion is left open: GTV and its like are a radiotherapist's words
    item.RTROIInterpretedType = "" if structure.is_lesion else "ORGAN"
    item.ROIInterpreter = ""
    return item


def _concept(code: CodedConcept) -> Dataset:
    return _coded(hd.sr.CodedConcept(code.value, code.scheme, code.meaning))


def _coded(concept: object) -> Dataset:
    item = Dataset()
    for keyword, name in (
        ("CodeValue", "value"),
        ("CodingSchemeDesignator", "scheme_designator"),
        ("CodeMeaning", "meaning"),
    ):
        setattr(item, keyword, getattr(concept, name))
    return item


def _polygon(contour: Dataset, grid: Grid) -> tuple[int, FloatArray]:
    raw = contour.get_item(_CONTOUR_DATA).value
    index = grid.to_index(np.array(raw.split(b"\\"), dtype=np.float64).reshape(-1, 3))
    k = round(float(index[0, 2]))
    normal = np.cross(grid.affine[:3, 0], grid.affine[:3, 1])
    onto = np.column_stack([index[:, :2], np.full(len(index), float(k))])
    off_mm = (grid.to_lps(index) - grid.to_lps(onto)) @ normal / np.linalg.norm(normal)
    if len(index) != int(contour.NumberOfContourPoints):
        raise _failed("a contour of the structure set has lost points")
    if not 0 <= k < grid.shape[2] or np.abs(off_mm).max() > POSITION_TOLERANCE_MM:
        raise _failed("a contour of the structure set lies off its slice")
    return k, index[:, :2]


def _failed(what: str) -> OutputError:
    return OutputError(Code.OUTPUT_CHECK_FAILED, what, "nothing was written; report this with the version of medmtl")
