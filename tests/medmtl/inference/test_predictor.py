from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn
from medmtl.inference.engine import WindowAnswer, choose_device
from medmtl.inference.predictor import needed_tasks, predict
from medmtl.inference.torch_engine import TorchEngine
from medmtl.preparation.plan import Plan
from medmtl.preparation.prepare import Prepared, prepare
from medmtl.shapes import FloatArray, ImageArray
from medmtl.task import Task, tasks_from_mapping
from tests.tiny import STACK, heart_tasks, heart_volume, network

REGIONS = tasks_from_mapping(
    {"part": {"kind": "regions", "labels": ["one"]}, "load": {"kind": "regression"}}
)  # fmt: skip
PLAIN = replace(STACK, mirror=())


class ImageEngine:
    """Says of each voxel what the image says, and sums up the image for the case."""

    networks = 1
    workers = 2

    def __init__(self) -> None:
        self.calls = 0

    def describe(self) -> dict[str, Any]:
        return {"name": "image"}

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        self.calls += 1
        sums = np.stack([weight.sum(), (weight * image[0]).sum()]).astype(np.float64)[None]
        return WindowAnswer(dense={"part": np.array(image)}, sums=sums, peak=float(image.max()))

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        return {"load": sums[0][0] * voxel_ml}


class SideEngine(ImageEngine):
    """Sees only the half of a window with low i: what mirroring has to repair."""

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        seen = np.array(image)
        seen[:, seen.shape[1] // 2 :] = 0.0
        return replace(super().run(image, weight, asked, network), dense={"part": seen})


def prepared_case(image: np.ndarray) -> Prepared:
    grid = Grid(shape=image.shape, affine=np.diag([2.0, 2.0, 5.0, 1.0]))
    turn = AxisTurn(order=(0, 1, 2), flipped=(False, False, False))
    return Prepared(image=image[None].astype(np.float32), grid=grid, source=grid, turn=turn)


def ramp(shape: tuple[int, int, int]) -> np.ndarray:
    i, j, k = np.meshgrid(*[np.linspace(0.1, 0.9, n) for n in shape], indexing="ij")
    return (i + 2 * j + 4 * k) / 7


@pytest.mark.parametrize("shape", [(16, 16, 4), (33, 21, 9), (7, 40, 4), (5, 6, 2)])
@pytest.mark.parametrize("mirror", [(), (0,), (0, 1, 2)])
def test_blended_windows_give_the_image_back(shape: tuple[int, int, int], mirror: tuple[int, ...]) -> None:
    image = ramp(shape)
    found = predict(prepared_case(image), replace(STACK, mirror=mirror), ImageEngine(), REGIONS)
    assert found.dense["part"].shape == (1, *shape)
    assert np.abs(found.dense["part"][0] - image).max() < 1e-5


@pytest.mark.parametrize("shape", [(16, 16, 4), (33, 21, 9), (5, 6, 2)])
def test_every_voxel_counts_once_for_the_case_and_padding_never(shape: tuple[int, int, int]) -> None:
    image = ramp(shape)
    found = predict(prepared_case(image), PLAIN, ImageEngine(), REGIONS)
    voxels, total = found.case["load"] / 0.02  # mL of a voxel
    assert voxels == pytest.approx(image.size, rel=1e-4)
    assert total == pytest.approx(image.sum(), rel=1e-4)


def test_mirrored_passes_are_averaged_in_their_own_place() -> None:
    image = np.full((16, 16, 4), 0.8)
    plain = predict(prepared_case(image), PLAIN, SideEngine(), REGIONS).dense["part"][0]
    assert (plain[:8].min(), plain[8:].max()) == (pytest.approx(0.8), 0.0)
    both = predict(prepared_case(image), replace(STACK, mirror=(0,)), SideEngine(), REGIONS).dense["part"][0]
    assert np.allclose(both, 0.4)


def test_all_combinations_of_mirrored_axes_run_and_only_where_something_is_seen() -> None:
    engine = ImageEngine()
    predict(prepared_case(np.full((16, 16, 4), 0.5)), replace(STACK, mirror=(0, 1, 2)), engine, REGIONS)
    assert engine.calls == 8
    engine = ImageEngine()
    predict(prepared_case(np.full((16, 16, 4), 0.01)), replace(STACK, mirror=(0, 1, 2)), engine, REGIONS)
    assert engine.calls == 1


def test_progress_counts_windows() -> None:
    told: list[tuple[int, int]] = []
    predict(prepared_case(ramp((24, 16, 4))), PLAIN, ImageEngine(), REGIONS, lambda *n: told.append(n))
    assert told == [(1, 2), (2, 2)]


def all_answers(plan: Plan, tasks: tuple[Task, ...], ensemble: int = 1) -> dict[str, np.ndarray]:
    engine = TorchEngine([network(seed=seed) for seed in range(ensemble)], "cpu")
    found = predict(prepare((heart_volume(),), plan), plan, engine, tasks)
    return {**found.dense, **found.case}


@pytest.mark.parametrize("name", ["lesions", "organs", "diagnosis"])
def test_bytes_do_not_depend_on_the_other_tasks(name: str) -> None:
    tasks = heart_tasks()
    everything = all_answers(STACK, tasks)[name]
    alone = all_answers(STACK, tuple(task for task in tasks if task.name == name))[name]
    assert np.array_equal(everything, alone)


def test_probabilities_of_exclusive_labels_add_up_to_one() -> None:
    found = all_answers(STACK, heart_tasks())
    assert np.allclose(found["organs"].sum(axis=0), 1.0, atol=1e-5)
    assert found["organs"].min() >= 0.0


def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    tasks = heart_tasks()
    one, two = (
        predict(prepare((heart_volume(),), PLAIN), PLAIN, TorchEngine([network(seed=seed)], "cpu"), tasks)
        for seed in (0, 1)
    )
    both = all_answers(PLAIN, tasks, ensemble=2)
    assert np.allclose(both["organs"], (one.dense["organs"] + two.dense["organs"]) / 2, atol=1e-5)
    assert np.allclose(both["diagnosis"], (one.case["diagnosis"] + two.case["diagnosis"]) / 2, atol=1e-6)


def test_hosts_of_asked_tasks_are_needed_too() -> None:
    tasks = heart_tasks()
    assert needed_tasks(("lesions",), tasks) == ("lesions", "organs")
    assert needed_tasks(("diagnosis", "organs"), tasks) == ("organs", "diagnosis")
    with pytest.raises(KeyError):
        needed_tasks(("bones",), tasks)


def test_devices() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")
    assert TorchEngine([network()], "cpu").describe()["precision"] == "float32"
