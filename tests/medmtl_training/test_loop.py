import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from medmtl.errors import Code, TrainingError
from medmtl.task import Task
from medmtl_training.batches import Batch, BatchMaker
from medmtl_training.build import build_network
from medmtl_training.checkpoint import load_checkpoint
from medmtl_training.cli import train
from medmtl_training.gradients.meter import Look
from medmtl_training.loop import Hardware, Trainer
from medmtl_training.prepared import PreparedCase
from medmtl_training.schedule import rate_factor
from medmtl_training.settings import TrainSettings
from tests.tiny import ROOT, STACK, heart_dataset, heart_tasks, write_tiny_config

SETTINGS = TrainSettings(steps=6, batch=2, warm_up=1, learning_rate=5e-3)
CPU = Hardware(device=torch.device("cpu"))
KINDS = {
    "grade": {"kind": "ordinal", "classes": ["low", "middle", "high"]},
    "signs": {"kind": "multilabel", "classes": ["x", "y"]},
    "age": {"kind": "regression"},
    "parts": {"kind": "regions", "labels": ["wall", "infarct"]},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def heart_case(seed: int, **changes: Any) -> PreparedCase:
    """A heart of boxes whose infarct, where there is one, is bright."""
    ill = seed % 2 == 1
    rng = np.random.default_rng(seed)
    organs, lesions = np.zeros((20, 20, 6), np.uint8), np.zeros((20, 20, 6), np.uint8)
    organs[5:15, 5:15, 1:5], organs[8:12, 8:12, 1:5] = 2, 1
    if ill:
        lesions[5:8, 5:15, 2:4] = 1
    image = rng.normal(0, 0.2, organs.shape) + np.array([0.0, 1.0, -1.0])[organs] + 3.0 * (lesions > 0)
    parts = np.stack([organs == 2, lesions == 1]).astype(np.uint8)
    values: dict[str, Any] = {
        "name": f"c{seed}", "patient": f"c{seed}", "fold": None, "image": image[None].astype(np.float32),
        "labels": {"organs": organs, "lesions": lesions, "parts": parts}, "annotated": {},
        "case_labels": {"diagnosis": int(ill), "grade": 2 * int(ill), "signs": [0] if ill else [], "age": 1.0 + ill},
        "spacing": (6.0, 6.0, 12.0), "voxel_ml": 0.432, "hashes": (),
        "foreground": {"organs.myocardium": np.argwhere(organs == 2)}, "box": np.array([[5, 5, 1], [14, 14, 4]]),
        "deciding": {"organs": (0, 1), "lesions": (0,), "parts": (0, 1)},
        "filled": int((organs > 0).sum() + (lesions > 0).sum() + parts.sum()),
    }  # fmt: skip
    return PreparedCase(**{**values, **changes})


def without(case: PreparedCase, task: str) -> PreparedCase:
    labels = {name: found for name, found in case.labels.items() if name != task}
    filled = sum(int((found == value).sum()) for found in labels.values() for value in (1, 2))
    return replace(case, labels=labels, case_labels={**case.case_labels, task: None}, filled=filled)


class Recorder:
    def __init__(self, *, stop_at: int | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self.looks: list[Look] = []
        self.stop_at = stop_at

    def look(self, looks: Sequence[Look]) -> None:
        self.looks.extend(looks)

    def step(self, step: int, losses: dict[str, float], weights: dict[str, float], seconds: float) -> None:
        self.rows.append(losses)
        if step == self.stop_at:
            raise KeyboardInterrupt


def trainer(
    settings: TrainSettings = SETTINGS, tasks: tuple[Task, ...] | None = None, hardware: Hardware = CPU
) -> Trainer:
    tasks = tasks or heart_tasks()
    return Trainer(build_network(1, STACK, tasks, settings.seed), tasks, STACK, settings, hardware)


def state(made: Trainer) -> dict[str, Tensor]:
    """Everything that training changes."""
    found = {f"net|{name}": value for name, value in made.net.state_dict().items()}
    found |= {f"average|{name}": value for name, value in made.average.items()}
    found |= {f"s|{name.split('.')[-1]}": value.detach() for name, value in made.weights.state_dict().items()}
    return {name: value.clone() for name, value in found.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def batch_for(made: Trainer, cases: list[PreparedCase], step: int = 0) -> Batch:
    settings = replace(made.settings, whole=1.0, foreground=0.0)
    augmentation = replace(settings.augmentation, rotation_deg=0, tilt_deg=0, scale=1.0, elastic_mm=0)
    return BatchMaker(cases, made.tasks, made.plan, replace(settings, augmentation=augmentation)).make(step)


@pytest.mark.parametrize("absent", ["lesions", "organs", "diagnosis"])
def test_a_task_without_a_label_in_the_batch_does_not_move(absent: str) -> None:
    made = trainer()
    made.step(batch_for(made, [heart_case(0), heart_case(1)]))  # moments and averages are no longer zero
    before = state(made)
    losses = made.step(batch_for(made, [without(heart_case(n), absent) for n in (0, 1)]))
    assert absent not in losses
    moved = changed(before, state(made))
    own = {name for name in before if f".{absent}." in name or name == f"s|{absent}"}
    if absent == "diagnosis":  # the only one that pools
        own |= {name for name in before if "|pooling." in name}
    assert len(own) > 4
    assert not moved & own
    others = {"lesions", "organs", "diagnosis"} - {absent}
    for other in others:
        assert {f"s|{other}"} < moved
        assert any(f"|decoders.{other}." in n or f"|case_heads.{other}." in n for n in moved if n.startswith("net"))
    assert any("encoder" in name for name in moved)


def test_a_batch_without_any_label_changes_nothing_but_the_step() -> None:
    made = trainer()
    made.step(batch_for(made, [heart_case(1)]))
    before = state(made)
    empty = heart_case(0, labels={}, case_labels={}, box=None, foreground={}, filled=0)
    assert made.step(batch_for(made, [empty])) == {}
    assert changed(before, state(made)) == set()
    assert made.done == 2


@pytest.mark.parametrize("weighting", ["kendall", "equal"])
def test_every_kind_of_task_learns(weighting: str) -> None:
    tasks = heart_tasks(**KINDS)
    mild = replace(SETTINGS.augmentation, elastic_mm=0, scale=1.05)
    settings = replace(SETTINGS, steps=45, weighting=weighting, whole=1.0, augmentation=mild)
    made = trainer(settings, tasks)
    cases, rows = [heart_case(n) for n in range(4)], []
    maker = BatchMaker(cases, tasks, STACK, settings)
    for step in range(settings.steps):
        rows.append(made.step(maker.make(step)))
    for task in tasks:
        values = [row[task.name] for row in rows if task.name in row]
        assert np.mean(values[-8:]) < 0.85 * np.mean(values[:4]), task.name
    if weighting == "kendall":
        low, high = settings.log_variance_limits
        assert all(low <= s.item() <= high for s in made.weights.parameters())


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    made = trainer()
    bad = heart_case(0)
    bad = replace(bad, image=np.full_like(bad.image, np.nan))
    before = state(made)
    with pytest.raises(TrainingError) as caught:
        made.step(batch_for(made, [bad]))
    assert caught.value.code is Code.NOT_CONVERGING
    assert changed(before, state(made)) == set()


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    made = trainer(replace(SETTINGS, steps=100, warm_up=10))
    rates = []
    for step in range(100):
        rates.append(rate_factor(step, made.settings))
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] <= 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.02
    made.step(batch_for(made, [heart_case(1)]))
    # uncertainty weights learn five times as fast and do not decay
    one, two = made.optimiser.param_groups
    assert two["lr"] == pytest.approx(5 * one["lr"])
    assert two["weight_decay"] == 0.0


def finished(folder: Path, hardware: Hardware = CPU, *, stop_at: int | None = None, cases: int = 4) -> Trainer:
    made = trainer(hardware=hardware)
    made.restore(folder)
    try:
        made.train([heart_case(n) for n in range(cases)], folder, Recorder(stop_at=stop_at))
    except KeyboardInterrupt:
        made.done = -1
    return made


def test_an_interrupted_run_ends_with_the_weights_of_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole")
    often = replace(CPU, checkpoint_seconds=0.0)
    assert finished(tmp_path / "parts", often, stop_at=2).done == -1
    assert finished(tmp_path / "parts", often, stop_at=5).done == -1
    parts = finished(tmp_path / "parts", often)
    assert parts.done == 6
    assert changed(state(whole), state(parts)) == set()
    found = [load_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    assert found[0] is not None
    assert found[1] is not None
    assert changed(found[0][0], found[1][0]) == set()
    assert finished(tmp_path / "whole").done == 6  # nothing more to do


def test_loader_threads_change_nothing(tmp_path: Path) -> None:
    one, two = finished(tmp_path / "a"), finished(tmp_path / "b", replace(CPU, loaders=2))
    assert changed(state(one), state(two)) == set()


def test_another_network_does_not_take_the_checkpoint(tmp_path: Path) -> None:
    finished(tmp_path)
    other = trainer(tasks=heart_tasks(**KINDS))
    with pytest.raises(TrainingError) as caught:
        other.restore(tmp_path)
    assert caught.value.code is Code.CHECKPOINT_MISMATCH


def test_averaged_weights_follow_the_raw_ones() -> None:
    made = trainer(replace(SETTINGS, average=0.5))
    before = state(made)
    made.step(batch_for(made, [heart_case(0), heart_case(1)]))
    after = state(made)
    name = "encoder.stages.0.conv1.conv.weight"
    # the first step counts 9/10: an average over steps must forget the start quickly
    wanted = before[f"net|{name}"] * 0.1 + after[f"net|{name}"] * 0.9
    assert torch.allclose(after[f"average|{name}"], wanted, atol=1e-6)


COMMAND = """
import sys, time, torch
from medmtl_training import cli, loop

loop.Hardware.__init__.__kwdefaults__["checkpoint_seconds"] = 0.0
step = loop.Trainer.step


def slow(self, batch):
    time.sleep(float(seconds))
    return step(self, batch)


seconds = sys.argv[1]
loop.Trainer.step = slow
cli.train(sys.argv[2:], standalone_mode=False)
"""


def test_killed_by_sigkill_and_resumed(tmp_path: Path) -> None:
    """The console command: uninterrupted, and killed without warning; the checkpoints agree to the bit."""
    data = heart_dataset(tmp_path / "data", 4)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = write_tiny_config(tmp_path / "plan.yaml", steps=12)

    def arguments(run: Path) -> list[str]:
        named = [str(data), "-o", str(run), "--config", str(config), "--folds", "none", "--max-steps", "12"]
        return [*named, "--device", "cpu", "--threads", "1", "--quiet"]

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'training'}"}
    running = subprocess.Popen([sys.executable, "-c", COMMAND, "0.2", *arguments(parts)], env=environment, cwd=ROOT)
    checkpoint = parts / "fold_all" / "checkpoint.safetensors"
    _wait_for(checkpoint.exists)
    time.sleep(0.5)
    running.send_signal(signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    killed = load_checkpoint(checkpoint.parent)
    assert killed is not None
    assert 0 < killed[1]["done"] < 12
    with pytest.raises(TrainingError) as caught:
        CliRunner().invoke(train, arguments(parts), catch_exceptions=False)
    assert caught.value.code is Code.RUN_EXISTS
    for run, more in ((parts, ["--resume"]), (whole, [])):
        assert CliRunner().invoke(train, [*arguments(run), *more], catch_exceptions=False).exit_code == 0
    found = [load_checkpoint(run / "fold_all") for run in (whole, parts)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][1]["done"] == found[1][1]["done"] == 12
    assert changed(found[0][0], found[1][0]) == set()
    weights = [(run / "bundle" / "weights" / "fold_all.safetensors").read_bytes() for run in (whole, parts)]
    assert weights[0] == weights[1]


def _wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
