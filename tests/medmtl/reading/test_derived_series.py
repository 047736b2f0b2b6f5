"""An axial CT as others send it: repacked, resent, reordered, in pieces or in one file. The same volume, or a name."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gdcm
import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medmtl.errors import Code, StudyError
from medmtl.reading.any_volume import discover, read_case
from medmtl.volume import Volume

COUNT = 6
Slices = list[Dataset]


@pytest.fixture(scope="module")
def axial(shared: Path) -> Slices:
    """Six neighbouring slices of a real CT, cut to 96 x 80 pixels, lowest first."""
    slices = [pydicom.dcmread(path) for path in (shared / "dicom/ct_axial_28").iterdir()]
    slices.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    for number, header in enumerate(slices[10 : 10 + COUNT], start=1):
        pixels = header.pixel_array[200:280, 180:276].copy()
        header.Rows, header.Columns = pixels.shape
        header.PixelData = pixels.tobytes()
        header.InstanceNumber = number
    return slices[10 : 10 + COUNT]


def copies(slices: Slices) -> Slices:
    return [pydicom.dcmread(_buffer(header)) for header in slices]


def _buffer(header: Dataset) -> Any:
    from io import BytesIO

    stream = BytesIO()
    pydicom.dcmwrite(stream, header)
    stream.seek(0)
    return stream


def stored(folder: Path, slices: Slices, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index, header in enumerate(slices):
            header.save_as(folder / f"{index:03d}.dcm", **options)
    return folder


def read(folder: Path) -> Volume:
    (case,) = discover(folder)
    return read_case(case)[0]


def refusal(folder: Path) -> StudyError:
    with pytest.raises(StudyError) as caught:
        read(folder)
    return caught.value


@pytest.fixture(scope="module")
def control(axial: Slices, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    volume = read(stored(tmp_path_factory.mktemp("control"), axial))
    for k, header in enumerate(axial):
        assert np.array_equal(volume.array[:, :, k], header.pixel_array.T.astype(int) - 1024)
    return volume


def assert_same(volume: Volume, control: Volume) -> None:
    assert np.array_equal(volume.array, control.array)
    assert volume.grid.same_as(control.grid, 1e-3)


def implicit(header: Dataset) -> None:
    header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def deflated(header: Dataset) -> None:
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize("change", [implicit, deflated])
def test_encodings(axial: Slices, control: Volume, tmp_path: Path, change: Callable[[Dataset], None]) -> None:
    slices = copies(axial)
    for header in slices:
        change(header)
    assert_same(read(stored(tmp_path, slices)), control)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression(axial: Slices, control: Volume, tmp_path: Path, syntax: str) -> None:
    slices = copies(axial)
    for header in slices:
        header.compress(syntax, generate_instance_uid=False)
    assert_same(read(stored(tmp_path, slices)), control)


@pytest.mark.parametrize(
    ("name", "uid"),
    [("JPEGLosslessProcess14_1", "1.2.840.10008.1.2.4.70"), ("ExplicitVRBigEndian", "1.2.840.10008.1.2.2")],
)
def test_what_gdcm_repacks(axial: Slices, control: Volume, tmp_path: Path, name: str, uid: str) -> None:
    source = stored(tmp_path / "plain", copies(axial))
    target = tmp_path / "packed"
    target.mkdir()
    for path in source.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(target / path.name))
        assert writer.Write()
    assert pydicom.dcmread(next(target.iterdir())).file_meta.TransferSyntaxUID == uid
    assert_same(read(target), control)


def test_without_preamble_and_meta_group(axial: Slices, control: Volume, tmp_path: Path) -> None:
    for index, header in enumerate(copies(axial)):
        bare = Dataset()
        bare.update(dict(header.items()))
        with (tmp_path / f"{index}.dcm").open("wb") as stream:
            pydicom.dcmwrite(stream, bare, implicit_vr=False, little_endian=True, enforce_file_format=False)
    volume = read(tmp_path)
    assert_same(volume, control)
    assert Code.HEADER_REPAIRED in {notice.code for notice in volume.notices}


def test_an_unknown_character_set_is_told(axial: Slices, control: Volume, tmp_path: Path) -> None:
    slices = copies(axial)
    for header in slices:
        header[0x00080005] = pydicom.DataElement(0x00080005, "CS", "ISO_IR 999")
    volume = read(stored(tmp_path, slices))
    assert_same(volume, control)
    assert "character set" in " ".join(notice.text for notice in volume.notices)


def test_missing_doubled_shuffled_and_resent_slices(axial: Slices, control: Volume, tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 4, 2]
    assert_same(read(stored(tmp_path / "shuffled", [copies(axial)[n] for n in order])), control)
    resent = copies(axial) + copies(axial)[2:4]
    assert_same(read(stored(tmp_path / "resent", resent)), control)
    for header in resent[COUNT:]:
        header.SOPInstanceUID += ".7"  # the archive gave it a new name
        header.ContentTime = "235959"
    assert_same(read(stored(tmp_path / "renamed", resent)), control)
    assert refusal(stored(tmp_path / "missing", copies(axial)[:2] + copies(axial)[3:])).code == Code.MISSING_SLICE
    changed = copies(axial) + copies(axial)[2:3]
    changed[-1].PixelData = changed[0].PixelData
    changed[-1].SOPInstanceUID += ".7"
    assert refusal(stored(tmp_path / "changed", changed)).code == Code.DOUBLED_SLICE


@pytest.mark.parametrize("which", [0, 2, COUNT - 1])
def test_a_truncated_slice_refuses_the_series_and_says_which(axial: Slices, tmp_path: Path, which: int) -> None:
    folder = stored(tmp_path, copies(axial))
    path = sorted(folder.iterdir())[which]
    path.write_bytes(path.read_bytes()[:-900])
    error = refusal(folder)
    assert error.code == Code.TRUNCATED
    assert f"file {which + 1} of {COUNT}" in error.what


def test_monochrome1_and_slopes_of_their_own(axial: Slices, control: Volume, tmp_path: Path) -> None:
    slices = copies(axial)
    for header in slices:
        header.PhotometricInterpretation = "MONOCHROME1"
    volume = read(stored(tmp_path / "inverted", slices))
    assert_same(volume, control)  # the display is inverted, the values are what they are
    assert Code.INVERTED_DISPLAY in {notice.code for notice in volume.notices}
    for k, header in enumerate(slices):
        header.PhotometricInterpretation = "MONOCHROME2"
        header.RescaleSlope, header.RescaleIntercept = [1, 0.5, 2, 7, 0.25, 3][k], -1024 + k
    volume = read(stored(tmp_path / "slopes", slices))
    for k, header in enumerate(slices):
        expected = header.pixel_array.T.astype(float) * float(header.RescaleSlope) + float(header.RescaleIntercept)
        assert np.array_equal(volume.array[:, :, k], expected.astype(np.float32))


def test_two_series_of_a_folder_stay_two(axial: Slices, control: Volume, tmp_path: Path) -> None:
    slices = copies(axial)
    for header in slices[:3]:
        header.SeriesInstanceUID += ".9"
        header.SeriesNumber = 77
    folder = stored(tmp_path, slices)
    (case,) = discover(folder)
    upper = read_case(case, series_uid=slices[4].SeriesInstanceUID)[0]
    assert np.array_equal(upper.array, control.array[:, :, 3:])
    lower = read_case(case, series_uid=slices[0].SeriesInstanceUID)[0]
    assert np.array_equal(lower.array, control.array[:, :, :3])


def test_enhanced_multi_frame_with_frames_in_disorder(axial: Slices, control: Volume, tmp_path: Path) -> None:
    """A converted multi-frame object, its frames then shuffled as dimension organisation allows."""
    order = [4, 1, 5, 0, 3, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed = highdicom.legacy.LegacyConvertedEnhancedCTImage(
            legacy_datasets=copies(axial),
            series_instance_uid="1.2.3.55",
            series_number=5,
            sop_instance_uid="1.2.3.55.1",
            instance_number=1,
        )
    frames, pixels = list(packed.PerFrameFunctionalGroupsSequence), packed.pixel_array
    packed.PerFrameFunctionalGroupsSequence = [frames[n] for n in order]
    packed.PixelData = pixels[order].tobytes()
    path = tmp_path / "enhanced.dcm"
    packed.save_as(path, enforce_file_format=True)
    volume = read(path)
    assert_same(volume, control)
    source = volume.dicom
    assert source is not None
    assert len(source.frames) == len(source.instances) == COUNT
    for k, frame in enumerate(source.frames):
        assert np.array_equal(pixels[order][frame - 1].T.astype(int) - 1024, volume.array[:, :, k])


def test_a_mosaic_is_refused_by_name(axial: Slices, tmp_path: Path) -> None:
    slices = copies(axial)
    for header in slices:
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    assert refusal(stored(tmp_path, slices)).code == Code.MOSAIC


def test_a_file_that_changes_between_header_and_pixels_is_refused(axial: Slices, tmp_path: Path) -> None:
    from medmtl.reading.study import read_series, series_of

    folder = stored(tmp_path, copies(axial))
    (series,) = series_of(sorted(folder.iterdir()))
    path = sorted(folder.iterdir())[3]
    path.write_bytes(path.read_bytes() + b"\0\0")
    with pytest.raises(StudyError) as caught:
        read_series(series)
    assert caught.value.code == Code.UNREADABLE
