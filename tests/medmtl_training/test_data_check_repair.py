"""Twelve planted faults: each is named, no other is, and the copy is rid of those that can be mended."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from nibabel.nifti1 import Nifti1Image

from medmtl.errors import Code, DatasetError, OutputError, UsageError
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl_training.cases import read_dataset
from medmtl_training.data_check import DataReport, check_dataset
from medmtl_training.data_cli import data
from medmtl_training.data_repair import Repair, repair_dataset

SHAPE = (24, 22, 6)
MENDED = {
    "bad-label-value", "constant-image", "duplicate-image", "grid-mismatch", "near-duplicate", "no-patient-column",
    "truncated", "unlisted-file",
}  # fmt: skip


def image(seed: int) -> Any:
    array = np.random.default_rng(seed).normal(300, 20, SHAPE).astype(np.int16)
    array[:2] = 0
    return array


def organ() -> Any:
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[4:20, 4:18, 1:5] = 1
    return array


@pytest.fixture
def faulty(dataset_writer: Any, nifti_writer: Any) -> Path:
    """Thirty cases in three folds, without patients; c00 to c08 have the faults of single cases."""
    dataset_writer.head["tasks"] = {
        "organs": {"kind": "segmentation", "labels": [{"name": "body", "category": "organ"}]},
        "diagnosis": {"kind": "classification", "classes": ["well", "ill", "odd"]},
    }
    for index in range(30):
        diagnosis = "odd" if index in (9, 10) else "ill" if index % 2 else "well"  # rare-class
        site = "north" if diagnosis == "ill" else "south"  # shortcut
        row = {"case": f"c{index:02d}", "fold": str(index % 3), "diagnosis": diagnosis, "site": site}
        dataset_writer.add(row, {"organs": organ()}, image(index))
    twin = dict(dataset_writer.rows[11], case="d11", fold="1")
    dataset_writer.add(twin, {"organs": organ()}, image(11))  # duplicate-image
    shifted = dict(dataset_writer.rows[13], case="d13", fold="2")
    dataset_writer.add(shifted, {"organs": organ()}, np.roll(image(13), (1, 2), axis=(0, 1)))  # near-duplicate
    dataset_writer.add({"case": "c50", "fold": "0"}, {}, image(50))  # not-annotated
    root: Path = dataset_writer.write()
    cut = root / "images" / "c00.nii.gz"
    cut.write_bytes(cut.read_bytes()[:900])  # truncated
    nifti_writer(root / "images" / "c01.nii.gz", np.full(SHAPE, 7, dtype=np.int16))  # constant-image
    nifti_writer(root / "organs" / "c02.nii.gz", organ(), (1.5, 1.5, 5.0))  # grid-mismatch
    nifti_writer(root / "organs" / "c03.nii.gz", np.full(SHAPE, 9, dtype=np.uint8))  # bad-label-value
    nifti_writer(root / "organs" / "c04.nii.gz", np.zeros(SHAPE, dtype=np.uint8))  # empty-label
    nifti_writer(root / "organs" / "stray.nii.gz", organ())  # unlisted-file
    (root / "README.md").write_text("about this set", encoding="utf-8")
    return root


def codes(report: DataReport) -> set[str]:
    return {str(fault.code) for fault in report.faults}


def cases_of(root: Path) -> dict[str, dict[str, str]]:
    with (root / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_twelve_faults_give_their_twelve_codes(faulty: Path) -> None:
    found = [(str(fault.severity), str(fault.code), fault.case) for fault in check_dataset(faulty).faults]
    assert found == [
        ("error", "bad-label-value", "c03"),
        ("error", "constant-image", "c01"),
        ("error", "duplicate-image", "d11"),
        ("error", "grid-mismatch", "c02"),
        ("error", "near-duplicate", "d13"),
        ("error", "truncated", "c00"),
        ("warning", "empty-label", "c04"),
        ("warning", "no-patient-column", None),
        ("warning", "not-annotated", "c50"),
        ("warning", "rare-class", None),
        ("warning", "shortcut", None),  # the site tells the well
        ("warning", "shortcut", None),  # and the ill
        ("warning", "unlisted-file", None),
    ]
    assert len({code for _, code, _ in found}) == 12


def test_the_copy_is_rid_of_what_needs_no_judgement_and_the_original_is_as_it_was(faulty: Path, tmp_path: Path) -> None:
    before, report = digest(faulty), check_dataset(faulty)
    repairs = repair_dataset(faulty, report, tmp_path / "deep" / "copy")
    copy = tmp_path / "deep" / "copy"
    assert digest(faulty) == before
    repaired = check_dataset(copy)
    assert repaired.errors == 0
    assert codes(repaired) == codes(report) - MENDED
    assert {str(repair.code) for repair in repairs} == MENDED
    rows = cases_of(copy)
    assert not {"d11", "c00", "c01"} & set(rows)  # equal to another, cut short, of one value
    ignored, _ = read_label_map(copy / "organs" / "c03.nii.gz")
    assert (ignored == 255).all()
    assert not (copy / "images" / "d11.nii.gz").exists()
    assert not (copy / "organs" / "stray.nii.gz").exists()
    assert (rows["d13"]["patient"], rows["d13"]["fold"]) == ("c13", "1")
    assert (rows["c20"]["patient"], rows["c20"]["fold"], rows["c20"]["site"]) == ("c20", "2", "south")
    labels, grid = read_label_map(copy / "organs" / "c02.nii.gz")
    assert grid.same_as(read_nifti(copy / "images" / "c02.nii.gz").grid)
    assert np.array_equal(labels, organ())
    untouched = ["README.md", "dataset.yaml", "images/c05.nii.gz", "organs/c20.nii.gz"]
    after = digest(copy)
    assert [after[name] for name in untouched] == [before[name] for name in untouched]
    assert list(copy.parent.iterdir()) == [copy]  # nothing half made is left beside it


def test_a_copy_of_a_sound_set_is_that_set(toy: Path, tmp_path: Path) -> None:
    assert repair_dataset(toy, check_dataset(toy), tmp_path / "copy") == ()
    assert digest(tmp_path / "copy") == digest(toy)


@pytest.mark.parametrize("difference", ["diagnosis", "organs"])
def test_equal_images_with_other_truth_both_stay_as_one_patient(toy: Path, tmp_path: Path, difference: str) -> None:
    text = (toy / "cases.csv").read_text(encoding="utf-8").splitlines()
    text = [",".join(cell for place, cell in enumerate(line.split(",")) if place not in (1, 4, 5)) for line in text]
    if difference == "organs":
        text[2] = text[2].replace("ill", "well")
    (toy / "cases.csv").write_text("\n".join(text), encoding="utf-8")  # no patient, age and sex
    for folder in ("images", "lesions") if difference == "organs" else ("images", "lesions", "organs"):
        (toy / folder / "c01.nii.gz").write_bytes((toy / folder / "c00.nii.gz").read_bytes())
    if difference == "organs":
        (toy / "organs" / "c01.nii.gz").unlink()
    repairs = repair_dataset(toy, check_dataset(toy), tmp_path / "copy")
    assert [(str(repair.code), repair.case) for repair in repairs] == [
        ("no-patient-column", None),
        ("duplicate-image", "c01"),
    ]
    assert cases_of(tmp_path / "copy")["c01"]["patient"] == "c00"
    assert check_dataset(tmp_path / "copy").errors == 0


def test_copies_of_copies_are_one_patient_in_the_fold_given_first(dataset_writer: Any, tmp_path: Path) -> None:
    for number, fold in enumerate(("", "2", "1", "0")):
        shifted = np.roll(image(1), number, axis=1) if number < 3 else image(2)
        dataset_writer.add({"case": f"c{number}", "fold": fold, "diagnosis": "ill"}, {"organs": organ()}, shifted)
    root = dataset_writer.write()
    repair_dataset(root, check_dataset(root), tmp_path / "copy")
    rows = cases_of(tmp_path / "copy")
    assert [(row["patient"], row["fold"]) for row in rows.values()] == [("c0", "2")] * 3 + [("c3", "0")]
    read_dataset(tmp_path / "copy")


def test_one_exam_of_two_patients_is_kept_in_one_fold(toy: Path, tmp_path: Path) -> None:
    (toy / "images" / "c05.nii.gz").write_bytes((toy / "images" / "c00.nii.gz").read_bytes())
    repairs = repair_dataset(toy, check_dataset(toy), tmp_path / "copy")
    assert [repair.done for repair in repairs] == ["has the patient p00 and moved to fold 0"]
    assert check_dataset(tmp_path / "copy").errors == 0


def test_a_patient_in_two_folds_is_found_and_kept_in_the_first(toy: Path, tmp_path: Path) -> None:
    text = (toy / "cases.csv").read_text(encoding="utf-8").replace("c09,p09,2", "c09,p01,2")
    (toy / "cases.csv").write_text(text, encoding="utf-8")
    report = check_dataset(toy)
    assert ("error", "patient-in-two-folds", "c09") in [(str(f.severity), str(f.code), f.case) for f in report.faults]
    assert [repair.done for repair in repair_dataset(toy, report, tmp_path / "copy")] == ["moved to fold 0"]
    assert cases_of(tmp_path / "copy")["c09"]["fold"] == "0"
    read_dataset(tmp_path / "copy")


def test_rows_at_fault_are_found_one_by_one_and_left_out(toy: Path, tmp_path: Path) -> None:
    (toy / "images" / "c03.nii.gz").unlink()
    text = (toy / "cases.csv").read_text(encoding="utf-8").replace("c05,p05,1,ill", "c05,p05,1,poorly")
    (toy / "cases.csv").write_text(f"{text}c07,p07,1,ill,1,F\n", encoding="utf-8")
    report = check_dataset(toy)
    assert [fault.case for fault in report.faults if fault.code == "bad-cases"] == ["c03", "c05", "c07"]
    repair_dataset(toy, report, tmp_path / "copy")
    assert len(read_dataset(tmp_path / "copy")[0].cases) == 10
    assert check_dataset(tmp_path / "copy").errors == 0


@pytest.mark.parametrize("turned", ["flipped", "transposed", "other shape"])
def test_a_label_whose_voxels_would_have_to_move_stays_behind(toy: Path, tmp_path: Path, turned: str) -> None:
    path = toy / "organs" / "c04.nii.gz"
    affine = np.diag([-1.5, -1.5, 6.0, 1.0])
    shape = (24, 22, 7) if turned == "other shape" else SHAPE
    if turned == "flipped":
        affine[0, 0] *= -1
    elif turned == "transposed":
        affine = affine[:, [1, 0, 2, 3]]
    Nifti1Image(np.ones(shape, dtype=np.uint8), affine).to_filename(path)
    report = check_dataset(toy)
    assert "grid-mismatch" in codes(report)
    repairs = repair_dataset(toy, report, tmp_path / "copy")
    assert [repair.done for repair in repairs] == ["organs stays behind, since it does not lie on its image"]
    assert "organs" not in read_dataset(tmp_path / "copy")[0].case("c04").voxel_labels
    assert check_dataset(tmp_path / "copy").errors == 0


def test_regions_are_mended_file_by_file(dataset_writer: Any, nifti_writer: Any, tmp_path: Path) -> None:
    dataset_writer.head["tasks"] = {"parts": {"kind": "regions", "labels": [{"name": "a"}, {"name": "b"}]}}
    dataset_writer.add({"case": "c", "patient": "p"}, {"parts/a": organ(), "parts/b": organ()})
    root = dataset_writer.write()
    nifti_writer(root / "parts" / "b" / "c.nii.gz", organ(), (1.5, 1.6, 6.0))
    repairs = repair_dataset(root, check_dataset(root), tmp_path / "copy")
    assert [repair.done for repair in repairs] == ["parts b has the header of its image"]
    assert check_dataset(tmp_path / "copy").errors == 0


def test_refusals(toy: Path, tmp_path: Path) -> None:
    report = check_dataset(toy)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for target in (tmp_path / "full", tmp_path / "full" / "file", toy, toy / "copy"):
        with pytest.raises(UsageError):
            repair_dataset(toy, report, target)
    with pytest.raises(OutputError):
        repair_dataset(toy, report, tmp_path / "full" / "file" / "copy")
    (toy / "cases.csv").write_text("name\n", encoding="utf-8")
    with pytest.raises(DatasetError):
        repair_dataset(toy, report, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_half_made_stays_where_a_file_vanishes_meanwhile(toy: Path, tmp_path: Path) -> None:
    report = check_dataset(toy)
    (toy / "organs" / "c03.nii.gz").unlink()
    (toy / "organs" / "c03.nii.gz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError):
        repair_dataset(toy, report, tmp_path / "new" / "copy")
    assert list((tmp_path / "new").iterdir()) == []


def test_command(faulty: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(data, ["check", str(faulty), "--fix", str(tmp_path / "copy")], catch_exceptions=False)
    assert result.exit_code == 0  # what cannot be mended stays behind
    assert any(line.startswith("repaired truncated c00: left out") for line in result.output.splitlines())
    lines = result.output.splitlines()
    assert "    column site" in {line[:15] for line in lines}
    assert "repaired near-duplicate d13: has the patient c13 and moved to fold 1" in lines
    assert lines.index("The copy:") > lines.index("6 errors, 7 warnings")
    assert lines[-1] == "0 errors, 6 warnings"  # all of c03 is ignored now
    arguments = ["check", str(faulty), "--json", "--quiet", "--fix", str(tmp_path / "second")]
    found = json.loads(CliRunner().invoke(data, arguments).stdout)
    assert (found["errors"], found["copy"]["errors"]) == (6, 0)
    assert {(*pair["cases"], pair["exact"]) for pair in found["same_exam"]} == {
        ("c11", "d11", True),
        ("c13", "d13", False),
    }
    assert {row["feature"] for row in found["shortcuts"] if row["clear"]} == {"column site"}
    assert digest(tmp_path / "copy") == digest(tmp_path / "second")


def test_command_on_a_repairable_set_and_on_one_that_cannot_be_read(
    toy: Path, nifti_writer: Any, tmp_path: Path
) -> None:
    nifti_writer(toy / "organs" / "c02.nii.gz", organ(), (1.5, 1.5, 5.0))
    run = CliRunner().invoke
    assert run(data, ["check", str(toy)]).exit_code == 1
    assert run(data, ["check", str(toy), "--fix", str(tmp_path / "copy")]).exit_code == 0
    (toy / "dataset.yaml").unlink()
    result = run(data, ["check", str(toy), "--fix", str(tmp_path / "other")])
    assert result.exit_code == 1
    assert "no copy was written" in result.output
    assert not (tmp_path / "other").exists()


def test_a_repair_in_plain_values() -> None:
    assert Repair(code=Code.GRID_MISMATCH, case="c", done="x").as_json() == {
        "code": "grid-mismatch", "case": "c", "done": "x",
    }  # fmt: skip
