"""`medmtl inspect` says what predict would find."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from medmtl.cli.inspect import inspect


def run(*arguments: object) -> Result:
    return CliRunner().invoke(inspect, [str(argument) for argument in arguments], catch_exceptions=False)


def rows(*arguments: object) -> list[dict[str, Any]]:
    return json.loads(run(*arguments, "--json").stdout)


def test_a_row_per_series_with_the_affine_of_the_truth(shared: Path) -> None:
    truth = json.loads((shared / "dicom/truth.json").read_text())["ct_axial_28"]
    (row,) = rows(shared / "dicom/ct_axial_28")
    assert row["shape"] == truth["shape_ijk"]
    affine = np.array(row["affine"])
    assert affine[:3, 3] == pytest.approx(truth["origin"], abs=0.05)
    far = affine @ [*(n - 1 for n in row["shape"]), 1]
    assert far[:3] == pytest.approx(truth["lps_corner_far"], abs=0.05)
    assert (row["state"], row["code"], row["chosen"], row["modality"]) == ("ok", None, True, "CT")
    assert row["description"] == "STD BRAIN 5MM"
    assert row["series_uid"].startswith("1.")


def test_states(shared: Path) -> None:
    (row, localizer) = rows(shared / "dicom/hostile/localizer_mixed")
    assert (row["state"], row["chosen"]) == ("repaired", True)
    assert (localizer["state"], localizer["code"], localizer["chosen"]) == ("refused", "localizer", False)
    (row,) = rows(shared / "dicom/hostile/missing_slice")
    assert (row["state"], row["code"], row["affine"]) == ("refused", "missing-slice", None)
    assert "gap" in row["why"]
    chosen = [row["chosen"] for row in rows(shared / "dicom/hostile/mixed_series")]
    assert chosen == [True, False]


def test_volumes_of_one_series_have_names_for_predict(shared: Path) -> None:
    first, second = rows(shared / "dicom/hostile/two_phases")
    assert (first["series"], second["series"]) == (f"{first['series_uid']}:1", f"{first['series_uid']}:2")
    assert (first["chosen"], second["chosen"]) == (True, False)
    assert (first["part_label"], second["part_label"]) == ("acquisition 1", "acquisition 2")
    assert second["why"].startswith("a later volume of the same series")
    text = run(shared / "dicom/hostile/two_phases").stdout
    assert f"--series {second['series']}" in text
    assert "(acquisition 2)" in text
    assert "not taken: a later volume" in text


def test_a_named_model_decides_the_choice(shared: Path, tmp_path: Path) -> None:
    for name in ("rt_ct2/ct", "transfer_syntax/explicit_le"):
        for path in (shared / "dicom" / name).iterdir():
            header = pydicom.dcmread(path)
            header.StudyInstanceUID = "1.2.3"
            header.PatientID = "SAME"
            header.save_as(tmp_path / f"{header.Modality}{path.name}")
    chosen = {row["modality"]: row["chosen"] for row in rows(tmp_path, "-m", "cardiac-lge")}
    assert chosen == {"CT": False, "MR": True}
    why = {row["modality"]: row["why"] for row in rows(tmp_path, "-m", "cardiac-lge")}
    assert why["CT"].startswith("another modality than the model's")


def test_exit_codes_and_refusal_lines(shared: Path, tmp_path: Path) -> None:
    assert run(shared / "dicom/mr_sag_10").exit_code == 0
    refused = run(shared / "dicom/hostile/missing_slice")
    assert refused.exit_code == 3
    (line,) = refused.stderr.splitlines()
    assert line.startswith("missing-slice study-")
    gone = run(tmp_path / "gone")
    assert gone.exit_code == 2
    assert gone.stderr.startswith("not-found ")
    (tmp_path / "bad.nii.gz").write_text("text")
    (tmp_path / "good.dcm").write_bytes((shared / "dicom/enh_ct_2f/eCT_Supplemental.dcm").read_bytes())
    mixed = run(tmp_path)
    assert mixed.exit_code == 1
    assert mixed.stderr.startswith("not-an-image bad:")


def test_nifti_rows(shared: Path) -> None:
    trap = run(shared / "data/nifti_traps", "--json")
    assert [row["code"] for row in json.loads(trap.stdout)] == ["spacing-contradiction"] * 2
    assert trap.exit_code == 3
    case = sorted((shared / "data/abdomen_ct/images").iterdir())[0]
    (row,) = rows(case)
    assert row["state"] == "ok"
    assert row["series_uid"] is None
    assert row["source"] == "."


def test_text_for_people(shared: Path) -> None:
    text = run(shared / "dicom/ct_axial_28").stdout
    assert "512x512x28" in text
    assert "STD BRAIN 5MM" in text


def test_importing_the_command_loads_no_reader() -> None:
    code = "import sys, medmtl.cli.inspect; print([m for m in ('numpy', 'pydicom', 'nibabel') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
