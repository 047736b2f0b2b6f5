"""Small series written on the spot, for faults no stored file has."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

MakeSeries = Callable[..., Path]


@pytest.fixture
def make_series(tmp_path: Path) -> MakeSeries:
    """A function that writes a CT series of 16 x 12 pixels and returns its folder.

    `each(index)` gives tags of one slice; further keywords are tags of all.
    """

    def make(name: str, count: int = 6, each: Callable[[int], dict[str, Any]] = lambda _: {}, **tags: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            dataset = _slice(index, tags | each(index))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset.save_as(folder / f"{dataset.SeriesNumber}_{index:03d}.dcm", enforce_file_format=True)
        return folder

    return make


def _slice(index: int, tags: dict[str, Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    series = tags.get("SeriesNumber", 1)
    values: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": f"1.2.3.{series}.{index + 1}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": f"1.2.3.{series}",
        "FrameOfReferenceUID": "1.2.3.99",
        "PatientID": "SYNTHETIC",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesNumber": series,
        "InstanceNumber": index + 1,
        "Rows": 12,
        "Columns": 16,
        "PixelSpacing": [2.0, 3.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-10.0, -20.0, 5.0 * index],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    pixels = (np.arange(12 * 16).reshape(12, 16) + 100 * index - 1000).astype(np.int16)  # HU, air to bone
    for keyword, value in (values | {"PixelData": pixels.tobytes()} | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset["PixelData"].VR = "OW"
    return dataset


@pytest.fixture
def edit() -> Callable[..., None]:
    """A function that changes tags of a file in place; None deletes."""

    def change(path: Path, **tags: Any) -> None:
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(path)

    return change
