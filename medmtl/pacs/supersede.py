"""Results that replace earlier ones say so by reference: the objects before them stay where they are."""

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from medmtl.errors import Code, Notice
from medmtl.outputs.dicom_check import part10_bytes
from medmtl.outputs.files import write_atomic
from medmtl.reading.quiet_pydicom import quiet_pydicom


def notice_of(images_before: int, images: int) -> Notice:
    """What a result says that replaces one made from fewer or other images; its UIDs differ for it."""
    text = f"this result of {images} images replaces an earlier one of {images_before}, made before the others came in"
    return Notice(code=Code.SUPERSEDES, text=text)


def refer(files: tuple[Path, ...], former: tuple[Path, ...]) -> None:
    """Makes objects refer to those they replace, in place.

    Every object names the former series of its own SOP class in Related Series Sequence (0008,1250); an SR also names
    the former report in Predecessor Documents Sequence (0040,A360), as PS3.3 C.17.2 has it for documents.

    Args:
        files: the new objects.
        former: those of the earlier result.

    Raises:
        OutputError: `cannot-write`.
    """
    with quiet_pydicom():
        before = [pydicom.dcmread(path, stop_before_pixels=True) for path in former]
        for path in files:
            dataset = pydicom.dcmread(path)
            replaced = [one for one in before if one.SOPClassUID == dataset.SOPClassUID]
            if not replaced:
                continue
            series = {str(one.SeriesInstanceUID): one for one in replaced}
            dataset.RelatedSeriesSequence = [_series(one) for one in series.values()]
            if dataset.Modality == "SR":
                dataset.PredecessorDocumentsSequence = [_document(one) for one in replaced]
            write_atomic(path, part10_bytes(dataset))


def _series(former: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = former.StudyInstanceUID
    item.SeriesInstanceUID = former.SeriesInstanceUID
    item.PurposeOfReferenceCodeSequence = []
    return item


def _document(former: Dataset) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = former.SOPClassUID
    instance.ReferencedSOPInstanceUID = former.SOPInstanceUID
    series.SeriesInstanceUID = former.SeriesInstanceUID
    series.ReferencedSOPSequence = [instance]
    study.StudyInstanceUID = former.StudyInstanceUID
    study.ReferencedSeriesSequence = [series]
    return study
