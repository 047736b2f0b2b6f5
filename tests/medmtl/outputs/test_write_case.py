import copy
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import medmtl.outputs
from medmtl.errors import Code, OutputError
from medmtl.outputs import write_case as module
from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult

EVERYTHING = frozenset({"nii", "json", "html", "png", "prob", "seg", "sr"})


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((Path(medmtl.outputs.__file__).parent / "findings.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(read)
    return read


def test_all_files_of_a_nifti_case(spheres: CaseResult, tmp_path: Path, schema: dict[str, Any]) -> None:
    files = write_case(spheres, tmp_path, EVERYTHING)
    assert files == [
        "Case_P001/findings.json",
        "Case_P001/lesions.nii.gz",
        "Case_P001/organs.nii.gz",
        "Case_P001/preview.png",
        "Case_P001/probabilities/lesions_infarct.nii.gz",
        "Case_P001/probabilities/lesions_no_reflow.nii.gz",
        "Case_P001/report.html",
    ]
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == files
    assert [p.name for p in tmp_path.iterdir()] == ["Case_P001"]
    jsonschema.validate(json.loads((tmp_path / files[0]).read_bytes()), schema)


def test_the_schema_refuses_what_is_not_findings(spheres: CaseResult, schema: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    good = json.loads(json.dumps(spheres.findings))
    assert validator.is_valid(good)
    for path, value in [
        (("research_use_only",), False),
        (("trust", "level"), "blue"),
        (("tasks", "lesions", "values", "infarct"), {"ml": 1.0}),
        (("tasks", "diagnosis", "values", "probabilities", "normal"), 1.2),
        (("lesions", "items", 0, "centroid_lps_mm"), [1.0, 2.0]),
        (("input", "sha256"), "short"),
    ]:
        bad = copy.deepcopy(good)
        at = bad
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        assert not validator.is_valid(bad), path


def test_same_case_same_bytes(spheres: CaseResult, tmp_path: Path) -> None:
    formats = frozenset({"nii", "json", "html", "prob"})
    for folder in ("a", "b"):
        write_case(spheres, tmp_path / folder, formats)
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert first == second


def test_a_second_run_replaces_the_whole_folder(spheres: CaseResult, tmp_path: Path) -> None:
    write_case(spheres, tmp_path, frozenset({"nii", "json"}))
    assert write_case(spheres, tmp_path, frozenset({"json"})) == ["Case_P001/findings.json"]
    assert [p.name for p in (tmp_path / "Case_P001").iterdir()] == ["findings.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["Case_P001"]


def test_a_broken_run_leaves_the_former_folder(
    spheres: CaseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(spheres, tmp_path, frozenset({"json"}))

    def full(_: CaseResult) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "mask_files", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_case(spheres, tmp_path, frozenset({"json", "nii"}))
    assert caught.value.code is Code.CANNOT_WRITE
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["Case_P001", "Case_P001/findings.json"]


@pytest.mark.parametrize("case", ["", "..", "../a", "a/b", ".hidden", "a\\b"])
def test_a_case_never_leaves_its_folder(spheres: CaseResult, tmp_path: Path, case: str) -> None:
    with pytest.raises(OutputError):
        write_case(dataclasses.replace(spheres, case=case), tmp_path / "out", frozenset({"json"}))
    assert not (tmp_path / "out").exists()


def test_a_series_without_sop_class_gets_a_notice_instead_of_dicom(
    plant: Callable[[Path], CaseResult], shared: Path, tmp_path: Path, schema: dict[str, Any]
) -> None:
    result = plant(shared / "dicom" / "ct_axial_20_j2k")
    files = write_case(result, tmp_path, frozenset({"json", "seg", "sr"}))
    assert files == ["study-0badcafe/findings.json"]
    findings = json.loads((tmp_path / files[0]).read_bytes())
    jsonschema.validate(findings, schema)
    assert [w["code"] for w in findings["warnings"]] == ["slices-unverified", "no-dicom-output"]
    assert not re.search(r"\d", findings["warnings"][1]["text"])  # no UID of the study
    assert len(result.findings["warnings"]) == 1  # the case itself stays as it was


def test_nothing_found_gives_a_notice_instead_of_an_empty_segmentation(planted_ct: CaseResult, tmp_path: Path) -> None:
    masks = {name: np.zeros_like(mask) for name, mask in planted_ct.masks.items()}
    result = dataclasses.replace(planted_ct, masks=masks)
    files = write_case(result, tmp_path, frozenset({"json", "seg"}))
    assert files == ["study-0badcafe/findings.json"]
    assert "no-dicom-output" in (tmp_path / files[0]).read_text()


def test_dicom_case_holds_seg_and_sr_only_where_asked(planted_ct: CaseResult, tmp_path: Path) -> None:
    assert write_case(planted_ct, tmp_path, frozenset({"seg"})) == ["study-0badcafe/seg.dcm"]
    # a report refers to its segmentation, so it brings it along
    assert write_case(planted_ct, tmp_path, frozenset({"sr"})) == ["study-0badcafe/seg.dcm", "study-0badcafe/sr.dcm"]
