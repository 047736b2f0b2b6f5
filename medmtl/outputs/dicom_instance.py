"""A DICOM instance of ours before its content: patient and study of the source, a new series, who made it."""

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from medmtl import __version__
from medmtl.outputs.dicom_source import MANUFACTURER, SourceStudy, described, settle
from medmtl.result import CaseResult


def research_instance(
    result: CaseResult,
    source: SourceStudy,
    *,
    sop_class_uid: str,
    modality: str,
    role: str,
    series: int,
    number: int = 1,
) -> Dataset:
    """Patient, study, series, equipment and SOP common modules (PS3.3 C.7) of instance `number` of a new series.

    The transfer syntax is Implicit VR Little Endian: explicit representations bound a contour to 64 kB.

    Args:
        result: the case.
        source: headers of the series.
        sop_class_uid: what it will be.
        modality: Modality (0008,0060).
        role: "contours", say; goes into the series' description and, with `number`, into the UIDs.
        series: Series Number (0020,0011).
        number: Instance Number (0020,0013).

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry an instance.
    """
    instance = hd.base.SOPClass(
        study_instance_uid=source.headers[0].StudyInstanceUID,
        series_instance_uid=source.uid(f"{role}-series"),
        series_number=series,
        sop_instance_uid=source.uid(f"{role}-{number}"),
        sop_class_uid=sop_class_uid,
        instance_number=number,
        modality=modality,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ImplicitVRLittleEndian,
        manufacturer_model_name=str(result.findings["model"]["name"])[:64],
        software_versions=__version__,
        device_serial_number="0",
    )
    instance.copy_patient_and_study_information(source.headers[0])
    instance.SpecificCharacterSet = source.headers[0].SpecificCharacterSet
    settle(instance, source, described(role, result.findings.get("allowed", [])))
    return instance
