"""Single values of a DICOM header, whatever state it is in.

Values are taken from the raw element where that is possible: pydicom's conversion of an element takes longer than
everything else that is done with it, and a study has hundreds of files.
"""

import math
import zlib
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag

from medmtl.errors import Code, StudyError

PARSE_FAULTS = (
    InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError,
    IndexError, NotImplementedError, RecursionError, OverflowError, MemoryError, zlib.error, RuntimeError, LookupError,
    UnicodeError,
)  # fmt: skip
"""What pydicom and its decoders raise on damaged files."""

_PADDING = " \0\t\r\n"


def plain_text(dataset: Any, tag: int) -> str:
    r"""A value of the default character set (codes, numbers, UIDs) as it stands, values joined by a backslash.

    Args:
        dataset: a pydicom data set.
        tag: group and element, 0x00080060 say.
    """
    element = dataset.get_item(Tag(tag))
    if element is None:
        return ""
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return value.decode("latin-1").strip(_PADDING)
    if value is None:
        return ""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return str(value).strip(_PADDING)
    return "\\".join(str(part).strip(_PADDING) for part in value)


def shown(dataset: Any, tag: int) -> str:
    """A value of any representation as text, numbers as short as they are exact; empty where absent."""
    try:
        value = dataset[Tag(tag)].value if Tag(tag) in dataset else None
        if value is None:
            return ""
        parts = value if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value]
        return "\\".join(f"{float(part):g}" if isinstance(part, float) else str(part).strip() for part in parts)
    except PARSE_FAULTS:
        return ""


def text(dataset: Any, keyword: str) -> str:
    """A value in the file's own character set; empty where it is absent or cannot be decoded."""
    try:
        return str(dataset.get(keyword) or "").strip()
    except PARSE_FAULTS:
        return ""


def integer(dataset: Any, keyword: str) -> int | None:
    """A whole number, binary or in digits; None where there is none."""
    try:
        value = dataset.get(keyword)
        if isinstance(value, bytes):
            return int.from_bytes(value[:2], "little")
        return None if value is None or value == "" else int(value)
    except PARSE_FAULTS:
        return None


def digits(dataset: Any, tag: int) -> int | None:
    """A whole number of VR IS; None where there is none."""
    try:
        return int(float(plain_text(dataset, tag).split("\\")[0]))
    except (ValueError, OverflowError):
        return None


def floats(dataset: Any, tag: int, name: str, length: int) -> tuple[float, ...] | None:
    """`length` finite numbers of VR DS, None where the element is absent or empty.

    Raises:
        StudyError: something else stands there.
    """
    value = plain_text(dataset, tag)
    if not value:
        return None
    try:
        numbers = tuple(float(part) for part in value.split("\\"))
    except ValueError as fault:
        raise StudyError(Code.BAD_GEOMETRY, f"{name} holds no numbers", "export the series again") from fault
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        raise StudyError(Code.BAD_GEOMETRY, f"{name} is not {length} finite numbers", "export the series again")
    return numbers


def rescale(dataset: Any) -> tuple[float, float]:
    """Rescale Slope (0028,1053) and Intercept (0028,1052); 1 and 0 where absent.

    Raises:
        StudyError: no finite numbers, a slope of zero, or a Modality LUT (0028,3000) instead.
    """
    if dataset.get("ModalityLUTSequence"):
        raise StudyError(
            Code.BAD_RESCALE, "the values pass through a lookup table (0028,3000)", "export rescaled values"
        )
    found = []
    for name, tag, absent in (("RescaleSlope", 0x00281053, 1.0), ("RescaleIntercept", 0x00281052, 0.0)):
        value = plain_text(dataset, tag)
        try:
            number = float(value) if value else absent
        except ValueError as fault:
            raise StudyError(Code.BAD_RESCALE, f"{name} is no number", "export the series again") from fault
        if not math.isfinite(number) or (name == "RescaleSlope" and number == 0.0):
            raise StudyError(Code.BAD_RESCALE, f"{name} is {number:g}", "export the series again")
        found.append(number)
    return found[0], found[1]
