from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmtl.bundle.arrays import load_arrays, network_heads
from medmtl.bundle.bundle import Bundle
from medmtl.bundle.catalogue import bundle_folders, read_bundle
from medmtl.bundle.weights import load_networks, make_network
from medmtl.inference.openvino_engine import OpenVinoEngine
from medmtl.inference.openvino_graph import ForeignNetworkError
from medmtl.inference.torch_engine import TorchEngine
from medmtl.preparation.plan import Normalisation, Plan, Scheme
from medmtl.task import tasks_from_mapping
from tests.tiny import CUBE, STACK, heart_tasks, write_bundle

FURTHER: dict[str, Any] = {
    "signs": {"kind": "multilabel", "classes": ["effusion", "thrombus"]},
    "grade": {"kind": "ordinal", "classes": ["low", "middle", "high"]},
    "load": {"kind": "regression"},
    "parts": {"kind": "regions", "labels": ["a", "b"]},
}
TWO = replace(CUBE, normalisation=(Normalisation(scheme=Scheme.ZSCORE),) * 2)
FLAT = replace(STACK, kernels=((3, 3, 1), (3, 3, 1), (3, 3, 3)), strides=((1, 1, 1), (2, 2, 1), (2, 2, 1)))
ONLY_CASES = tasks_from_mapping({"grade": FURTHER["grade"], "load": FURTHER["load"]})


def engine(bundle: Bundle, **more: Any) -> OpenVinoEngine:
    arrays = [load_arrays(path) for path in bundle.weights]
    return OpenVinoEngine(arrays, len(bundle.channels), bundle.plan, network_heads(bundle.tasks), **more)


def window(plan: Plan, channels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(channels, *plan.patch)).astype(np.float32),
        rng.random(plan.patch).astype(np.float32),
    )


@pytest.mark.parametrize(
    ("plan", "channels", "tasks"),
    [
        (STACK, 1, heart_tasks()),
        (FLAT, 1, heart_tasks(**FURTHER)),
        (CUBE, 1, heart_tasks(**FURTHER)),
        (TWO, 2, heart_tasks(**FURTHER)),
        (CUBE, 1, ONLY_CASES),
        (replace(STACK, sharing="cross-task-attention"), 1, heart_tasks(**FURTHER)),
        (replace(TWO, standardise=True), 2, heart_tasks(**FURTHER)),
    ],
    ids=["stack", "flat", "cube", "two channels", "case-level tasks only", "attention", "standardised"],
)
def test_answers_are_those_of_torch(plan: Plan, channels: int, tasks: Any) -> None:
    torch.manual_seed(0)
    net = make_network(channels, plan, tasks).eval()
    for name, value in net.named_buffers():
        value.uniform_(0.5, 2.0) if name.endswith("square") else value.normal_()
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    ours, oracle = OpenVinoEngine([arrays], channels, plan, network_heads(tasks)), TorchEngine([net], "cpu")
    image, weight = window(plan, channels)
    names = [task.name for task in tasks]
    for asked in [["organs"]] * ("organs" in names):
        one, other = ours.run(image, weight, asked, 0), oracle.run(image, weight, asked, 0)
        assert np.abs(one.dense["organs"] - other.dense["organs"]).max() < 1e-4
    got, want = ours.run(image, weight, names, 0), oracle.run(image, weight, names, 0)
    assert set(got.dense) == set(want.dense) == {task.name for task in tasks if task.is_voxel}
    for name, p in want.dense.items():
        assert np.abs(got.dense[name] - p).max() < 1e-4
    assert got.sums is not None
    assert want.sums is not None
    assert got.sums.shape == want.sums.shape
    assert np.allclose(got.sums, want.sums, rtol=1e-3, atol=1e-2)
    assert got.peak == pytest.approx(want.peak, abs=1e-4)
    ml = 0.01
    mine, theirs = ours.case({0: want.sums}, ml, names), oracle.case({0: want.sums}, ml, names)
    assert set(mine) == set(theirs) == {task.name for task in tasks if not task.is_voxel}
    for name, logits in theirs.items():
        assert np.allclose(mine[name], logits, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_bit_depends_on_other_tasks_or_on_what_runs_beside(tmp_path: Path, precision: str) -> None:
    bundle = write_bundle(tmp_path / "tiny", tasks=heart_tasks(**FURTHER))
    names = [task.name for task in bundle.tasks]
    image, weight = window(STACK, 1)
    alone = engine(bundle, precision=precision, workers=1)
    whole = alone.run(image, weight, names, 0)
    for asked in [*([name] for name in names), ["lesions", "diagnosis"]]:
        part = alone.run(image, weight, asked, 0)
        for name, p in part.dense.items():
            assert np.array_equal(p, whole.dense[name])
        assert part.sums is None or np.array_equal(part.sums, whole.sums)
        assert (part.sums is None) == all(bundle.task(name).is_voxel for name in asked)
    many = engine(bundle, precision=precision, workers=3).run(image, weight, names, 0)
    assert np.array_equal(many.sums, whole.sums)
    for name, p in many.dense.items():
        assert np.array_equal(p, whole.dense[name])


def test_precision_is_what_was_asked(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    about = engine(bundle).describe()
    assert (about["name"], about["device"], about["precision"]) == ("openvino", "cpu", "float32")
    image, weight = window(STACK, 1)
    exact = TorchEngine(load_networks(bundle), "cpu").run(image, weight, ["organs"], 0).dense["organs"]
    error = {
        p: np.abs(engine(bundle, precision=p).run(image, weight, ["organs"], 0).dense["organs"] - exact).max()
        for p in ("float32", "bfloat16")
    }
    assert error["float32"] < 1e-5
    assert error["float32"] <= error["bfloat16"] < 0.05


def test_another_network_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    whole = dict(load_arrays(bundle.weights[0]))
    heads = network_heads(bundle.tasks)
    name = "encoder.stages.1.conv1.conv.weight"
    for arrays in (
        {**whole, "encoder.stages.1.attention.weight": whole[name]},
        {key: value for key, value in whole.items() if key != name},
        {**whole, name: whole[name][:, :1]},
    ):
        with pytest.raises(ForeignNetworkError):
            OpenVinoEngine([arrays], 1, bundle.plan, heads)


@pytest.mark.parametrize("name", sorted(bundle_folders()))
def test_shipped_models_answer_as_under_torch(name: str) -> None:
    bundle = read_bundle(bundle_folders()[name])
    ours, oracle = engine(bundle), TorchEngine(load_networks(bundle), "cpu")
    image, weight = window(bundle.plan, len(bundle.channels))
    got, want = (e.run(image, weight, bundle.task_names, 0) for e in (ours, oracle))
    for task, p in want.dense.items():
        assert np.abs(got.dense[task] - p).max() < 1e-3
        assert float((got.dense[task].argmax(0) == p.argmax(0)).mean()) > 0.9999
    assert (got.sums is None) == (want.sums is None)
    if want.sums is not None:  # a case-level task reads them
        assert np.allclose(got.sums, want.sums, rtol=1e-4, atol=1.0)
