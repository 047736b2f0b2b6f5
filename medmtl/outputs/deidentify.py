"""De-identified copies of DICOM images by an allow-list: what is not named here is not written (PS3.15 E.1).

The Basic Application Level Confidentiality Profile lists what to remove; this lists what to keep, so private groups,
overlays, comments and elements that nobody thought of go by themselves. Kept values are numbers, UIDs that are
replaced, and terms of closed lists; free text is never copied. What the modules of multi-frame images require with a
value gets a dummy where the value may not stay. Pixels are decoded and written anew, since encoded streams can hold
comments and unused bits overlays.
"""

import hashlib
import hmac
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pydicom.valuerep import format_number_as_ds

from medmtl import __version__
from medmtl.errors import Code, StudyError
from medmtl.outputs.deidentify_allowed import (
    DUMMIES,
    DUMMY_DATE,
    EMPTY,
    GROUPS,
    IMAGE_TYPES,
    NUMBERS,
    POINTERS,
    REPLACED,
    SEQUENCES,
    TERMS,
)
from medmtl.outputs.dicom_source import IMPLEMENTATION_CLASS_UID

METHOD = "medmtl allow-list, PS3.15 E basic profile"

_NUMERIC = frozenset({"DS", "IS", "FD", "FL", "US", "UL", "SS", "SL"})
_TEXTUAL = frozenset({"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "DA", "DT", "UI", "UN"})


@dataclass(frozen=True, kw_only=True)
class Pseudonyms:
    """What stands for an identity: the same for the same one, and unguessable without the key.

    Attributes:
        key: secret of the site.
    """

    key: bytes

    def word(self, kind: str, identity: str) -> str:
        """32 hex digits."""
        told = f"{kind}|{identity}".encode("utf-8", "surrogateescape")
        return hmac.new(self.key, told, hashlib.sha256).hexdigest()[:32]

    def uid(self, uid: str) -> str:
        """A UID (PS3.5 B.2) in place of `uid`; empty for an empty one."""
        return f"2.25.{int(self.word('uid', uid), 16)}" if uid else ""


@dataclass(kw_only=True)
class Removed:
    """What was left out of a series.

    Attributes:
        elements: keyword, or "private" or the tag, to the number of times it was left out.
        texts: their values and the replaced UIDs, to be searched for. Holds identities: never written.
    """

    elements: Counter[str] = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)


def check_burned_in(header: Dataset) -> None:
    """Refuses an image that may show an identity in its pixels.

    Raises:
        StudyError: `burned-in`: Burned In Annotation (0028,0301) says YES, or nothing while the image was made from
            others or captured from a screen.
    """
    annotated = str(header.get("BurnedInAnnotation") or "")
    made = [str(value) for value in header.get("ImageType") or ()]
    captured = bool(header.get("ConversionType")) or made[:2] == ["DERIVED", "SECONDARY"]
    if annotated == "YES" or (annotated != "NO" and captured):
        what = "the images say that text is drawn into them" if annotated == "YES" else "the images may hold drawn text"
        raise StudyError(Code.BURNED_IN, what, "blank it in the archive, or give the original images")


def deidentified(source: Dataset, pseudonyms: Pseudonyms, removed: Removed) -> Dataset:
    """A copy of an image that holds allowed elements alone, in Explicit VR Little Endian.

    Args:
        source: with its pixels.
        pseudonyms: of the site.
        removed: takes what was left out.

    Raises:
        StudyError: `burned-in`.
    """
    check_burned_in(source)
    several = "PerFrameFunctionalGroupsSequence" in source
    copy = _kept(source, pseudonyms, removed, dummies=several)
    copy.SOPClassUID = source.SOPClassUID
    copy.SpecificCharacterSet = "ISO_IR 192"
    for keyword in EMPTY:
        if not copy.get(keyword):
            setattr(copy, keyword, "")
    _complete(copy, several=several)
    patient = f"{source.get('PatientID', '')}|{source.get('IssuerOfPatientID', '')}"
    copy.PatientID = f"ANON-{pseudonyms.word('patient', patient)[:12].upper()}"
    copy.PatientName = copy.PatientID
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = METHOD
    copy.DeidentificationMethodCodeSequence = [_code("113100", "DCM", "Basic Application Confidentiality Profile")]
    copy.LongitudinalTemporalInformationModified = "REMOVED"
    _set_pixels(copy, source)
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copy.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    copy.file_meta.ImplementationVersionName = f"MEDMTL_{__version__}"[:16]
    return copy


def _kept(source: Dataset, pseudonyms: Pseudonyms, removed: Removed, *, dummies: bool, group: bool = False) -> Dataset:
    """The allowed elements of a data set or an item.

    Args:
        source: to copy from.
        pseudonyms: of the site.
        removed: takes what was left out.
        dummies: whether required values that may not stay get a dummy.
        group: whether this is an item of a functional group, of which every number stays.
    """
    copy = Dataset()
    for element in source:
        keyword = keyword_for_tag(element.tag)
        if keyword in ("SOPClassUID", "PixelData"):
            continue
        if keyword in SEQUENCES and element.VR == "SQ":
            inner = keyword in GROUPS
            items = [_kept(item, pseudonyms, removed, dummies=dummies, group=inner) for item in element.value]
            setattr(copy, keyword, items)
        elif keyword in REPLACED and element.VR == "UI":
            setattr(copy, keyword, pseudonyms.uid(str(element.value or "")))
            removed.texts.add(str(element.value or ""))
        elif keyword == "AnatomicRegionSequence" and group:
            _note(element, removed)
            copy.AnatomicRegionSequence = [_code("91723000", "SCT", "Anatomical Structure")]
        else:
            value = _allowed(keyword, element, group=group)
            if value is None:
                _note(element, removed)
                value = DUMMIES.get(keyword) if dummies else None
            if value is not None:
                setattr(copy, keyword, value)
    return copy


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _complete(copy: Dataset, *, several: bool) -> None:
    """Adds what the modules of the image require beside what was kept (PS3.3 A.3, A.4, A.21, A.36, A.38)."""
    if several:
        copy.AcquisitionContextSequence = []
        _complete_dimensions(copy)
        for group in (*copy.get("SharedFunctionalGroupsSequence", ()), *copy.PerFrameFunctionalGroupsSequence):
            _complete_group(group)
            if "FrameAnatomySequence" in group:
                copy.pop("Laterality", None)  # each frame has its own
    elif copy.get("Modality") == "MR":
        copy.ScanOptions = ""  # Type 2 of the MR Image module; its values are the vendor's own words
        copy.SequenceVariant = copy.get("SequenceVariant") or "NONE"
    elif copy.get("Modality") == "PT":
        copy.SeriesDate = copy.AcquisitionDate = DUMMY_DATE
        copy.SeriesTime = copy.AcquisitionTime = "000000"
        copy.RadiopharmaceuticalInformationSequence = []
        copy.PatientOrientationCodeSequence = copy.PatientGantryRelationshipCodeSequence = []
        copy.pop("PatientPosition", None)  # the two stand in its place (C.8.4.6)


def _complete_group(group: Dataset) -> None:
    for modifier in group.get("MRModifierSequence", ()):
        if modifier.get("ParallelAcquisition") == "YES":  # some scanners leave a factor out that means nothing to them
            modifier.setdefault("ParallelReductionFactorSecondInPlane", 1.0)
    for timing in group.get("MRTimingAndRelatedParametersSequence", ()):
        rates = timing.get("SpecificAbsorptionRateSequence", ())
        timing.SpecificAbsorptionRateSequence = [one for one in rates if "SpecificAbsorptionRateDefinition" in one]


def _complete_dimensions(copy: Dataset) -> None:
    """Drops the dimensions whose pointers are private, and counts the values of the others from one (C.7.6.17)."""
    indices = list(copy.get("DimensionIndexSequence", ()))
    kept = [n for n, item in enumerate(indices) if "DimensionIndexPointer" in item]
    contents = [
        group.FrameContentSequence[0]
        for group in copy.PerFrameFunctionalGroupsSequence
        if group.get("FrameContentSequence") and "DimensionIndexValues" in group.FrameContentSequence[0]
    ]
    if not indices or not contents:
        return
    values = np.array([np.atleast_1d(one.DimensionIndexValues) for one in contents])
    if values.shape[1] != len(indices):
        return
    values = values[:, kept]
    values += np.maximum(0, 1 - values.min(axis=0))
    copy.DimensionIndexSequence = [indices[n] for n in kept]
    for content, row in zip(contents, values.tolist(), strict=True):
        content.DimensionIndexValues = row


def _allowed(keyword: str, element: DataElement, *, group: bool) -> Any:
    """The value where it is a number or a term that may be kept, else None."""
    value = element.value
    values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
    if keyword in NUMBERS or (group and keyword and element.VR in _NUMERIC):
        return _numbers(keyword, values)
    if keyword in POINTERS:
        public = isinstance(value, BaseTag) and not value.is_private
        return value if public else None
    texts = [str(one) for one in values]
    if keyword in ("ImageType", "FrameType"):
        kept = [text if text in IMAGE_TYPES else "OTHER" for text in texts]
        return kept or None
    if keyword == "StackID":
        return texts[0] if texts[0].isdigit() and len(texts[0]) < 4 else None
    return value if keyword in TERMS and set(texts) <= TERMS[keyword] else None


def _numbers(keyword: str, values: list[Any]) -> Any:
    kind: type = int if dictionary_VR(keyword) in ("IS", "US", "SS", "UL", "SL", "US or SS") else float
    try:
        numbers = [kind(one) for one in values if one not in (None, "")]
    except (TypeError, ValueError, OverflowError):
        return None
    if not numbers or not all(math.isfinite(one) for one in numbers):
        return None
    if dictionary_VR(keyword) == "DS":
        return [format_number_as_ds(float(one)) for one in numbers]
    return numbers if len(numbers) > 1 else numbers[0]


def _note(element: DataElement, removed: Removed) -> None:
    name = "private" if element.tag.is_private else keyword_for_tag(element.tag) or f"({element.tag.group:04X},xxxx)"
    removed.elements[name] += 1
    removed.texts |= set(_texts(element))


def _texts(element: DataElement) -> Iterator[str]:
    if element.VR == "SQ":
        for item in element.value:
            for inner in item:
                yield from _texts(inner)
    elif element.VR == "UN" and isinstance(element.value, bytes):
        yield element.value.decode("ascii", "ignore").strip(" \0")
    elif element.VR in _TEXTUAL:
        values = element.value if isinstance(element.value, list) or element.VM > 1 else [element.value]
        for value in values:
            text = str(value or "").strip()
            if element.VR == "UI" and UID(text).name != text:
                continue  # of the standard: it identifies nobody
            yield text
            if element.VR == "PN":
                yield from (part for group in text.split("=") for part in group.replace("^", " ").split())


def _set_pixels(copy: Dataset, source: Dataset) -> None:
    if not getattr(source.file_meta, "TransferSyntaxUID", None):  # a file without meta group was read as what it is
        implicit, _ = source.original_encoding
        source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    # the Rust decoder of pylibjpeg-rle aborts on damaged segments, beyond any `except`
    plugin = "pydicom" if source.file_meta.TransferSyntaxUID == RLELossless else ""
    pixels = np.asarray(pixel_array(source, raw=True, decoding_plugin=plugin))
    bits, allocated = int(source.BitsStored), int(source.BitsAllocated)
    if bits < allocated:
        values = pixels.astype(np.int64) & ((1 << bits) - 1)
        if source.PixelRepresentation == 1:
            values[values >= 1 << (bits - 1)] -= 1 << bits
        pixels = values
    kind = np.dtype(f"<{'i' if source.PixelRepresentation == 1 else 'u'}{allocated // 8}")
    data = np.ascontiguousarray(pixels.astype(kind)).tobytes()
    copy.add_new(0x7FE00010, "OW" if allocated > 8 else "OB", data + b"\0" * (len(data) % 2))
