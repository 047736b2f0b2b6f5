"""A study full of planted identities goes through the command; nothing of them comes out or is said."""

import csv
import gzip
import json
import re
import stat
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from pydicom.uid import generate_uid

from medmtl.bundle.bundle import Bundle
from medmtl.cli.main import medmtl
from tests.tiny import heart_volume, write_bundle

PLANTED = (b"PHI", b"19990909", b"19010203", b"1.2.826.0.1.3680043.8.498.77")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny", modality="CT")


@pytest.fixture(scope="module")
def planted(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight slices made of the planted one, in a folder named after the patient."""
    folder = tmp_path_factory.mktemp("PHINAME")
    for k in range(8):
        dataset = pydicom.dcmread(shared / "dicom" / "hostile" / "phi" / "phi.dcm")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
            f"1.2.826.0.1.3680043.8.498.77.{generate_uid(entropy_srcs=[str(k)])[-9:].lstrip('0')}{k + 1}"
        )
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = [-108.5, -108.5, 100.0 + 5 * k]
        dataset.save_as(folder / f"PHIFILE{k}.dcm")
    return folder


def unpacked(path: Path) -> bytes:
    """A file without what is packed or encoded in it."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    # three letters stand in a picture by chance
    return re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", data) if path.suffix == ".html" else data


@pytest.mark.parametrize("deidentify", [True, False])
def test_planted_identities_are_nowhere(
    planted: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deidentify: bool
) -> None:
    monkeypatch.setenv("MEDMTL_DEIDENTIFY_KEY", str(tmp_path / "key"))
    out, linkage = tmp_path / "out", tmp_path / "linkage.csv"
    command = ["predict", "-i", str(planted), "-o", str(out), "-m", str(bundle.folder), "--device", "cpu", "--debug"]
    command += ["--formats", "nii,json,csv,html,png,seg,sr,rtstruct,sc,pdf,prob"]
    command += ["--deidentify", "--linkage", str(linkage)] if deidentify else []
    result = CliRunner().invoke(medmtl, command)
    assert result.exit_code == 0, result.output
    for text in PLANTED:
        assert text.decode() not in result.output + result.stderr
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert "PHI" not in str(path.relative_to(out))
        if deidentify or path.suffix in (".html", ".csv", ".png", ".jsonl", ".gz"):
            for text in PLANTED:
                assert text not in unpacked(path), path.name
    if deidentify:
        [case] = [path for path in out.iterdir() if path.is_dir()]
        check_deidentified(case, planted, linkage, tmp_path / "key")


def check_deidentified(case: Path, planted: Path, linkage: Path, key: Path) -> None:
    report = json.loads((case / "deidentified.json").read_text())
    assert (report["images"], report["found"]) == (8, 0)
    assert report["removed"]["PatientComments"] == 8
    assert report["removed"]["private"] >= 24
    seg = pydicom.dcmread(case / "seg.dcm")
    images = {pydicom.dcmread(path).SOPInstanceUID for path in (case / "images").iterdir()}
    named = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named <= images
    assert seg.PatientID.startswith("ANON-")
    assert stat.S_IMODE(linkage.stat().st_mode) == stat.S_IMODE(key.stat().st_mode) == 0o600
    [row] = csv.DictReader(linkage.read_text().splitlines())
    assert (row["case"], row["source"]) == (case.name, str(planted))


def test_a_refused_study_says_nothing_either(
    shared: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMTL_DEIDENTIFY_KEY", str(tmp_path / "key"))
    source = tmp_path / "PHINAME"
    source.mkdir()
    for name in ("phi.dcm", "phi_burned.dcm"):
        (source / name).write_bytes((shared / "dicom" / "hostile" / "phi" / name).read_bytes())
    for more in ([], ["--deidentify"]):
        command = [
            "predict",
            "-i",
            str(source),
            "-o",
            str(tmp_path / "out"),
            "-m",
            str(bundle.folder),
            "--debug",
            *more,
        ]
        result = CliRunner().invoke(medmtl, command)
        assert result.exit_code == 3
        assert not [text for text in PLANTED if text.decode() in result.output + result.stderr]


def test_the_name_of_a_nifti_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nibabel
    import numpy as np

    monkeypatch.setenv("MEDMTL_DEIDENTIFY_KEY", str(tmp_path / "key"))
    volume = heart_volume()
    bundle = write_bundle(tmp_path / "tiny")
    path = tmp_path / "Mueller_Hans.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume.array, dtype=np.float32), volume.grid.affine), path)
    command = ["predict", "-i", str(path), "-o", str(tmp_path / "out"), "-m", str(bundle.folder), "--deidentify"]
    result = CliRunner().invoke(medmtl, command)
    assert result.exit_code == 0, result.output
    for written in (tmp_path / "out").rglob("*"):
        assert "Mueller" not in str(written.relative_to(tmp_path))
        assert not written.is_file() or b"Mueller" not in unpacked(written)
