from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from medmtl.cli.models import models
from medmtl.errors import Code, OutputError
from medmtl.inference.openvino_engine import OpenVinoEngine
from medmtl.pipeline import export
from medmtl.pipeline.export import export_openvino
from tests.tiny import heart_tasks, write_bundle

FURTHER = {"load": {"kind": "regression"}, "parts": {"kind": "regions", "labels": ["a", "b"]}}


def test_openvino_files_answer_as_the_model(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny", networks=2, tasks=heart_tasks(**FURTHER))
    (tmp_path / "out").mkdir()
    names = export_openvino(bundle, tmp_path / "out")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert {"network_0.xml", "network_1.xml", "network_1_load.xml", "network_0_diagnosis.bin"} <= set(names)


def test_an_export_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    (tmp_path / "out").mkdir()
    load = export.load_arrays

    def other(path: Path) -> dict[str, np.ndarray]:
        return {name: -value if "organs.head.weight" in name else value for name, value in load(path).items()}

    monkeypatch.setattr(export, "load_arrays", other)
    with pytest.raises(OutputError) as caught:
        export_openvino(bundle, tmp_path / "out")
    assert caught.value.code is Code.OUTPUT_CHECK_FAILED


@pytest.mark.slow
def test_onnx_files_answer_as_the_model_under_their_own_runtime(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    bundle = write_bundle(tmp_path / "tiny", tasks=heart_tasks(**FURTHER))
    done = CliRunner().invoke(models, ["export", str(bundle.folder), str(tmp_path / "out"), "--onnx"])
    assert done.exit_code == 0, done.output
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"LICENCE", "network_0.onnx", "network_0_diagnosis.onnx", "network_0_load.onnx"}
    from medmtl.bundle.arrays import load_arrays, network_heads

    engine = OpenVinoEngine([load_arrays(bundle.weights[0])], 1, bundle.plan, network_heads(bundle.tasks))
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "network_0_diagnosis.onnx"))
    shape = session.get_inputs()[0].shape
    sums = np.random.default_rng(0).random(shape[1:]) * 50
    given = {"sums": sums[None].astype(np.float32), "voxel_ml": np.array([0.02], np.float32)}
    [logits] = session.run(None, given)
    assert np.allclose(logits[0], engine.case({0: sums}, 0.02, ["diagnosis"])["diagnosis"], atol=1e-4)
