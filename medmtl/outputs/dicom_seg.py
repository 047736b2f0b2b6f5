"""Masks to a DICOM Segmentation object (PS3.3 A.51), one binary segment per structure found."""

import warnings
from collections.abc import Sequence

import highdicom as hd
import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as Concept
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from medmtl import __version__
from medmtl.geometry.grid import Grid
from medmtl.outputs.dicom_source import MANUFACTURER, SourceStudy, described, settle
from medmtl.outputs.structures import Structure
from medmtl.result import CaseResult

ORGAN_CATEGORY = Concept("91723000", "SCT", "Anatomical Structure")
LESION_CATEGORY = Concept("49755003", "SCT", "Morphologically Abnormal Structure")
ANY_LESION = Concept("52988006", "SCT", "Lesion")
LATERALITY = {"left": Concept("7771000", "SCT", "Left"), "right": Concept("24028007", "SCT", "Right")}
ALGORITHM_FAMILY = Concept("123110", "DCM", "Artificial Intelligence")
SERIES_NUMBER = 8800
_OF_THE_PLANE = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "Columns", "Rows",
        "FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing",
        "SpacingBetweenSlices", "SliceThickness", "SOPClassUID", "SOPInstanceUID",
    )
)  # fmt: skip
UPRIGHT = 8
"""What is added to `SERIES_NUMBER` for segments on the upright box of a tilted series."""
FURTHER = 20
"""What is added to `SERIES_NUMBER` for segments on a further channel's series."""


def concept_of(structure: Structure) -> Concept:
    """Coded type of a structure; a general one where its label has no code."""
    code = structure.label.code
    if code is None:
        return ANY_LESION if structure.is_lesion else ORGAN_CATEGORY
    return Concept(code.value, code.scheme, code.meaning)


def origin_of(structure: Structure, result: CaseResult) -> str:
    """AUTOMATIC, or SEMIAUTOMATIC where a reader drew on what the model had drawn (0062,0008)."""
    review = result.findings.get("review")
    if review is None:
        return "AUTOMATIC"
    drawn = f"{structure.task}.{structure.label.name}" in review["structures"]["corrected"]
    lesions = structure.task == "lesions" and (review["lesions"]["corrected"] or review["lesions"]["added"])
    return "SEMIAUTOMATIC" if drawn or lesions else "AUTOMATIC"


def segmentation(
    result: CaseResult,
    source: SourceStudy,
    segments: tuple[Structure, ...],
    *,
    upright: bool = False,
    channel: str = "",
) -> Dataset:
    """A BINARY Segmentation of `segments` on the source slices; structures of different tasks may overlap.

    The same result gives the same bytes: UIDs come from the content, dates from the source.

    Args:
        result: the case.
        source: headers of the series, in the order of axis k.
        segments: what to write, at least one.
        upright: whether `result` lies on the upright box of a tilted series: the frames then lie in the planes of the
            source slices, but not on their pixels.
        channel: name of the channel that the segments are drawn on, where it is not the model's first.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry a segmentation.
    """
    allowed = result.findings.get("allowed", [])
    role = "seg-upright" if upright else "seg"
    said = described(" ".join(filter(None, ("segmentation", channel, "upright" if upright else ""))), allowed)
    # (segment, k, j, i) to (frame, row, column, segment): axis i runs along a row (PS3.3 C.7.6.2.1.1)
    pixels = np.stack([segment.mask.transpose(2, 1, 0) for segment in segments], axis=-1).astype(np.uint8)
    told = all("SliceThickness" in header for header in source.headers)  # which highdicom asks for
    placed = upright or source.multi_frame or not told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source's own values, such as a name without ^
        seg = hd.seg.Segmentation(
            source_images=_stand_ins(source, result.volume.grid) if placed else list(source.headers),
            pixel_array=pixels,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, result, source) for segment in segments],
            series_instance_uid=source.uid(f"{role}-series"),
            series_number=SERIES_NUMBER + (UPRIGHT if upright else 0) + (FURTHER if channel else 0),
            sop_instance_uid=source.uid(role),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=str(result.findings["model"]["name"])[:64],
            software_versions=__version__,
            device_serial_number="0",
            content_label="RESEARCH",
            content_description=said,
            content_creator_name="medmtl^^",
            content_date=source.date,
            content_time=source.time,
        )
        if placed:
            _refer_to_slices(seg, source, result.volume.grid, same_pixels=not upright)
        settle(seg, source, said)
    return seg


def _stand_ins(source: SourceStudy, grid: Grid) -> list[Dataset]:
    """A header for each plane of a grid, as single-frame files would have them.

    highdicom reads frames in one order and with shared geometry only, which multi-frame files do not promise.
    """
    steps = grid.affine[:3, :3] / np.asarray(grid.spacing)
    base = Dataset()
    # elements are shared with the source: those of the plane are made anew, never changed
    base.update({tag: element for tag, element in source.headers[0].items() if tag not in _OF_THE_PLANE})
    base.Columns, base.Rows = grid.shape[:2]
    base.FrameOfReferenceUID = source.frame_of_reference_uid
    base.ImageOrientationPatient = _decimals([*steps[:, 0], *steps[:, 1]])
    base.PixelSpacing = _decimals([grid.spacing[1], grid.spacing[0]])
    base.SpacingBetweenSlices = base.SliceThickness = _decimals([_step_mm(grid)])[0]
    base.SOPClassUID = MRImageStorage  # the references are replaced
    headers = []
    for k in range(grid.shape[2]):
        header = Dataset()
        header.update(dict(base.items()))
        header.ImagePositionPatient = _decimals(grid.to_lps(np.array([0.0, 0.0, k])).tolist())
        header.SOPInstanceUID = source.uid(f"stand-in-{k}")
        headers.append(header)
    return headers


def _step_mm(grid: Grid) -> float:
    normal = np.cross(grid.affine[:3, 0], grid.affine[:3, 1])
    return float(abs(grid.affine[:3, 2] @ normal) / np.linalg.norm(normal))


def _decimals(values: Sequence[float]) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]


def _refer_to_slices(seg: Dataset, source: SourceStudy, grid: Grid, *, same_pixels: bool) -> None:
    """Derivation Image (0008,9124) of each frame: the slice of the source it was drawn on."""
    for item in seg.PerFrameFunctionalGroupsSequence:
        position = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=np.float64)
        plane = round(float(grid.to_index(position)[2]))
        image = source.image(plane) if same_pixels else source.image_at(plane)
        image.SpatialLocationsPreserved = "YES" if same_pixels else "NO"
        image.PurposeOfReferenceCodeSequence = [
            hd.sr.CodedConcept("121322", "DCM", "Source image for image processing operation")
        ]
        derivation = Dataset()
        derivation.SourceImageSequence = [image]
        derivation.DerivationCodeSequence = [hd.sr.CodedConcept("113076", "DCM", "Segmentation")]
        item.DerivationImageSequence = [derivation]
    references = []
    for header in source.headers:
        reference = Dataset()
        reference.ReferencedSOPClassUID = header.SOPClassUID
        reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
        references.append(reference)
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references


def _description(segment: Structure, result: CaseResult, source: SourceStudy) -> Dataset:
    label = segment.label
    model = result.findings["model"]
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=label.title("en")[:64],
        segmented_property_category=LESION_CATEGORY if segment.is_lesion else ORGAN_CATEGORY,
        segmented_property_type=concept_of(segment),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues[origin_of(segment, result)],
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"medmtl {model['name']}"[:64],
            family=ALGORITHM_FAMILY,
            version=str(model["version"])[:64],
            source="medmtl, research use only",
        ),
        tracking_uid=source.uid(f"segment|{segment.task}|{label.name}"),
        tracking_id=f"{segment.task}.{label.name}"[:64],
        display_color=_cielab(label.color),
    )
    # in words: the code of a microvascular obstruction says "Obstruction" alone
    description.SegmentDescription = f"{segment.task}.{label.name}: {label.title('en')}, research use only"[:1024]
    modifiers = [LATERALITY[label.laterality]] if label.laterality in LATERALITY else []
    if label.modifier is not None:
        modifiers.append(Concept(label.modifier.value, label.modifier.scheme, label.modifier.meaning))
    if modifiers:
        item = description.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept(concept.value, concept.scheme_designator, concept.meaning) for concept in modifiers
        ]
    return description


def _cielab(color: str) -> hd.color.CIELabColor:
    """Recommended Display CIELab Value (0062,000D) of "#RRGGBB" (sRGB, D65 adapted to D50)."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    )
    ratio = to_xyz @ linear / np.array([0.9642, 1.0, 0.8249])
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    lab = (116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2]))
    return hd.color.CIELabColor(
        *(float(np.clip(v, low, high)) for v, low, high in zip(lab, (0, -128, -128), (100, 127, 127), strict=True))
    )
