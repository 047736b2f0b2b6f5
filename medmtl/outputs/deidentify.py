"""De-identified copies of DICOM images by an allow-list: what is not named here is not written (PS3.15 E.1).

The Basic Application Level Confidentiality Profile lists what to remove; this lists what to keep, so private groups,
overlays, comments and elements that nobody thought of go by themselves. Kept values are numbers, UIDs that are
replaced, and terms of closed lists; free text is never copied. Pixels are decoded and written anew, since encoded
streams can hold comments and unused bits overlays.
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

from medmtl import __version__
from medmtl.errors import Code, StudyError
from medmtl.outputs.dicom_source import IMPLEMENTATION_CLASS_UID

METHOD = "medmtl allow-list, PS3.15 E basic profile"

_NUMBERS = frozenset(
    {
        "SeriesNumber",
        "AcquisitionNumber",
        "InstanceNumber",
        "ImagesInAcquisition",
        "TemporalPositionIndex",
        "InStackPositionNumber",
        "DimensionIndexValues",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SliceLocation",
        "SliceThickness",
        "SpacingBetweenSlices",
        "GantryDetectorTilt",
        "PixelSpacing",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleSlope",
        "RescaleIntercept",
        "WindowCenter",
        "WindowWidth",
        "LossyImageCompressionRatio",
        "KVP",
        "EchoTime",
        "EchoNumbers",
        "EchoTrainLength",
        "RepetitionTime",
        "InversionTime",
        "FlipAngle",
        "MagneticFieldStrength",
        "NumberOfAverages",
        "EffectiveEchoTime",
    }
)
_TERMS = {
    "Modality": {"CT", "MR"},
    "PhotometricInterpretation": {"MONOCHROME1", "MONOCHROME2"},
    "PatientPosition": {"HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"},
    "RescaleType": {"HU", "US"},
    "BurnedInAnnotation": {"NO"},
    "LossyImageCompression": {"00", "01"},
    "PresentationLUTShape": {"IDENTITY", "INVERSE"},
    "VolumetricProperties": {"VOLUME", "SAMPLED", "DISTORTED", "MIXED"},
    "VolumeBasedCalculationTechnique": {"NONE", "MAX_IP", "MIN_IP", "MULTIPLANAR", "MEAN_IP", "MIXED"},
    "PixelPresentation": {"MONOCHROME", "MIXED"},
    "ContentQualification": {"PRODUCT", "RESEARCH", "SERVICE"},
    "ComplexImageComponent": {"MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"},
    "AcquisitionContrast": {"T1", "T2", "T2_STAR", "PROTON_DENSITY", "DIFFUSION", "PERFUSION"},
    "MRAcquisitionType": {"2D", "3D"},
    "ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
    "SequenceVariant": {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"},
    "DimensionOrganizationType": {"3D", "3D_TEMPORAL", "TILED_FULL", "TILED_SPARSE"},
}  # fmt: skip
_IMAGE_TYPES = {
    "ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "VOLUME", "OTHER", "MPR", "REFORMATTED",
    "AVERAGE", "NONE", "M", "P", "R", "I", "FFE", "SE", "M_FFE", "M_SE", "M_IR", "NORM", "DIS2D", "DIS3D", "MIXED",
    "MAGNITUDE", "PHASE MAP", "T1", "T2", "MOSAIC", "B0 MAP",
}  # fmt: skip
_REPLACED = frozenset(
    {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "DimensionOrganizationUID"}
)
_SEQUENCES = frozenset(
    {
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "FrameContentSequence",
        "FrameVOILUTSequence",
        "CTImageFrameTypeSequence",
        "MRImageFrameTypeSequence",
        "DimensionOrganizationSequence",
        "DimensionIndexSequence",
    }
)
_POINTERS = frozenset({"DimensionIndexPointer", "FunctionalGroupPointer"})
_EMPTY = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate",
    "PatientSex", "Manufacturer", "PositionReferenceIndicator", "Laterality",
)  # fmt: skip
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
    copy = _kept(source, pseudonyms, removed)
    copy.SOPClassUID = source.SOPClassUID
    copy.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY:
        setattr(copy, keyword, "")
    if copy.get("Modality") == "MR" and "PerFrameFunctionalGroupsSequence" not in copy:
        copy.ScanOptions = ""  # Type 2 of the MR Image module; its values are the vendor's own words
        copy.SequenceVariant = copy.get("SequenceVariant") or "NONE"
    patient = f"{source.get('PatientID', '')}|{source.get('IssuerOfPatientID', '')}"
    copy.PatientID = f"ANON-{pseudonyms.word('patient', patient)[:12].upper()}"
    copy.PatientName = copy.PatientID
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    copy.DeidentificationMethodCodeSequence = [code]
    copy.LongitudinalTemporalInformationModified = "REMOVED"
    _set_pixels(copy, source)
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copy.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    copy.file_meta.ImplementationVersionName = f"MEDMTL_{__version__}"[:16]
    return copy


def _kept(source: Dataset, pseudonyms: Pseudonyms, removed: Removed) -> Dataset:
    copy = Dataset()
    for element in source:
        keyword = keyword_for_tag(element.tag)
        if keyword in ("SOPClassUID", "PixelData"):
            continue
        if keyword in _SEQUENCES and element.VR == "SQ":
            setattr(copy, keyword, [_kept(item, pseudonyms, removed) for item in element.value])
        elif keyword in _REPLACED and element.VR == "UI":
            setattr(copy, keyword, pseudonyms.uid(str(element.value or "")))
            removed.texts.add(str(element.value or ""))
        else:
            value = _allowed(keyword, element)
            if value is None:
                _note(element, removed)
            else:
                setattr(copy, keyword, value)
    return copy


def _allowed(keyword: str, element: DataElement) -> Any:
    """The value where it is a number or a term that may be kept, else None."""
    value = element.value
    values = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
    if keyword in _NUMBERS:
        return _numbers(keyword, values)
    if keyword in _POINTERS:
        public = isinstance(value, BaseTag) and not value.is_private
        return value if public else None
    texts = [str(one) for one in values]
    if keyword in ("ImageType", "FrameType"):
        kept = [text if text in _IMAGE_TYPES else "OTHER" for text in texts]
        return kept or None
    if keyword == "StackID":
        return texts[0] if texts[0].isdigit() and len(texts[0]) < 4 else None
    return value if keyword in _TERMS and set(texts) <= _TERMS[keyword] else None


def _numbers(keyword: str, values: list[Any]) -> Any:
    kind: type = int if dictionary_VR(keyword) in ("IS", "US", "SS", "UL", "SL", "US or SS") else float
    try:
        numbers = [kind(one) for one in values if one not in (None, "")]
    except (TypeError, ValueError, OverflowError):
        return None
    if not numbers or not all(math.isfinite(one) for one in numbers):
        return None
    if dictionary_VR(keyword) == "DS":
        return [f"{one:.10g}" for one in numbers]
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
