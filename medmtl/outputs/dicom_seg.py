"""Masks to a DICOM Segmentation object (PS3.3 A.51), one binary segment per structure found."""

import warnings

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as Concept

from medmtl import __version__
from medmtl.outputs.dicom_source import MANUFACTURER, SourceStudy, described, settle
from medmtl.outputs.structures import Structure
from medmtl.result import CaseResult

ORGAN_CATEGORY = Concept("91723000", "SCT", "Anatomical Structure")
LESION_CATEGORY = Concept("49755003", "SCT", "Morphologically Abnormal Structure")
ANY_LESION = Concept("52988006", "SCT", "Lesion")
LATERALITY = {"left": Concept("7771000", "SCT", "Left"), "right": Concept("24028007", "SCT", "Right")}
ALGORITHM_FAMILY = Concept("123110", "DCM", "Artificial Intelligence")
SERIES_NUMBER = 8800


def concept_of(structure: Structure) -> Concept:
    """Coded type of a structure; a general one where its label has no code."""
    code = structure.label.code
    if code is None:
        return ANY_LESION if structure.is_lesion else ORGAN_CATEGORY
    return Concept(code.value, code.scheme, code.meaning)


def segmentation(result: CaseResult, source: SourceStudy, segments: tuple[Structure, ...]) -> Dataset:
    """A BINARY Segmentation of `segments` on the source slices; structures of different tasks may overlap.

    The same result gives the same bytes: UIDs come from the content, dates from the source.

    Args:
        result: the case.
        source: headers of the series, in the order of axis k.
        segments: what to write, at least one.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry a segmentation.
    """
    allowed = result.findings.get("allowed", [])
    # (segment, k, j, i) to (frame, row, column, segment): axis i runs along a row (PS3.3 C.7.6.2.1.1)
    pixels = np.stack([segment.mask.transpose(2, 1, 0) for segment in segments], axis=-1).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source's own values, such as a name without ^
        seg = hd.seg.Segmentation(
            source_images=list(source.headers),
            pixel_array=pixels,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, result, source) for segment in segments],
            series_instance_uid=source.uid("seg-series"),
            series_number=SERIES_NUMBER,
            sop_instance_uid=source.uid("seg"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=str(result.findings["model"]["name"])[:64],
            software_versions=__version__,
            device_serial_number="0",
            content_label="RESEARCH",
            content_description=described("segmentation", allowed),
            content_creator_name="medmtl^^",
            content_date=source.date,
            content_time=source.time,
            **_plane_arguments(result, source),
        )
        settle(seg, source, described("segmentation", allowed))
    return seg


def _plane_arguments(result: CaseResult, source: SourceStudy) -> dict[str, object]:
    # One multi-frame file may hold its frames in any order; planes are then told, not taken from its frames.
    if len(source.headers) > 1:
        return {}
    grid = result.volume.grid
    steps = grid.affine[:3, :3] / np.asarray(grid.spacing)
    depth = grid.spacing[2]
    return {
        "plane_positions": [
            hd.PlanePositionSequence("PATIENT", grid.to_lps(np.array([0.0, 0.0, k]))) for k in range(grid.shape[2])
        ],
        "plane_orientation": hd.PlaneOrientationSequence("PATIENT", [*steps[:, 0], *steps[:, 1]]),
        "pixel_measures": hd.PixelMeasuresSequence([grid.spacing[1], grid.spacing[0]], depth, depth),
    }


def _description(segment: Structure, result: CaseResult, source: SourceStudy) -> Dataset:
    label = segment.label
    model = result.findings["model"]
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=label.title("en")[:64],
        segmented_property_category=LESION_CATEGORY if segment.is_lesion else ORGAN_CATEGORY,
        segmented_property_type=concept_of(segment),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
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
