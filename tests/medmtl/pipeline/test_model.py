"""Which engine runs a bundle, and what is imported for it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from medmtl.inference import openvino_engine
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.model import lighter, load_model
from tests.tiny import ROOT, STACK, heart_volume, write_bundle


def test_openvino_on_a_cpu_and_torch_where_it_is_missing_or_does_not_know_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    assert load_model(bundle, "cpu").engine.describe()["name"] == "openvino"
    assert load_model(bundle, "cpu", engine="torch").engine.describe()["name"] == "torch"
    strange = write_bundle(tmp_path / "strange", plan=replace(STACK, sharing="soft"))
    assert load_model(strange, "cpu").engine.describe()["name"] == "torch"
    assert "OpenVINO cannot run this model" in caplog.text
    monkeypatch.setattr("medmtl.pipeline.model.find_spec", lambda name: None)
    assert load_model(bundle, "cpu").engine.describe()["name"] == "torch"


def test_bfloat16_only_where_the_cpu_computes_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    for native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(openvino_engine, "has_native_bfloat16", lambda native=native: native)
        assert load_model(bundle, "cpu", precision="bfloat16").engine.describe()["precision"] == precision


def test_both_engines_give_the_same_findings(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny", networks=2)
    one, two = (
        diagnose("case", (heart_volume(),), load_model(bundle, "cpu", engine=name), Request()).findings
        for name in ("openvino", "torch")
    )
    assert one["engine"]["name"] == "openvino"
    assert one["engine"]["networks"] == 2
    for name in ("lesions", "organs"):
        for label, row in one["tasks"][name]["values"].items():
            other = two["tasks"][name]["values"][label]
            assert abs(row["voxels"] - other["voxels"]) <= 0.002 * max(200, row["voxels"])
    for name, p in one["diagnosis"]["probabilities"].items():
        assert p == pytest.approx(two["diagnosis"]["probabilities"][name], abs=1e-3)


def test_the_light_way_is_one_network_without_mirrored_passes(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny", networks=2)
    light = lighter(bundle)
    assert (len(light.weights), light.plan.mirror, light.plan.overlap) == (1, (), 0.25)
    assert light.sha256 == bundle.sha256
    assert lighter(replace(bundle, plan=replace(STACK, overlap=0.1))).plan.overlap == 0.1
    found = diagnose("case", (heart_volume(),), load_model(light, "cpu"), Request()).findings["engine"]
    assert (found["networks"], found["mirroring"], found["overlap"]) == (1, [], 0.25)


def test_a_prediction_on_a_cpu_imports_neither_torch_nor_monai(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    code = """
import json, sys
from pathlib import Path
from medmtl.bundle.bundle import read_bundle
from medmtl.pipeline.batch import BatchOptions, Models, run_batch
from medmtl.reading.any_volume import discover
options = BatchOptions(device="auto", formats=frozenset({"nii", "json"}))
folder = Path(sys.argv[1])
models = Models(read_bundle(folder / "tiny"), "cpu")
[outcome] = run_batch(discover(folder / "in", channels=1), models, options, folder / "out", lambda case: None)
print(json.dumps([str(outcome.line.state), [n for n in ("torch", "monai", "openvino") if n in sys.modules]]))
"""
    from sample_data.phantoms import write_nifti

    volume = heart_volume()
    write_nifti(tmp_path / "in" / "a.nii.gz", volume.array, volume.grid)
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout.splitlines()[-1]) == ["ok", ["openvino"]]
    assert bundle.weights
