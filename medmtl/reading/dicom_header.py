"""Headers of DICOM files: what one file says about itself, without its pixels."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medmtl.errors import Code, StudyError
from medmtl.reading.dicom_pixel_length import pixel_fault
from medmtl.reading.quiet_pydicom import quiet_pydicom

MAX_INFLATED_BYTES = 2 << 30
MAX_IMAGE_BYTES = 8 << 30

PARSE_FAULTS = (
    InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError,
    IndexError, NotImplementedError, RecursionError, OverflowError, MemoryError, zlib.error, RuntimeError, LookupError,
    UnicodeError,
)  # fmt: skip
"""What pydicom and its decoders raise on damaged files."""

_NO_IMAGE = frozenset(
    {"SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "PR", "KO", "REG", "DOC", "AU", "ECG", "FID"}
)
_SLICED = frozenset({"CT", "MR", "PT"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


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
    """

    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slope: float = 1.0
    intercept: float = 0.0


_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Where a file belongs: (0020,000D), (0020,000E), (0008,0018) or a digest, (0020,0011). Never logged."""

    study_uid: str = ""
    series_uid: str = ""
    instance_key: str = ""
    series_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One DICOM file. Holds UIDs: never logged.

    Attributes:
        path: where the file lies.
        patient: SHA-256 of Patient ID (0010,0020), to compare and never to show.
        rescaled: whether the file says how stored values become measured ones.
        rescale_unit: Rescale Type (0028,1054), "HU" for CT; empty where absent.
        padding: smallest and largest stored value that mean "no data" (0028,0120), (0028,0121).
        planes: its images, one per frame.
        fault: why no plane of it may be stacked, None where nothing is wrong.
    """

    path: Path
    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str
    patient: str
    modality: str
    image_type: tuple[str, ...]
    description: str
    series_number: int | None
    instance_number: int | None
    images_in_acquisition: int | None
    rows: int
    columns: int
    photometric: str
    rescaled: bool
    rescale_unit: str
    padding: tuple[int, int] | None
    planes: tuple[Plane, ...]
    fault: StudyError | None


def is_directory_file(head: bytes) -> bool:
    """Whether a DICOM file is a DICOMDIR, the index of a medium (PS3.10 8)."""
    return b"1.2.840.10008.1.3.10" in head[132:512]


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first 140 bytes open a DICOM file, with its preamble or, as some exports, without."""
    if head[128:132] == b"DICM":
        return True
    # a data set may start only with group 0002 or 0008, low element, little endian
    if head[:2] not in (b"\x02\x00", b"\x08\x00") or len(head) < 12 or head[3] != 0 or head[2] > 0x18:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") <= 256


def identity_of(stream: IO[bytes]) -> Identity:
    """Which study and series an open DICOM file belongs to; empty where absent or unreadable."""
    head = stream.read(4096)
    stream.seek(0)
    try:
        with quiet_pydicom():
            _check_deflated(stream, head)
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_IDENTITY))
            study, series, instance, _ = (_text(dataset, keyword) for keyword in _IDENTITY)
            number = _integer(dataset, "SeriesNumber")
    except (*PARSE_FAULTS, StudyError):
        return Identity(instance_key=sha256(head).hexdigest())
    return Identity(
        study_uid=study,
        series_uid=series,
        instance_key=instance or sha256(head).hexdigest(),
        series_number=number,
    )


def read_instance(path: Path) -> Instance:
    """The header of a DICOM file, pixels left where they are but counted.

    Raises:
        StudyError: the header cannot be read, so that nobody knows which series the file belongs to.
    """
    try:
        size = path.stat().st_size
        stream = path.open("rb")
    except OSError as fault:
        raise StudyError(Code.UNREADABLE, "a file cannot be opened", "check its permissions and the disk") from fault
    with stream, quiet_pydicom():
        head = stream.read(4096)
        stream.seek(0)
        if size == 0:
            raise StudyError(Code.EMPTY_INPUT, "a file is empty", "copy the series again")
        if not looks_like_dicom(head):
            raise StudyError(Code.NOT_AN_IMAGE, "a file is no DICOM file", "remove it, or copy it again")
        _check_deflated(stream, head)
        try:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            if "Modality" not in dataset or not ("SeriesInstanceUID" in dataset or "Rows" in dataset):
                raise EOFError
            return _instance(dataset, path, stream, size)
        except PARSE_FAULTS as fault:
            raise StudyError(
                Code.TRUNCATED, "the header of a file is cut short or damaged", "copy the series again"
            ) from fault


def _check_deflated(stream: IO[bytes], head: bytes) -> None:
    if DeflatedExplicitVRLittleEndian.encode() + b"\x00" not in head[132:]:
        return
    start = 144 + int.from_bytes(head[140:144], "little")  # the meta group opens with its own length, PS3.10 7.1
    stream.seek(start)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        while chunk := stream.read(1 << 16):
            while chunk:
                total += len(inflate.decompress(chunk, 1 << 20))
                chunk = inflate.unconsumed_tail
                if total > MAX_INFLATED_BYTES:
                    raise StudyError(Code.TOO_LARGE, "a file inflates beyond 2 GiB", "export it uncompressed")
    except zlib.error as fault:
        raise StudyError(Code.TRUNCATED, "the deflated data of a file are damaged", "copy the series again") from fault
    if not inflate.eof:
        raise StudyError(Code.TRUNCATED, "the deflated data of a file end too early", "copy the series again")
    stream.seek(0)


def _instance(dataset: Any, path: Path, stream: IO[bytes], size: int) -> Instance:
    fault = _image_fault(dataset) or pixel_fault(dataset, stream, size, MAX_IMAGE_BYTES)
    planes: tuple[Plane, ...] = ()
    if fault is None:
        try:
            planes = _planes(dataset)
        except StudyError as raised:
            fault = raised
    image_type = dataset.get("ImageType") or ()
    return Instance(
        path=path,
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        instance_uid=_text(dataset, "SOPInstanceUID"),
        sop_class_uid=_text(dataset, "SOPClassUID"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        patient=sha256(_text(dataset, "PatientID").encode()).hexdigest(),
        modality=_text(dataset, "Modality"),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(str(part) for part in image_type),
        description=_text(dataset, "SeriesDescription"),
        series_number=_integer(dataset, "SeriesNumber"),
        instance_number=_integer(dataset, "InstanceNumber"),
        images_in_acquisition=_integer(dataset, "ImagesInAcquisition"),
        rows=_integer(dataset, "Rows") or 0,
        columns=_integer(dataset, "Columns") or 0,
        photometric=_text(dataset, "PhotometricInterpretation"),
        rescaled="RescaleSlope" in dataset or "PerFrameFunctionalGroupsSequence" in dataset,
        rescale_unit=_rescale_unit(dataset),
        padding=_padding(dataset),
        planes=planes,
        fault=fault,
    )


def _image_fault(dataset: Any) -> StudyError | None:
    modality = _text(dataset, "Modality")
    if modality in _SLICED and "Rows" not in dataset:
        return StudyError(Code.TRUNCATED, "a header ends before its pixels are described", "copy the series again")
    if modality in _NO_IMAGE or "Rows" not in dataset:
        return StudyError(Code.NOT_AN_IMAGE, "the object is no image", "give the CT or MR images")
    if dataset.get("SamplesPerPixel", 1) != 1 or "MONOCHROME" not in _text(dataset, "PhotometricInterpretation"):
        return StudyError(Code.COLOUR_IMAGE, "the pixels are colours", "give the grey values of the scanner")
    if modality not in _SLICED or _text(dataset, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        return StudyError(
            Code.NOT_THREE_DIMENSIONAL,
            "the modality or the SOP class is not that of slices",
            "give the CT or MR images",
        )
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        return StudyError(Code.MOSAIC, "the image is a mosaic of slices", "convert it to single slices (enhanced MR)")
    return None


def _planes(dataset: Any) -> tuple[Plane, ...]:
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    count = int(dataset.get("NumberOfFrames") or 1)
    if frames is None and count == 1:
        return (_plane(0, dataset, dataset, dataset, dataset),)
    if not frames or len(frames) != count:
        raise StudyError(
            Code.MISSING_GEOMETRY, "the frames of a multi-frame image have no positions", "export single slices"
        )
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    # functional group macros of PS3.3 C.7.6.16.2: of the frame, else shared
    return tuple(
        _plane(
            index,
            _group(frame, shared, "PlanePositionSequence"),
            _group(frame, shared, "PlaneOrientationSequence"),
            _group(frame, shared, "PixelMeasuresSequence"),
            _group(frame, shared, "PixelValueTransformationSequence"),
        )
        for index, frame in enumerate(frames)
    )


def _group(frame: Any, shared: Any, keyword: str) -> Any:
    sequence = frame.get(keyword) or shared.get(keyword)
    return sequence[0] if sequence else pydicom.Dataset()


def _plane(frame: int, position: Any, orientation: Any, measures: Any, rescale: Any) -> Plane:
    slope, intercept = _rescale(rescale)
    return Plane(
        frame=frame,
        position=_floats(position, "ImagePositionPatient", 3),
        orientation=_floats(orientation, "ImageOrientationPatient", 6),
        pixel_spacing=_floats(measures, "PixelSpacing", 2),
        slope=slope,
        intercept=intercept,
    )


def _rescale(dataset: Any) -> tuple[float, float]:
    if dataset.get("ModalityLUTSequence"):
        raise StudyError(
            Code.BAD_RESCALE, "the values pass through a lookup table (0028,3000)", "export rescaled values"
        )
    found = []
    for keyword, absent in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        try:
            value = dataset.get(keyword)
            number = absent if value is None or value == "" else float(value)
        except (ValueError, TypeError, OverflowError) as fault:
            raise StudyError(Code.BAD_RESCALE, f"{keyword} is no number", "export the series again") from fault
        if not math.isfinite(number) or (keyword == "RescaleSlope" and number == 0.0):
            raise StudyError(Code.BAD_RESCALE, f"{keyword} is {number:g}", "export the series again")
        found.append(number)
    return found[0], found[1]


def _rescale_unit(dataset: Any) -> str:
    shared: Sequence[Any] = dataset.get("SharedFunctionalGroupsSequence") or ()
    groups = shared[0].get("PixelValueTransformationSequence") if shared else None
    return _text(groups[0] if groups else dataset, "RescaleType")


def _floats(dataset: Any, keyword: str, length: int) -> tuple[float, ...] | None:
    try:
        value = dataset.get(keyword)
        if value is None or value == "" or value == []:
            return None
        numbers = tuple(float(part) for part in value)
    except (ValueError, TypeError, OverflowError) as fault:
        raise StudyError(Code.BAD_GEOMETRY, f"{keyword} holds no numbers", "export the series again") from fault
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        raise StudyError(Code.BAD_GEOMETRY, f"{keyword} is not {length} finite numbers", "export the series again")
    return numbers


def _padding(dataset: Any) -> tuple[int, int] | None:
    low = _integer(dataset, "PixelPaddingValue")
    if low is None:
        return None
    high = _integer(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(dataset, value) for value in (low, low if high is None else high)]
    return min(ends), max(ends)


def _as_stored(dataset: Any, value: int) -> int:
    """The padding value in the sign of the pixels: many writers give it the other VR."""
    span = 1 << int(dataset.get("BitsAllocated") or 16)
    if dataset.get("PixelRepresentation") == 1:
        return value - span if value >= span // 2 else value
    return value + span if value < 0 else value


def _text(dataset: Any, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip()
    except PARSE_FAULTS:
        return ""


def _integer(dataset: Any, keyword: str) -> int | None:
    try:
        value = dataset.get(keyword)
        if isinstance(value, bytes):
            return int.from_bytes(value[:2], "little")
        return None if value is None or value == "" else int(value)
    except PARSE_FAULTS:
        return None
