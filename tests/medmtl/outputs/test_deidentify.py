"""Planted identities go, what geometry and values need stays, and what is left is found."""

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import PositronEmissionTomographyImageStorage, generate_uid

from medmtl.errors import Code, OutputError, StudyError
from medmtl.outputs.deidentify import Pseudonyms, Removed, deidentified
from medmtl.outputs.dicom_check import part10_bytes
from medmtl.outputs.identity_search import search
from medmtl.reading.any_volume import discover, each_series, read_case
from medmtl.reading.quiet_pydicom import quiet_pydicom

ONE, TWO = (Pseudonyms(key=bytes([n]) * 32) for n in (1, 2))


def copied(path: Path, pseudonyms: Pseudonyms = ONE) -> tuple[bytes, Removed]:
    removed = Removed()
    with quiet_pydicom():
        return part10_bytes(deidentified(pydicom.dcmread(path), pseudonyms, removed)), removed


@pytest.fixture
def planted(shared: Path) -> Path:
    return shared / "dicom" / "hostile" / "phi" / "phi.dcm"


def test_no_planted_byte_is_left(planted: Path) -> None:
    before = planted.read_bytes()
    data, removed = copied(planted)
    for text in (b"PHI", b"19990909", b"19010203", b"498.77.", b"+0545"):
        assert text in before
        assert text not in data
    assert data[:128] == bytes(128)
    copy = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    assert not [element for element in copy if element.tag.is_private or element.tag.group >> 8 == 0x60]
    assert copy.PatientIdentityRemoved == "YES"
    assert removed.elements["private"] >= 3
    assert removed.elements["PatientComments"] == 1


def test_pixels_and_place_are_those_of_the_original(shared: Path) -> None:
    for folder in ("ct_axial_28", "mr_sag_10", "transfer_syntax/jpeg_ls", "transfer_syntax/rle", "enh_ct_2f"):
        path = next(path for path in sorted((shared / "dicom" / folder).rglob("*")) if path.suffix == ".dcm")
        data, _ = copied(path)
        copy, original = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data)), pydicom.dcmread(path)
        assert np.array_equal(copy.pixel_array, original.pixel_array), folder
        frames = [("", original, copy)]
        if "SharedFunctionalGroupsSequence" in original:
            frames = [
                ("frame", one.PlanePositionSequence[0], two.PlanePositionSequence[0])
                for one, two in zip(
                    original.PerFrameFunctionalGroupsSequence, copy.PerFrameFunctionalGroupsSequence, strict=True
                )
            ]
        for _, before, after in frames:
            assert np.allclose(before.ImagePositionPatient, after.ImagePositionPatient, atol=1e-6)
        for keyword in ("RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImageOrientationPatient"):
            if keyword in original:
                assert np.allclose(original[keyword].value, copy[keyword].value, atol=1e-6), (folder, keyword)


def errors_in(data: bytes, folder: Path) -> list[str]:
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (apt package dicom3tools)")
    (folder / "copy.dcm").write_bytes(data)
    command = ["dciodvfy", "-new", str(folder / "copy.dcm")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "Image" in said
    return [line for line in said.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize(
    "name",
    [
        "ct_axial_28", "mr_sag_10", "mr_axial_4d_2vol", "seg_ct3_liver/ct", "hostile/phi",
        "enh_mr_philips_64f", "enh_mr_siemens_4vol",
    ],
)  # fmt: skip
def test_a_copy_is_a_sound_object(shared: Path, tmp_path: Path, name: str) -> None:
    path = sorted(path for path in (shared / "dicom" / name).iterdir() if path.is_file())[0]
    assert errors_in(copied(path)[0], tmp_path) == []


def test_a_copy_of_an_enhanced_ct_is_a_sound_object(shared: Path, tmp_path: Path) -> None:
    path = shared / "dicom" / "enh_ct_2f" / "eCT_Supplemental.dcm"
    data, _ = copied(path)
    # units of derived frames need not be HU (PS3.3 C.8.15.3.10); dciodvfy of 2022 wants HU of all, of the source too
    assert [error for error in errors_in(data, tmp_path) if "RescaleType" not in error] == []
    [values] = pydicom.dcmread(tmp_path / "copy.dcm").SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    assert values.RescaleType == "US"


@pytest.mark.parametrize("folder", ["ct_axial_28", "mr_sag_10"])
def test_a_copy_of_a_converted_series_is_a_sound_object(shared: Path, tmp_path: Path, folder: str) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage, LegacyConvertedEnhancedMRImage

    single = [pydicom.dcmread(path) for path in sorted((shared / "dicom" / folder).iterdir())[:3]]
    kind = LegacyConvertedEnhancedMRImage if single[0].Modality == "MR" else LegacyConvertedEnhancedCTImage
    numbers = {"series_number": 1, "instance_number": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kind(single, series_instance_uid=generate_uid(), sop_instance_uid=generate_uid(), **numbers)
        made.save_as(tmp_path / "made.dcm")
    assert errors_in(copied(tmp_path / "made.dcm")[0], tmp_path) == []


def test_a_copy_of_a_pet_image_is_a_sound_object(shared: Path, tmp_path: Path) -> None:
    pet = pydicom.dcmread(sorted((shared / "dicom" / "hostile" / "control_ok").iterdir())[0])
    pet.SOPClassUID = pet.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    for keyword in ("RescaleType", "PixelPaddingValue"):
        pet.pop(keyword, None)
    pet.Modality, pet.Units, pet.CountsSource, pet.SeriesType = "PT", "BQML", "EMISSION", ["STATIC", "IMAGE"]
    pet.NumberOfSlices, pet.ImageIndex, pet.CorrectedImage, pet.DecayCorrection = 8, 1, ["DECY", "ATTN"], "START"
    pet.FrameReferenceTime, pet.ActualFrameDuration, pet.DecayFactor = "0", "60000", "1"
    pet.CollimatorType, pet.RescaleIntercept, pet.ImageType = "NONE", "0", ["ORIGINAL", "PRIMARY"]
    pet.PixelRepresentation = 1  # PS3.3 C.8.9.4.1.4
    pet.AcquisitionDate, pet.SeriesDate = "20200101", "20200101"
    pet.RadiopharmaceuticalInformationSequence = []
    pet.save_as(tmp_path / "pet.dcm")
    data, _ = copied(tmp_path / "pet.dcm")
    assert errors_in(data, tmp_path) == []
    assert b"20200101" not in data


@pytest.mark.parametrize(
    "name",
    ["mr_axial_4d_2vol", "mr_multiecho_6x4", "hostile/two_phases", "enh_mr_philips_64f", "enh_mr_siemens_4vol"],
)
def test_copies_hold_the_same_volumes(shared: Path, tmp_path: Path, name: str) -> None:
    def volumes(folder: Path) -> list[tuple[bytes, bytes]]:
        cases = [case for found in discover(folder) for case in each_series(found)]
        read = [read_case(case)[0] for case in cases]
        return sorted((one.array.tobytes(), one.grid.affine.round(6).tobytes()) for one in read)

    (tmp_path / "copies").mkdir()
    for number, path in enumerate(sorted((shared / "dicom" / name).rglob("*.dcm"))):
        (tmp_path / "copies" / f"{number}.dcm").write_bytes(copied(path)[0])
    before, after = volumes(shared / "dicom" / name), volumes(tmp_path / "copies")
    assert len(before) > 1
    assert after == before


def test_overlays_in_unused_bits_go(shared: Path) -> None:
    path = sorted((shared / "dicom" / "hostile" / "control_ok").iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    clean = np.full((dataset.Rows, dataset.Columns), 0x0123, dtype="<u2")
    dataset.PixelData = (clean | 0xA000).tobytes()
    copy = deidentified(dataset, ONE, Removed())
    assert copy.PixelData == clean.tobytes()


def test_a_key_maps_equal_identities_to_equal_pseudonyms(planted: Path) -> None:
    one, again, two = (copied(planted, pseudonyms)[0] for pseudonyms in (ONE, ONE, TWO))
    assert one == again
    assert pydicom.dcmread(pydicom.filebase.DicomBytesIO(one)).PatientID.startswith("ANON-")
    assert one != two


def test_images_that_may_show_a_name_are_refused(shared: Path, planted: Path) -> None:
    with pytest.raises(StudyError) as refusal:
        copied(shared / "dicom" / "hostile" / "phi" / "phi_burned.dcm")
    assert refusal.value.code is Code.BURNED_IN
    assert "PHI" not in str(refusal.value)
    dataset = pydicom.dcmread(planted)
    dataset.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    deidentified(dataset, ONE, Removed())  # it says that nothing is drawn in
    del dataset.BurnedInAnnotation
    with pytest.raises(StudyError):
        deidentified(dataset, ONE, Removed())


@pytest.mark.parametrize("name", ["findings.json", "organs.nii.gz", "images/0001.dcm", "Mueller.json"])
def test_what_is_left_is_found(tmp_path: Path, planted: Path, name: str) -> None:
    import gzip

    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    data = copied(planted)[0]
    holding = {
        ".json": b'{"a": "Mueller"}',
        ".gz": gzip.compress(b"xxMuellerxx"),
        ".dcm": data[:-20] + b"MuellerMuellerMuelle",
    }
    path.write_bytes(b"{}" if path.stem == "Mueller" else holding[path.suffix])
    with pytest.raises(OutputError) as refusal:
        search(tmp_path, {"MuellerM" if path.suffix == ".dcm" else "Mueller", "CT"}, "")
    assert refusal.value.code is Code.IDENTITY_LEFT
    assert "Mueller" not in refusal.value.what or path.stem == "Mueller"


def test_our_own_words_identify_nobody(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>Heart</p>")
    assert search(tmp_path, {"Heart"}, "the Heart") == 1
    with pytest.raises(OutputError):
        search(tmp_path, {"Heart"}, "")
