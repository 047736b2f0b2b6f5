"""The page's words and numbers are those of the findings."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from medmtl.outputs.sentences import report_sentences
from medmtl.result import CaseResult
from medmtl_app.study_page import export_zip, study_page
from medmtl_app.workspace import Study, StudyState, Workspace
from tests.medmtl_app.conftest import plant


@pytest.fixture(scope="module")
def study(answered: CaseResult, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    added = workspace.add(workspace.new_upload())
    folder = workspace.folder(added.id)
    plant(folder, answered)
    workspace.change(added.id, {"state": StudyState.READY, "started": 10.0, "finished": 14.25})
    return workspace.study(added.id), folder


def test_numbers_are_those_of_the_report(study: tuple[Study, Path], answered: CaseResult) -> None:
    page = study_page(*study)["findings"]
    for language in ("en", "zh"):
        text = page["text"][language]
        assert text == "\n".join(report_sentences(answered.findings, language))
        shown = [page["lesions"]["amount"], page["lesions"]["share"], *(row["amount"] for row in page["derived"])]
        shown += [row["text"] for block in page["classes"] for row in block["rows"] if row["chosen"]]
        shown += [
            number for item in page["lesions"]["items"] for number in (item["amount"], item["long"], item["short"])
        ]
        assert [number for number in shown if number not in text] == []
    assert page["seconds"] == 4.2
    hosts = [item["host"] for item in answered.findings["lesions"]["items"]]
    assert [bool(item["host"]) for item in page["lesions"]["items"]] == [bool(host) for host in hosts]
    assert any(hosts)
    assert page["trust"] == answered.findings["trust"]


def test_structures_carry_titles_and_volumes(study: tuple[Study, Path], answered: CaseResult) -> None:
    rows = study_page(*study)["view"]["structures"]
    volumes = {row["name"]: row["amount"] for row in rows if row["task"] == "organs"}
    text = "\n".join(report_sentences(answered.findings, "en"))
    assert volumes
    assert all(amount in text for amount in volumes.values())
    assert all(row["title"]["en"] and row["title"]["zh"] for row in rows)


def test_without_a_model_there_are_no_findings(study: tuple[Study, Path]) -> None:
    row, folder = study
    blocked = Study(**{**vars(row), "state": StudyState.BLOCKED})
    page = study_page(blocked, folder)
    assert page["findings"] is None
    assert page["view"]["shape"]


def test_an_export_is_the_folder(study: tuple[Study, Path]) -> None:
    _, folder = study
    root = folder / "result"
    content = b"".join(export_zip(root))
    assert content == b"".join(export_zip(root))
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
        assert json.loads(archive.read("heart/findings.json"))["research_use_only"] is True
    assert {"heart/findings.json", "heart/lesions.nii.gz", "heart/organs.nii.gz"} <= set(files)
