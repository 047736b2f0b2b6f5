"""What a job makes of an upload: answers, a plain view, or a reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, MedmtlError
from medmtl.geometry.grid import Grid
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl_app.case_job import run_case
from tests.tiny import heart_volume, write_bundle


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A heart as NIfTI beside a letter, and one model that is never chosen by itself."""
    monkeypatch.setenv("MEDMTL_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("medmtl.bundle.catalogue.shipped_folder", lambda: tmp_path / "none")
    monkeypatch.setattr("medmtl_app.case_job.FORMATS", frozenset({"nii", "json", "prob"}))  # pictures take seconds
    write_bundle(tmp_path / "models" / "tiny")
    folder = tmp_path / "upload"
    folder.mkdir()
    heart = heart_volume()
    (folder / "heart.nii.gz").write_bytes(nifti_bytes(heart.array, heart.grid))
    (folder / "letter").write_text("Dear colleague", encoding="utf-8")
    (tmp_path / "study").mkdir()
    return folder


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_study_that_no_model_fits_can_still_be_read(
    upload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_case(upload, tmp_path / "study", 0, "")
    messages = told(capsys)
    assert [m["names"] for m in messages if m["event"] == "cases"] == [["heart"]]
    end = messages[-1]
    assert (end["event"], end["state"], end["code"]) == ("end", "blocked", Code.NO_MODEL_FITS)
    view = json.loads((tmp_path / "study" / "view" / "view.json").read_text())
    assert (view["structures"], view["lesions"]) == ([], [])
    stored = np.fromfile(tmp_path / "study" / "view" / "volume.raw", dtype="<i2")
    assert stored.size == heart_volume().array.size


def test_a_named_model_answers_and_says_how_far_it_is(
    upload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_case(upload, tmp_path / "study", 0, "tiny")
    messages = told(capsys)
    windows = [(m["done"], m["total"]) for m in messages if m["event"] == "windows"]
    assert windows == [(n, windows[0][1]) for n in range(1, windows[0][1] + 1)]
    assert len(windows) > 1
    assert (messages[-1]["state"], messages[-1]["summary"]["model"]) == ("ready", "tiny")
    files = {path.name for path in (tmp_path / "study" / "result" / "heart").iterdir()}
    assert {"findings.json", "lesions.nii.gz", "organs.nii.gz", "probabilities"} <= files


def test_what_cannot_be_read_says_why(upload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (upload / "heart.nii.gz").unlink()
    grid = Grid(shape=(4, 4, 4), affine=np.eye(4))
    (upload / "cut.nii").write_bytes(nifti_bytes(np.zeros((4, 4, 4), np.int16), grid)[:60])
    with pytest.raises(MedmtlError) as refused:
        run_case(upload, tmp_path / "study", 0, "tiny")
    assert refused.value.code is Code.TRUNCATED
    assert not (tmp_path / "study" / "view").exists()
