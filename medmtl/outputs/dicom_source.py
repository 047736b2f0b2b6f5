"""What DICOM outputs take from their source series: headers, dates, and UIDs that depend on content only."""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medmtl import __version__
from medmtl.errors import Code, Notice
from medmtl.outputs.files import plain
from medmtl.result import CaseResult
from medmtl.volume import Volume

MANUFACTURER = "medmtl"
IMPLEMENTATION_CLASS_UID = "2.25." + str(uuid.uuid5(uuid.NAMESPACE_DNS, "medmtl.implementation").int)
RESEARCH = "RESEARCH medmtl"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "medmtl.dicom")
_EMPTY_IF_MISSING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName",
)  # fmt: skip
_FALLBACK_DATE = "19700101"


@dataclass(frozen=True, kw_only=True)
class SourceStudy:
    """The source series as DICOM outputs see it. Holds identities: never logged.

    Attributes:
        headers: one dataset per file without pixels, missing Type 2 patient and study attributes present and empty;
            for single-frame files in the order of axis k.
        slices: index into `headers` and number of the frame, from 1 (0 for single-frame files), of each slice in the
            order of axis k.
        frame_of_reference_uid: (0020,0052) of the series.
        date: DA, of the source: outputs carry no time of their own making.
        time: TM, of the source.
        digest: hash of input, model, settings and answers; UIDs are derived from it.
        places: index of each slice along axis k of the volume's grid where that has even planes between uneven
            slices; else empty.
    """

    headers: tuple[Dataset, ...]
    slices: tuple[tuple[int, int], ...]
    frame_of_reference_uid: str
    date: str
    time: str
    digest: str
    places: tuple[float, ...] = ()

    def uid(self, role: str) -> str:
        """UUIDv5-derived UID (PS3.5 B.2) of one object or item; the same for the same content."""
        return "2.25." + str(uuid.uuid5(_NAMESPACE, f"{self.digest}|{role}").int)

    @property
    def multi_frame(self) -> bool:
        """Whether a file holds several slices."""
        return any(frame > 0 for _, frame in self.slices)

    def image(self, k: int) -> Dataset:
        """Reference to the image of slice `k`: Image SOP Instance Reference Macro (PS3.3 10.3)."""
        file, frame = self.slices[k]
        item = Dataset()
        item.ReferencedSOPClassUID = self.headers[file].SOPClassUID
        item.ReferencedSOPInstanceUID = self.headers[file].SOPInstanceUID
        if frame:
            item.ReferencedFrameNumber = frame
        return item

    def image_at(self, plane: int) -> Dataset:
        """Reference to the image of the slice next to plane `plane` of the volume's grid."""
        if not self.places:
            return self.image(plane)
        return self.image(int(np.abs(np.asarray(self.places) - plane).argmin()))


def dicom_obstacle(volume: Volume) -> Notice | None:
    """Why no DICOM object can refer to the series of `volume`; None where one can. For NIfTI input None, too."""
    source = volume.dicom
    if source is None:
        return None
    missing = [
        name
        for name, value in (
            ("SOP Class UID", source.sop_class_uid),
            ("Series Instance UID", source.series_uid),
            ("Study Instance UID", source.study_uid),
            ("Frame of Reference UID", source.frame_of_reference_uid),
            ("SOP Instance UID", source.instance_uids and all(source.instance_uids)),
        )
        if not value
    ]
    if missing:
        text = f"The source series has no {' and no '.join(missing)}, so DICOM objects cannot refer to it."
        return Notice(code=Code.NO_DICOM_OUTPUT, text=text)
    if source.mosaic:
        text = "The source images are mosaics, whose slices DICOM objects cannot refer to."
        return Notice(code=Code.NO_DICOM_OUTPUT, text=text)
    return None


def read_source(result: CaseResult) -> SourceStudy:
    """Headers of the source series with what DICOM outputs need filled in, on copies.

    Raises:
        OSError: a source file is gone.
        InvalidDicomError: a source file is no longer a DICOM file.
        ValueError: the case was not read from DICOM.
    """
    source = result.volume.dicom
    if source is None:
        raise ValueError("the case was not read from DICOM")
    files = dict.fromkeys(source.instances)
    # forced, since files without preamble are read, too
    headers = tuple(_complete(pydicom.dcmread(path, stop_before_pixels=True, force=True)) for path in files)
    place = {path: index for index, path in enumerate(files)}
    frames = source.frames or (0,) * len(source.instances)
    slices = tuple((place[path], frame) for path, frame in zip(source.instances, frames, strict=True))
    if [str(headers[file].SOPInstanceUID) for file, _ in slices] != list(source.instance_uids):
        raise InvalidDicomError("the source files changed after reading")
    first = headers[0]
    date = _first_valid(first, ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), r"\d{8}")
    time = _first_valid(first, ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), r"\d{2,6}(\.\d+)?")
    return SourceStudy(
        headers=headers,
        slices=slices,
        frame_of_reference_uid=source.frame_of_reference_uid,
        date=date or _FALLBACK_DATE,
        time=time or "000000",
        digest=result_digest(result),
        places=source.places,
    )


def result_digest(result: CaseResult) -> str:
    """SHA-256 of input, model, settings and answers. The case's name is left out: it is a choice of the user's."""
    told = {key: value for key, value in result.findings.items() if key != "case"}
    digest = hashlib.sha256(json.dumps(plain(told), sort_keys=True).encode())
    digest.update(f"{result.volume.content_hash}|{__version__}".encode())
    for name in sorted(result.masks):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(result.masks[name]).tobytes())
    return digest.hexdigest()


def settle(dataset: Any, source: SourceStudy, description: str) -> None:
    """Make an object of highdicom depend on content only, and say in its series what it is.

    highdicom stamps the hour of writing, draws random UIDs for dimensions and names itself as implementation.
    """
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    dataset.file_meta.ImplementationVersionName = f"MEDMTL_{__version__}"[:16]
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "TimezoneOffsetFromUTC"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.SeriesDate, dataset.SeriesTime = source.date, source.time
    dataset.ContentDate, dataset.ContentTime = source.date, source.time
    dataset.SeriesDescription = description[:64]
    for item in dataset.get("ContributingEquipmentSequence", ()):
        item.pop("ContributionDateTime", None)
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(keyword, ()):
            item.DimensionOrganizationUID = source.uid("dimensions")


def described(what: str, allowed: Sequence[str]) -> str:
    """Series Description (0008,103E, 64 characters): research, what it is, and which guards were passed by the user."""
    text = f"{RESEARCH} {what}, not for diagnosis"
    return f"{text}, ALLOWED {'+'.join(allowed)}"[:64] if allowed else text


_OPTIONAL_SEQUENCES = (
    "ProcedureCodeSequence", "ReasonForPerformedProcedureCodeSequence", "RequestingServiceCodeSequence",
    "ReferencedStudySequence", "ReferencedPatientSequence", "PatientSpeciesCodeSequence", "PatientBreedCodeSequence",
    "AdmittingDiagnosesCodeSequence", "IssuerOfAccessionNumberSequence", "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence", "PhysiciansOfRecordIdentificationSequence",
    "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianIdentificationSequence",
    "PhysiciansReadingStudyIdentificationSequence",
)  # fmt: skip
"""Of the patient and study modules: absent or with an item (PS3.3 C.7.1.1, C.7.2)."""


def _complete(header: Dataset) -> Dataset:
    for keyword in _OPTIONAL_SEQUENCES:
        if keyword in header and not header[keyword].value:
            delattr(header, keyword)
    if "DeidentificationMethod" in header and not header.DeidentificationMethod:  # Type 1C (PS3.3 C.7.1.1)
        header.DeidentificationMethod = "not stated by the source"
    for keyword in _EMPTY_IF_MISSING:
        if header.get(keyword) is None:
            setattr(header, keyword, "")
    if not header.get("SpecificCharacterSet"):
        header.SpecificCharacterSet = "ISO_IR 100"
    if header.PatientSex not in ("", "M", "F", "O"):
        header.PatientSex = ""
    for keyword, pattern in (
        ("PatientBirthDate", r"\d{8}"),
        ("StudyDate", r"\d{8}"),
        ("StudyTime", r"\d{2,6}(\.\d+)?"),
    ):
        if not re.fullmatch(pattern, str(header.get(keyword))):
            setattr(header, keyword, "")
    return header


def _first_valid(header: Dataset, keywords: Sequence[str], pattern: str) -> str | None:
    for keyword in keywords:
        text = str(header.get(keyword) or "")
        if re.fullmatch(pattern, text):
            return text
    return None


def with_warning(result: CaseResult, notice: Notice) -> CaseResult:
    """`result` with `notice` among the warnings of its findings; the original stays as it is."""
    warnings = [*result.findings.get("warnings", []), {"code": str(notice.code), "text": notice.text}]
    return replace(result, findings={**result.findings, "warnings": warnings})
