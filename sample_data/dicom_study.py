"""Writes a volume as a DICOM study of one CT or MR series, with a synthetic identity and the same bytes every time."""

import io
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from medmtl.shapes import VoxelArray
from medmtl.volume import Volume

PATIENT_NAME = "PHANTOM^SAMPLE"
PATIENT_ID = "PHANTOM-SAMPLE"
DATE, TIME = "20200101", "120000"
CT_INTERCEPT = -1024  # stored values of CT are unsigned 12 bit
_UID_NAMESPACE = uuid.UUID("b86f2a6e-5f0d-4d36-9a52-5a1a4c2c6e11")


@dataclass(frozen=True, kw_only=True)
class StudyText:
    """What the headers say.

    Attributes:
        study: any text; the same text gives the same UIDs.
        description: Series Description (0008,103E).
        body_part: Body Part Examined (0018,0015), "HEART" or "ABDOMEN" say; may be empty.
        comment: Image Comments (0020,4000), origin and licence say.
    """

    study: str
    description: str
    body_part: str
    comment: str = ""


def write_dicom_study(target: Path, volume: Volume, text: StudyText) -> Path:
    """One file per slice in the folder `target`, or in a zip where its name ends so; returns `target`.

    The grid must be without shear in its slices; its third axis becomes the slice axis.

    Raises:
        ValueError: the modality is neither CT nor MR, or the values or the grid do not fit into such a series.
    """
    files = {f"IM_{k + 1:04d}.dcm": _file_bytes(instance) for k, instance in enumerate(instances(volume, text))}
    if target.suffix == ".zip":
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w") as archive:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 12, 0, 0))
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    else:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).write_bytes(content)
    return target


def instances(volume: Volume, text: StudyText) -> list[Dataset]:
    """The instances of the series, in the order of axis k.

    Raises:
        ValueError: as `write_dicom_study`.
    """
    if volume.modality not in ("CT", "MR"):
        raise ValueError(f"a series of this kind is CT or MR, not {volume.modality}")
    columns = volume.grid.affine[:3, :3] / np.asarray(volume.grid.spacing)
    if abs(columns[:, 0] @ columns[:, 1]) > 1e-4:
        raise ValueError("rows and columns of a DICOM slice are at right angles; these are not")
    stored = np.asarray(volume.array, dtype=np.int32) - (CT_INTERCEPT if volume.modality == "CT" else 0)
    if stored.min() < 0 or stored.max() > 4095:
        raise ValueError("values do not fit into 12 bits")
    return [_instance(volume, text, stored[:, :, k], k) for k in range(volume.grid.shape[2])]


def _uid(text: StudyText, *parts: object) -> str:
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, '/'.join(map(str, (text.study, *parts)))).int}"


def _instance(volume: Volume, text: StudyText, stored: VoxelArray, k: int) -> Dataset:
    """Instance `k`; `stored` are its `(i, j)` pixel values."""
    instance = Dataset()
    _describe(instance, volume, text, k)
    _place(instance, volume, k)
    if volume.modality == "CT":
        _ct_module(instance)
    else:
        _mr_module(instance, volume.grid.spacing[2])
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.Rows, instance.Columns = stored.shape[1], stored.shape[0]
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 12, 11
    instance.PixelRepresentation = 0
    instance.PixelData = stored.T.astype("<u2").tobytes()
    return instance


def _describe(instance: Dataset, volume: Volume, text: StudyText, k: int) -> None:
    """Patient, study, series and instance (PS3.3 C.7.1 to C.7.3, C.12.1)."""
    instance.SpecificCharacterSet = "ISO_IR 100"
    instance.SOPClassUID = CTImageStorage if volume.modality == "CT" else MRImageStorage
    instance.SOPInstanceUID = _uid(text, "instance", k)
    instance.PatientName, instance.PatientID = PATIENT_NAME, PATIENT_ID
    instance.PatientBirthDate = instance.PatientSex = ""
    instance.PatientIdentityRemoved = "YES"
    instance.DeidentificationMethod = "synthetic identity"
    instance.StudyInstanceUID = _uid(text, "study")
    instance.SeriesInstanceUID = _uid(text, "series")
    instance.StudyDate = instance.SeriesDate = instance.ContentDate = instance.AcquisitionDate = DATE
    instance.StudyTime = instance.SeriesTime = instance.ContentTime = instance.AcquisitionTime = TIME
    instance.AccessionNumber = instance.ReferringPhysicianName = ""
    instance.StudyID = "1"
    instance.StudyDescription = "medmtl sample"
    instance.SeriesDescription = text.description
    instance.SeriesNumber, instance.AcquisitionNumber, instance.InstanceNumber = 1, 1, k + 1
    instance.Modality = volume.modality
    instance.Manufacturer = "medmtl"
    if text.body_part:
        instance.BodyPartExamined = text.body_part
    if text.comment:
        instance.ImageComments = text.comment


def _place(instance: Dataset, volume: Volume, k: int) -> None:
    """Where the slice lies (PS3.3 C.7.4.1, C.7.6.2)."""
    grid = volume.grid
    directions = grid.affine[:3, :3] / np.asarray(grid.spacing)
    instance.FrameOfReferenceUID = _uid_of_frame(instance)
    instance.PositionReferenceIndicator = ""
    instance.PatientPosition = "HFS"
    corner = grid.to_lps(np.array([0.0, 0.0, k]))
    instance.ImagePositionPatient = [_number(v) for v in corner]
    instance.ImageOrientationPatient = [_number(v) for v in (*directions[:, 0], *directions[:, 1])]
    instance.PixelSpacing = [_number(grid.spacing[1]), _number(grid.spacing[0])]
    instance.SliceThickness = _number(grid.spacing[2])


def _uid_of_frame(instance: Dataset) -> str:
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, 'frame/' + str(instance.StudyInstanceUID)).int}"


def _number(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    for digits in range(12, 4, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{value} does not fit into a decimal string")


def _ct_module(instance: Dataset) -> None:
    """CT Image (PS3.3 C.8.2.1)."""
    instance.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    instance.RescaleIntercept, instance.RescaleSlope = CT_INTERCEPT, 1
    instance.RescaleType = "HU"
    instance.KVP = ""
    instance.WindowCenter, instance.WindowWidth = 40, 400


def _mr_module(instance: Dataset, step_mm: float) -> None:
    """MR Image (PS3.3 C.8.3.1); timing is unknown and therefore empty."""
    instance.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    instance.ScanningSequence = "GR"
    instance.SequenceVariant = "NONE"
    instance.ScanOptions = ""
    instance.MRAcquisitionType = "2D"
    instance.RepetitionTime = instance.EchoTime = instance.EchoTrainLength = ""
    instance.SpacingBetweenSlices = _number(step_mm)


def _file_bytes(instance: Dataset) -> bytes:
    """The DICOM file (PS3.10)."""
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = instance.SOPClassUID
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # pydicom would write its own version here, and other bytes after each of its releases
    instance.file_meta.ImplementationClassUID = "2.25.302185741956112884131962437417254461297"
    instance.file_meta.ImplementationVersionName = "MEDMTL_SAMPLE"
    content = io.BytesIO()
    dcmwrite(content, instance, enforce_file_format=True)
    return content.getvalue()
