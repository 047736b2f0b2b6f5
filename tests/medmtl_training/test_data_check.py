import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from medmtl_training.data_check import DataReport, check_dataset
from medmtl_training.data_cli import data


def codes(report: DataReport) -> list[tuple[str, str, str | None]]:
    return [(str(fault.severity), str(fault.code), fault.case) for fault in report.faults]


FEW = ("warning", "rare-class", None)  # six cases a class in the toy data set


def test_a_sound_set_has_only_its_small_classes(toy: Path) -> None:
    report = check_dataset(toy)
    assert codes(report) == [FEW, FEW]
    assert (report.cases, report.patients, report.errors) == (12, 12, 0)
    assert report.coverage["lesions"]["core"] == {"annotated": 12, "present": 6}
    assert report.coverage["diagnosis"] == {"well": 6, "ill": 6}


def test_planted_faults_are_found_by_name(toy: Path, nifti_writer: Callable[..., Path]) -> None:
    shape = (24, 22, 6)
    images, organs = toy / "images", toy / "organs"
    (images / "c01.nii.gz").write_bytes((images / "c00.nii.gz").read_bytes())
    (images / "c02.nii.gz").write_bytes((images / "c02.nii.gz").read_bytes()[:900])
    nifti_writer(images / "c03.nii.gz", np.full(shape, 7, dtype=np.int16))
    nifti_writer(organs / "c04.nii.gz", np.ones(shape, dtype=np.uint8), (1.5, 1.5, 5.0))
    nifti_writer(organs / "c05.nii.gz", np.full(shape, 9, dtype=np.uint8))
    nifti_writer(organs / "c06.nii.gz", np.zeros(shape, dtype=np.uint8))
    nifti_writer(organs / "stray.nii.gz", np.zeros(shape, dtype=np.uint8))
    report = check_dataset(toy)
    assert codes(report) == [
        ("error", "bad-label-value", "c05"),
        ("error", "constant-image", "c03"),
        ("error", "duplicate-image", "c01"),
        ("error", "grid-mismatch", "c04"),
        ("error", "truncated", "c02"),
        ("warning", "empty-label", "c06"),
        FEW,
        FEW,
        ("warning", "unlisted-file", None),
    ]
    assert all(fault.what and fault.repair for fault in report.faults)


def test_a_case_without_labels_and_a_patient_given_twice(dataset_writer: Any) -> None:
    image = np.arange(24 * 22 * 6, dtype=np.int16).reshape(24, 22, 6)
    for name in ("a", "b"):
        dataset_writer.add({"case": name, "patient": "p", "fold": "0"}, {}, image)
    found = codes(check_dataset(dataset_writer.write()))
    assert ("warning", "duplicate-image", "b") in found  # one patient, one fold: nothing leaks
    assert [fault for fault in found if fault[1] == "not-annotated"] == [
        ("warning", "not-annotated", "a"),
        ("warning", "not-annotated", "b"),
    ]


def test_a_case_list_that_cannot_be_read_is_one_error(toy: Path) -> None:
    (toy / "images" / "c00.nii.gz").unlink()
    assert codes(check_dataset(toy)) == [("error", "bad-cases", "c00"), FEW, FEW, ("warning", "unlisted-file", None),
                                         ("warning", "unlisted-file", None)]  # fmt: skip
    (toy / "cases.csv").write_text("name\na\n", encoding="utf-8")
    assert codes(check_dataset(toy)) == [("error", "bad-cases", None)]


def test_what_is_missing_stands_in_a_matrix(toy: Path) -> None:
    (toy / "lesions" / "c03.nii.gz").unlink()
    lines = (toy / "cases.csv").read_text(encoding="utf-8").splitlines()
    lines = [f"{line},{tail}" for line, tail in zip(lines, ["lesions:annotated", "core", *[""] * 11], strict=True)]
    lines[3] = lines[3].replace(",well,", ",,")
    (toy / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    matrix = check_dataset(toy).matrix
    assert matrix["c00"] == {"lesions": ["core"], "organs": ["body"], "diagnosis": "well"}
    assert matrix["c02"] == {"lesions": ["core", "rim"], "organs": ["body"]}
    assert matrix["c03"] == {"organs": ["body"], "diagnosis": "ill"}
    said = CliRunner().invoke(data, ["check", str(toy)], catch_exceptions=False).output.splitlines()
    start = said.index("  cases  lesions  organs  diagnosis")
    assert [line.split() for line in said[start + 1 : start + 4]] == [
        ["10", "yes", "yes", "yes"], ["1", "yes", "yes", "-"], ["1", "-", "yes", "yes"],
    ]  # fmt: skip


@pytest.mark.parametrize("sound", [True, False])
def test_command(toy: Path, sound: bool) -> None:
    if not sound:
        (toy / "organs" / "c00.nii.gz").write_bytes(b"")
    result = CliRunner().invoke(data, ["check", str(toy)], catch_exceptions=False)
    assert result.exit_code == (0 if sound else 1)
    assert ("error empty-input c00" in result.output) == (not sound)
    found = json.loads(CliRunner().invoke(data, ["check", str(toy), "--json"]).stdout)
    assert found["errors"] == (0 if sound else 1)
    assert len(found["findings"]) == found["errors"] + found["warnings"]


def test_real_set_holds_one_exam_twice(shared: Path) -> None:
    report = check_dataset(shared / "data" / "cardiac_cine_mr")
    assert report.errors == 0
    assert {fault.case for fault in report.faults if fault.code == "duplicate-image"} == {"ACDC_076"}
    assert [(pair.first, pair.second, pair.exact) for pair in report.twins] == [("ACDC_074", "ACDC_076", True)]
    assert report.coverage["diagnosis"] == dict.fromkeys(
        ("normal", "infarction", "dilated", "hypertrophic", "abnormal_rv"), 16
    )


def test_real_set_holds_one_exam_under_two_names_with_shifted_slices(shared: Path) -> None:
    report = check_dataset(shared / "data" / "cardiac_lge_mr")
    assert [(pair.first, pair.second, pair.exact) for pair in report.twins] == [("Case_P059", "Case_P072", False)]
    assert ("warning", "near-duplicate", "Case_P072") in codes(report)  # both are in one fold
    aucs = {row.feature: row.auc for row in report.shortcuts}
    assert aucs["geometry"] == pytest.approx(0.757, abs=0.05)  # as measured on all 100 cases, beside the data
    assert aucs["slices"] < 0.6
