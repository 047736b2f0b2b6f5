"""A study goes in; lesions, organs and a diagnosis come out, with the shipped model on real data."""

import gzip
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest
from click.testing import Result

import medmtl.outputs
from tests.end_to_end.conftest import Run

CASES = ("Case_N014", "Case_P002", "Case_P007")


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def read(path: Path) -> nibabel.Nifti1Image:
    return nibabel.load(path)


def test_demo_prints_the_findings_and_where_the_reports_lie(demo: tuple[Result, Path]) -> None:
    result, out = demo
    assert result.exit_code == 0, result.output
    assert "Research use only" in result.output
    assert "medmtl app" in result.output
    for case in CASES:
        assert str(out / case / "report.html") in result.output


@pytest.mark.parametrize("case", CASES)
def test_findings_keep_the_schema_and_agree_with_the_masks(demo: tuple[Result, Path], case: str) -> None:
    folder = demo[1] / case
    findings = json.loads((folder / "findings.json").read_text())
    schema = json.loads((Path(medmtl.outputs.__file__).parent / "findings.schema.json").read_text())
    jsonschema.validate(findings, schema)
    image = read(folder / "organs.nii.gz")
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    for value, row in enumerate(findings["organs"], start=1):
        assert row["ml"] == pytest.approx((np.asarray(image.dataobj) == value).sum() * voxel_ml, abs=0.01)


@pytest.mark.parametrize("case", CASES)
def test_masks_lie_on_the_voxels_of_the_input(demo: tuple[Result, Path], samples: Path, case: str) -> None:
    source = read(samples / "images" / f"{case}.nii.gz")
    for task in ("organs", "lesions"):
        mask = read(demo[1] / case / f"{task}.nii.gz")
        assert mask.shape == source.shape
        assert np.array_equal(mask.affine, source.affine)


@pytest.mark.parametrize("case", CASES)
def test_the_heart_is_found_where_the_readers_drew_it(demo: tuple[Result, Path], samples: Path, case: str) -> None:
    found = np.asarray(read(demo[1] / case / "organs.nii.gz").dataobj)
    truth = np.asarray(read(samples / "organs" / f"{case}.nii.gz").dataobj)
    assert dice(found > 0, truth > 0) > 0.8


def test_folder_and_zip_of_one_study_give_the_same_bytes(run: Run, zipped: Path, samples: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(samples / "dicom" / "Case_P002.zip") as archive:
        archive.extractall(tmp_path / "study")
    result = run(["predict", "-i", tmp_path / "study", "-o", tmp_path / "out", "--formats", "nii,seg,sr"])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out" / zipped.name
    for name in ("findings.json", "organs.nii.gz", "lesions.nii.gz", "seg.dcm", "sr.dcm"):
        assert (folder / name).read_bytes() == (zipped / name).read_bytes(), name


def test_dicom_and_nifti_of_one_study_give_the_same_masks(demo: tuple[Result, Path], zipped: Path) -> None:
    for task in ("organs", "lesions"):
        nifti = np.asarray(read(demo[1] / "Case_P002" / f"{task}.nii.gz").dataobj)
        dicom = np.asarray(read(zipped / f"{task}.nii.gz").dataobj)
        assert sorted(np.unique(nifti, return_counts=True)[1]) == sorted(np.unique(dicom, return_counts=True)[1])


@pytest.mark.parametrize("tasks", ["lesions", "organs", "diagnosis"])
def test_an_answer_does_not_depend_on_what_else_is_asked(
    run: Run, demo: tuple[Result, Path], samples: Path, tmp_path: Path, tasks: str
) -> None:
    source = samples / "images" / "Case_P002.nii.gz"
    result = run(["predict", "-i", source, "-o", tmp_path, "-m", "cardiac-lge", "--tasks", tasks, "--formats", "nii"])
    assert result.exit_code == 0, result.output
    alone, together = tmp_path / "Case_P002", demo[1] / "Case_P002"
    asked = json.loads((alone / "findings.json").read_text())
    whole = json.loads((together / "findings.json").read_text())
    assert asked["tasks"] == {tasks: whole["tasks"][tasks]}
    masks = sorted(path.name for path in alone.glob("*.nii.gz"))
    assert masks == ([] if tasks == "diagnosis" else [f"{tasks}.nii.gz"])
    for name in masks:
        assert (alone / name).read_bytes() == (together / name).read_bytes()


def test_the_order_of_a_batch_changes_nothing(
    run: Run, demo: tuple[Result, Path], samples: Path, tmp_path: Path
) -> None:
    table = tmp_path / "cases.csv"
    rows = [f"{samples / 'images' / f'{case}.nii.gz'},{case}" for case in ("Case_P007", "Case_N014")]
    table.write_text("path,case\n" + "\n".join(rows) + "\n")
    result = run(["predict", "-i", table, "-o", tmp_path / "out", "-m", "cardiac-lge", "--formats", "nii"])
    assert result.exit_code == 0, result.output
    for case in ("Case_P007", "Case_N014"):
        for name in ("findings.json", "organs.nii.gz", "lesions.nii.gz"):
            assert (tmp_path / "out" / case / name).read_bytes() == (demo[1] / case / name).read_bytes()


def test_a_bad_case_is_one_line_and_the_others_are_done(run: Run, samples: Path, shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good = samples / "images" / "Case_P007.nii.gz"
    shutil.copy(good, folder / "good.nii.gz")
    (folder / "cut.nii.gz").write_bytes(good.read_bytes()[:20000])
    (folder / "text.nii.gz").write_text("not an image")
    image = read(good)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    voxels[0, 0, 0] = np.nan
    hollow = nibabel.Nifti1Image(voxels, image.affine)
    (folder / "hollow.nii.gz").write_bytes(gzip.compress(hollow.to_bytes()))
    shutil.copy(shared / "data" / "nifti_traps" / "pixdim_not_in_affine_P001.nii.gz", folder / "trap.nii.gz")
    result = run(["predict", "-i", folder, "-o", tmp_path / "out", "-m", "cardiac-lge", "--formats", "nii"])
    assert result.exit_code == 1
    lines = result.stderr.strip().split("\n")
    assert sorted(line.split(" ")[0] for line in lines) == [
        "not-an-image", "not-finite", "spacing-contradiction", "truncated",
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"] == {"ok": 0, "warned": 0, "refused": 4, "failed": 0} | {
        row["state"]: 1 for row in manifest["cases"] if row["case"] == "good"
    }
    again = run(["predict", "-i", folder, "-o", tmp_path / "out", "-m", "cardiac-lge", "--formats", "nii"])
    assert "good: already done" in again.stdout


def test_an_empty_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = run(["predict", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", "cardiac-lge"])
    assert result.exit_code in (2, 3)
    assert result.stderr.startswith("empty-input")


def test_a_ct_is_refused_by_an_mr_model_by_name(run: Run, shared: Path, tmp_path: Path) -> None:
    study = shared / "dicom" / "ct_axial_28"
    named = run(["predict", "-i", study, "-o", tmp_path / "a", "-m", "cardiac-lge"])
    assert (named.exit_code, named.stderr.split(" ")[0]) == (3, "modality-mismatch")
    unnamed = run(["predict", "-i", study, "-o", tmp_path / "b"])
    assert (unnamed.exit_code, unnamed.stderr.split(" ")[0]) == (2, "no-model-fits")


@pytest.mark.slow
def test_a_passed_guard_is_said_in_every_output(run: Run, shared: Path, tmp_path: Path) -> None:
    study = shared / "dicom" / "ct_axial_28"
    result = run(["predict", "-i", study, "-o", tmp_path, "-m", "cardiac-lge", "--allow", "modality-mismatch"])
    assert result.exit_code == 0, result.output
    folder = next(tmp_path.glob("study-*"))
    findings = json.loads((folder / "findings.json").read_text())
    assert findings["allowed"] == ["modality-mismatch"]
    assert findings["trust"]["level"] == "red"
    assert "modality-mismatch" in (folder / "report.html").read_text()


def test_geometry_and_integrity_can_never_be_allowed(run: Run, samples: Path, tmp_path: Path) -> None:
    call = ["predict", "-i", samples / "images", "-o", tmp_path, "-m", "cardiac-lge", "--allow", "missing-slice"]
    result = run(call)
    assert (result.exit_code, result.stderr.split(" ")[0]) == (2, "bad-option")


def test_no_identity_of_the_study_is_in_logs_or_names(zipped: Path) -> None:
    written = b"".join(path.read_bytes() for path in sorted(zipped.parent.glob("manifest*")))
    assert b"PHANTOM" not in written
    assert b"2.25." not in written


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (apt: dicom3tools) is not installed")
@pytest.mark.parametrize("name", ["seg.dcm", "sr.dcm"])
def test_the_objects_of_the_sample_study_hold_to_the_standard(zipped: Path, name: str) -> None:
    told = subprocess.run(["dciodvfy", "-new", str(zipped / name)], capture_output=True, text=True, check=False).stderr
    assert "Error" not in told, told


def test_dcmqi_reads_the_same_voxels_from_the_segmentation(zipped: Path, tmp_path: Path) -> None:
    reader = Path(sys.executable).parent / "segimage2itkimage"
    if not reader.exists():
        pytest.skip("dcmqi is not installed")
    call = [reader, "--inputDICOM", zipped / "seg.dcm", "--outputDirectory", tmp_path, "--prefix", "s", "-t", "nii"]
    subprocess.run([str(part) for part in call], check=True, capture_output=True)
    found = sorted(int((np.asarray(read(path).dataobj) > 0).sum()) for path in tmp_path.glob("s-*.nii.gz"))
    findings = json.loads((zipped / "findings.json").read_text())
    told = [row["voxels"] for task in ("lesions", "organs") for row in findings["tasks"][task]["values"].values()]
    assert found == sorted(voxels for voxels in told if voxels)
