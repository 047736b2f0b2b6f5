"""The PDF report as a DICOM Encapsulated PDF (PS3.3 A.45.1), filed in the study it is about."""

import io
import warnings

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from medmtl.errors import Code, OutputError
from medmtl.outputs.dicom_instance import research_instance
from medmtl.outputs.dicom_seg import SERIES_NUMBER
from medmtl.outputs.dicom_source import SourceStudy
from medmtl.result import CaseResult

TITLE = "medmtl report, research use only, not for diagnosis"


def encapsulated_pdf(result: CaseResult, source: SourceStudy, pdf: bytes) -> Dataset:
    """An Encapsulated PDF that names the images it is about. The same result gives the same bytes.

    Args:
        result: the case.
        source: headers of the series.
        pdf: the report.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry a document.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source's own values, such as a name without ^
        document = research_instance(
            result,
            source,
            sop_class_uid=EncapsulatedPDFStorage,
            modality="DOC",
            role="report PDF",
            series=SERIES_NUMBER + 4,
        )
        document.ConversionType = "WSD"
        document.BurnedInAnnotation = "NO"  # the report names neither patient nor date
        document.AcquisitionDateTime = ""
        document.DocumentTitle = TITLE
        document.VerificationFlag = "UNVERIFIED"
        title = Dataset()
        title.CodeValue, title.CodingSchemeDesignator = "126000", "DCM"
        title.CodeMeaning = "Imaging Measurement Report"
        document.ConceptNameCodeSequence = [title]
        document.SourceInstanceSequence = [_reference(header) for header in source.headers]
        document.MIMETypeOfEncapsulatedDocument = "application/pdf"
        document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        document.EncapsulatedDocumentLength = len(pdf)
    return document


def check_document(data: bytes, pdf: bytes) -> None:
    """Compare a document's bytes with its report.

    Raises:
        OutputError: `output-check-failed`.
    """
    read = pydicom.dcmread(io.BytesIO(data))
    if read.EncapsulatedDocument[: int(read.EncapsulatedDocumentLength)] != pdf:
        what = "the encapsulated report differs from the report"
        raise OutputError(Code.OUTPUT_CHECK_FAILED, what, "nothing was written; report this with the version of medmtl")


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item
