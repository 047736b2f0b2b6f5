"""What the answering process makes of a study: results that replace others, refusals, results without identity."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medmtl.bundle.bundle import Bundle
from medmtl.pacs.worker import answer


@pytest.fixture
def task(study: Path, bundle: Bundle, tmp_path: Path) -> dict[str, Any]:
    return {
        "job": 2, "input": str(study), "result": str(tmp_path / "result"), "model": str(bundle.folder), "tasks": None,
        "formats": ["seg", "sr"], "allow": [], "deidentify": False, "device": "cpu", "former": None, "images": 6,
    }  # fmt: skip


def headers(folder: Path) -> dict[str, pydicom.Dataset]:
    return {path.name: pydicom.dcmread(path) for path in folder.rglob("*.dcm") if path.parent.name != "images"}


def test_a_result_that_replaces_another_names_it(study: Path, task: dict[str, Any], tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(study.iterdir())[:5]:
        shutil.copy(path, few)
    models: dict[str, Any] = {}
    former = {**task, "input": str(few), "result": str(tmp_path / "former"), "images": 5}
    assert answer(former, models)["state"] == "done"
    told = answer({**task, "former": {"folder": str(tmp_path / "former"), "images": 5}}, models)
    assert told["state"] == "done"
    assert sorted(Path(name).name for name in told["files"]) == ["seg.dcm", "sr.dcm"]
    before, after = headers(tmp_path / "former"), headers(tmp_path / "result")
    for name, new in after.items():
        assert new.SeriesDescription.startswith("RESEARCH medmtl ")
        assert "RelatedSeriesSequence" not in before[name]
        assert [item.SeriesInstanceUID for item in new.RelatedSeriesSequence] == [before[name].SeriesInstanceUID]
        assert new.SOPInstanceUID != before[name].SOPInstanceUID
    [document] = after["sr.dcm"].PredecessorDocumentsSequence
    assert (
        document.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        == before["sr.dcm"].SOPInstanceUID
    )
    [findings] = (tmp_path / "result").rglob("findings.json")
    assert "supersedes" in [warning["code"] for warning in json.loads(findings.read_text())["warnings"]]
    for path in (tmp_path / "result").rglob("*.dcm"):
        if shutil.which("dciodvfy"):
            said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False).stderr
            assert [line for line in said.splitlines() if line.startswith("Error")] == [], path.name


def test_results_without_identity_are_sent_without_their_images(
    study: Path, task: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMTL_DEIDENTIFY_KEY", str(tmp_path / "key"))
    refused = answer({**task, "deidentify": True}, {})
    assert refused["code"] == "burned-in"  # the phantom was made by a program, and does not say that nothing is drawn
    (tmp_path / "study").mkdir()
    for path in sorted(study.iterdir()):
        header = pydicom.dcmread(path)
        header.BurnedInAnnotation = "NO"
        header.save_as(tmp_path / "study" / path.name)
    told = answer({**task, "input": str(tmp_path / "study"), "deidentify": True}, {})
    assert told["state"] == "done", told
    assert len(told["files"]) == 2
    for header in headers(tmp_path / "result").values():
        assert str(header.PatientID).startswith("ANON-")
    assert b"PHANTOM" not in b"".join(path.read_bytes() for path in (tmp_path / "result").rglob("*") if path.is_file())


def test_a_refusal_has_its_code_and_no_identity(study: Path, task: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "PHANTOM"
    folder.mkdir()
    shutil.copy(sorted(study.iterdir())[0], folder)
    told = answer({**task, "input": str(folder)}, {})
    assert (told["state"], told["code"], told["files"]) == ("refused", "single-slice", [])
    assert "PHANTOM" not in told["message"]
    assert answer({**task, "model": "nowhere"}, {})["code"] == "not-found"


def test_the_process_ends_with_the_node(task: dict[str, Any]) -> None:
    """Its standard input closes when the node is killed; nobody may go on working then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "medmtl.pacs.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = process.communicate((json.dumps(task) + "\n").encode(), timeout=120)
    assert process.returncode == 0
    assert out == b""
