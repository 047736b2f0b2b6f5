"""Headers of DICOM files: what one file says about itself, without its pixels."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.charset import python_encoding

from medmtl.errors import Code, Notice, StudyError
from medmtl.reading.dicom_file import check_deflated, looks_like_dicom
from medmtl.reading.dicom_frames import Plane, planes_of
from medmtl.reading.dicom_pixel_length import StoredPixels, locate_pixels
from medmtl.reading.dicom_values import PARSE_FAULTS, digits, integer, plain_text, text
from medmtl.reading.mosaic import mosaic_planes, tile_shape
from medmtl.reading.quiet_pydicom import quiet_pydicom

MAX_IMAGE_BYTES = 8 << 30

_NO_IMAGE = frozenset(
    {"SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "PR", "KO", "REG", "DOC", "AU", "ECG", "FID"}
)
_SLICED = frozenset({"CT", "MR", "PT"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_KEPT_HEADERS = 4096
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
        signed: whether stored values are, Pixel Representation (0028,0103).
        bits_stored: (0028,0101).
        planes: its images, one per frame, or per tile of a mosaic.
        mosaic: whether the planes are tiles of one picture; `rows` and `columns` are then those of a tile.
        pixels: where uncompressed pixels lie in the file; None where they must be decoded.
        fault: why no plane of it may be stacked, None where nothing is wrong.
        notices: what of the header had to be guessed.
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
    signed: bool
    bits_stored: int
    planes: tuple[Plane, ...]
    pixels: StoredPixels | None
    fault: StudyError | None
    mosaic: bool = False
    notices: tuple[Notice, ...] = field(default=())


def identity_of(stream: IO[bytes]) -> Identity:
    """Which study and series an open DICOM file belongs to; empty where absent or unreadable."""
    head = stream.read(4096)
    stream.seek(0)
    try:
        with quiet_pydicom():
            check_deflated(stream, head)
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_IDENTITY))
            study, series, instance, _ = (text(dataset, keyword) for keyword in _IDENTITY)
            number = integer(dataset, "SeriesNumber")
    except (*PARSE_FAULTS, StudyError):
        return Identity(instance_key=sha256(head).hexdigest())
    return Identity(
        study_uid=study,
        series_uid=series,
        instance_key=instance or sha256(head).hexdigest(),
        series_number=number,
    )


def file_identity(path: Path) -> Identity:
    """`identity_of` a file. The header is parsed once for this and for `read_instance`."""
    try:
        found = read_instance(path)
    except StudyError:
        with path.open("rb") as stream:
            return identity_of(stream)
    key = found.instance_uid
    if not key:
        with path.open("rb") as stream:
            key = sha256(stream.read(4096)).hexdigest()
    return Identity(
        study_uid=found.study_uid,
        series_uid=found.series_uid,
        instance_key=key,
        series_number=found.series_number,
    )


def read_instance(path: Path) -> Instance:
    """The header of a DICOM file, pixels left where they are but counted.

    Raises:
        StudyError: the header cannot be read, so that nobody knows which series the file belongs to.
    """
    try:
        state = path.stat()
    except OSError as fault:
        raise _closed() from fault
    return _parsed(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=_KEPT_HEADERS)
def _parsed(path: Path, size: int, _mtime_ns: int, _inode: int) -> Instance:
    try:
        stream = path.open("rb")
    except OSError as fault:
        raise _closed() from fault
    with stream, quiet_pydicom():
        head = stream.read(4096)
        stream.seek(0)
        if size == 0:
            raise StudyError(Code.EMPTY_INPUT, "a file is empty", "copy the series again")
        if not looks_like_dicom(head):
            raise StudyError(Code.NOT_AN_IMAGE, "a file is no DICOM file", "remove it, or copy it again")
        check_deflated(stream, head)
        try:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            if "Modality" not in dataset or not ("SeriesInstanceUID" in dataset or "Rows" in dataset):
                raise EOFError
            found = _instance(dataset, path, stream, size)
        except PARSE_FAULTS as fault:
            raise StudyError(
                Code.TRUNCATED, "the header of a file is cut short or damaged", "copy the series again"
            ) from fault
    return found if head[128:132] == b"DICM" else replace(found, notices=(*found.notices, _NO_PREAMBLE))


def forget_headers() -> None:
    """Drop the headers kept between `file_identity` and `read_instance`."""
    _parsed.cache_clear()


_NO_PREAMBLE = Notice(
    code=Code.HEADER_REPAIRED, text="files without preamble: their encoding was told from their first bytes"
)
_UNKNOWN_CHARACTERS = Notice(
    code=Code.HEADER_REPAIRED, text="an unknown character set: letters of names and descriptions may be wrong"
)


def _closed() -> StudyError:
    return StudyError(Code.UNREADABLE, "a file cannot be opened", "check its permissions and the disk")


def _instance(dataset: Any, path: Path, stream: IO[bytes], size: int) -> Instance:
    fault, pixels = _image_fault(dataset), None
    planes: tuple[Plane, ...] = ()
    rows, columns, mosaic = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0, False
    if fault is None:
        try:
            pixels = locate_pixels(dataset, stream, size, MAX_IMAGE_BYTES)
            planes = planes_of(dataset)
            if "MOSAIC" in _values(dataset, 0x00080008) and len(planes) == 1:
                planes = mosaic_planes(dataset, planes[0])
                rows, columns = tile_shape(rows, columns, len(planes))
                mosaic = True
        except StudyError as raised:
            fault = raised
    return Instance(
        path=path,
        study_uid=plain_text(dataset, 0x0020000D),
        series_uid=plain_text(dataset, 0x0020000E),
        instance_uid=plain_text(dataset, 0x00080018),
        sop_class_uid=plain_text(dataset, 0x00080016),
        frame_of_reference_uid=plain_text(dataset, 0x00200052),
        patient=sha256(plain_text(dataset, 0x00100020).encode()).hexdigest(),
        modality=plain_text(dataset, 0x00080060),
        image_type=_values(dataset, 0x00080008),
        description=text(dataset, "SeriesDescription"),
        series_number=digits(dataset, 0x00200011),
        instance_number=digits(dataset, 0x00200013),
        images_in_acquisition=digits(dataset, 0x00201002),
        rows=rows,
        columns=columns,
        mosaic=mosaic,
        photometric=plain_text(dataset, 0x00280004),
        rescaled="RescaleSlope" in dataset or "PerFrameFunctionalGroupsSequence" in dataset,
        rescale_unit=_rescale_unit(dataset),
        padding=_padding(dataset),
        signed=integer(dataset, "PixelRepresentation") == 1,
        bits_stored=integer(dataset, "BitsStored") or 0,
        planes=planes,
        pixels=pixels,
        fault=fault,
        notices=() if _known_characters(dataset) else (_UNKNOWN_CHARACTERS,),
    )


def _values(dataset: Any, tag: int) -> tuple[str, ...]:
    value = plain_text(dataset, tag)
    return tuple(part.strip() for part in value.split("\\")) if value else ()


def _known_characters(dataset: Any) -> bool:
    """Whether Specific Character Set (0008,0005) names sets that pydicom or Python know."""
    for name in _values(dataset, 0x00080005):
        if name and name not in python_encoding:
            try:
                codecs.lookup(name.replace("ISO_IR ", "iso-ir-"))
            except LookupError:
                return False
    return True


def _image_fault(dataset: Any) -> StudyError | None:
    modality, sop_class = plain_text(dataset, 0x00080060), plain_text(dataset, 0x00080016)
    if modality in _SLICED and "Rows" not in dataset:
        return StudyError(Code.TRUNCATED, "a header ends before its pixels are described", "copy the series again")
    if modality in _NO_IMAGE or "Rows" not in dataset:
        return StudyError(Code.NOT_AN_IMAGE, "the object is no image", "give the CT or MR images")
    if integer(dataset, "SamplesPerPixel") not in (None, 1) or "MONOCHROME" not in plain_text(dataset, 0x00280004):
        return StudyError(Code.COLOUR_IMAGE, "the pixels are colours", "give the grey values of the scanner")
    if modality not in _SLICED or sop_class.startswith(_SECONDARY_CAPTURE):
        return StudyError(
            Code.NOT_THREE_DIMENSIONAL,
            "the modality or the SOP class is not that of slices",
            "give the CT or MR images",
        )
    return None


def _rescale_unit(dataset: Any) -> str:
    shared: Sequence[Any] = dataset.get("SharedFunctionalGroupsSequence") or ()
    groups = shared[0].get("PixelValueTransformationSequence") if shared else None
    return plain_text(groups[0] if groups else dataset, 0x00281054)


def _padding(dataset: Any) -> tuple[int, int] | None:
    low = integer(dataset, "PixelPaddingValue")
    if low is None:
        return None
    high = integer(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(dataset, value) for value in (low, low if high is None else high)]
    return min(ends), max(ends)


def _as_stored(dataset: Any, value: int) -> int:
    """The padding value in the sign of the pixels: many writers give it the other VR."""
    span = 1 << int(dataset.get("BitsAllocated") or 16)
    if dataset.get("PixelRepresentation") == 1:
        return value - span if value >= span // 2 else value
    return value + span if value < 0 else value
