"""The 2D images of a DICOM file: where each lies, and what tells it from others at the same place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydicom

from medmtl.errors import Code, StudyError
from medmtl.reading.dicom_values import floats, plain_text, rescale, shown

TRAITS = (
    "kind", "echo time", "inversion time", "b value", "gradient", "acquisition", "time point", "trigger time",
    "kernel", "tube voltage", "flip angle", "stack",
)  # fmt: skip
"""What may set volumes of one series apart, the most telling first."""

_FILE_TRAITS = (
    None, 0x00180081, 0x00180082, 0x00189087, 0x00189089, 0x00200012, 0x00200100, 0x00181060, 0x00181210, 0x00180060,
    0x00181314, None,
)  # fmt: skip
_BINARY = frozenset({0x00189087, 0x00189089})
_IMAGE_TYPE, _COMPLEX_COMPONENT = 0x00080008, 0x00089208
# functional group, element in it (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3), in the order of TRAITS
_FRAME_TRAITS: tuple[tuple[str, int] | None, ...] = (
    None,
    ("MREchoSequence", 0x00189082),
    ("MRModifierSequence", 0x00189079),
    ("MRDiffusionSequence", 0x00189087),
    None,
    ("FrameContentSequence", 0x00209156),
    ("FrameContentSequence", 0x00209128),
    ("CardiacSynchronizationSequence", 0x00209153),
    ("CTReconstructionSequence", 0x00181210),
    ("CTXRayDetailsSequence", 0x00180060),
    ("MRTimingAndRelatedParametersSequence", 0x00181314),
    ("FrameContentSequence", 0x00209056),
)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One 2D image of a file: where it lies and how its stored values become measured ones.

    Attributes:
        frame: index of the frame in its file, from 0.
        position: Image Position (Patient) (0020,0032), LPS mm; None where absent.
        orientation: Image Orientation (Patient) (0020,0037), unit vectors along a row, then a column;
            None where absent.
        pixel_spacing: Pixel Spacing (0028,0030), mm from row to row, then from column to column; None where absent.
        slope: Rescale Slope (0028,1053).
        intercept: Rescale Intercept (0028,1052).
        traits: values of `TRAITS` as they stand in the header, empty where absent.
    """

    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slope: float = 1.0
    intercept: float = 0.0
    traits: tuple[str, ...] = ("",) * len(TRAITS)


def planes_of(dataset: Any) -> tuple[Plane, ...]:
    """The planes of a file, one per frame, in the order of its frames.

    Raises:
        StudyError: frames without functional groups, numbers that are none, a rescale that cannot be.
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    count = int(dataset.get("NumberOfFrames") or 1)
    if frames is None and count == 1:
        return (_plane(0, (dataset, dataset, dataset, dataset), _file_traits(dataset)),)
    if not frames or len(frames) != count:
        raise StudyError(
            Code.MISSING_GEOMETRY, "the frames of a multi-frame image have no positions", "export single slices"
        )
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    keywords = (
        "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
    )  # fmt: skip
    planes = []
    for index, frame in enumerate(frames):
        position, orientation, measures, values = (_group(frame, shared, keyword) for keyword in keywords)
        planes.append(_plane(index, (position, orientation, measures, values), _frame_traits(frame, shared)))
    return tuple(planes)


def _plane(frame: int, groups: tuple[Any, Any, Any, Any], traits: tuple[str, ...]) -> Plane:
    position, orientation, measures, values = groups
    slope, intercept = rescale(values)
    return Plane(
        frame=frame,
        position=floats(position, 0x00200032, "ImagePositionPatient", 3),
        orientation=floats(orientation, 0x00200037, "ImageOrientationPatient", 6),
        pixel_spacing=floats(measures, 0x00280030, "PixelSpacing", 2),
        slope=slope,
        intercept=intercept,
        traits=traits,
    )


def _group(frame: Any, shared: Any, keyword: str) -> Any:
    """A functional group macro (PS3.3 C.7.6.16.2): of the frame, else shared."""
    sequence = frame.get(keyword) or shared.get(keyword)
    return sequence[0] if sequence else pydicom.Dataset()


def _file_traits(dataset: Any) -> tuple[str, ...]:
    kind = _joined(plain_text(dataset, _IMAGE_TYPE), plain_text(dataset, _COMPLEX_COMPONENT))
    return (kind, *(_file_trait(dataset, tag) for tag in _FILE_TRAITS[1:]))


def _file_trait(dataset: Any, tag: int | None) -> str:
    if tag is None:
        return ""
    return shown(dataset, tag) if tag in _BINARY else plain_text(dataset, tag)


def _joined(*values: str) -> str:
    return "\\".join(value for value in values if value)


def _frame_traits(frame: Any, shared: Any) -> tuple[str, ...]:
    return tuple(_each_frame_trait(frame, shared))


def _each_frame_trait(frame: Any, shared: Any) -> Iterator[str]:
    kinds = [_group(frame, shared, keyword) for keyword in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")]
    yield _joined(*(plain_text(kind, tag) for kind in kinds for tag in (0x00089007, _COMPLEX_COMPONENT)))
    for index, place in enumerate(_FRAME_TRAITS[1:], start=1):
        group = _group(frame, shared, place[0]) if place else None
        if TRAITS[index] == "gradient":
            directions = _group(frame, shared, "MRDiffusionSequence").get("DiffusionGradientDirectionSequence")
            yield shown(directions[0], 0x00189089) if directions else ""
        elif place and group is not None:
            yield shown(group, place[1])
