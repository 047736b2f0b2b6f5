"""Every way of weighting, combining, sharing, scheduling and optimising, in the real loop on phantoms of hearts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medmtl.errors import Code, TrainingError
from medmtl.network.sharing import owner_of
from medmtl.preparation.plan import SHARING, Plan
from medmtl_training.batches import BatchMaker
from medmtl_training.build import build_network
from medmtl_training.checkpoint import load_checkpoint
from medmtl_training.loop import Trainer
from medmtl_training.schedule import TaskSchedule
from medmtl_training.settings import GRADIENTS, OPTIMISERS, WEIGHTINGS, TrainSettings
from medmtl_training.validation import set_aside
from tests.medmtl_training.test_loop import CPU, Recorder, changed, heart_case, without
from tests.tiny import STACK, heart_tasks

SETTINGS = TrainSettings(steps=4, batch=2, warm_up=1, learning_rate=5e-3, measure_every=2)
WAYS: list[tuple[str, dict[str, Any], str]] = [
    *((f"weighting {name}", {"weighting": name}, "hard") for name in WEIGHTINGS),
    *((f"gradients {name}", {"gradients": name}, "hard") for name in GRADIENTS if name != "sum"),
    *((f"optimiser {name}", {"optimiser": name}, "hard") for name in OPTIMISERS),
    *((f"sharing {name}", {}, name) for name in SHARING if name != "hard"),
    ("soft by kl", {"tie": "kl"}, "soft"),
    ("a limit per task", {"clip_per_task": 1.0}, "hard"),
    ("rates per task", {"task_rates": {"lesions": 0.1}}, "hard"),
    ("alternating", {"schedule": "alternating"}, "hard"),
    ("curriculum", {"schedule": "curriculum"}, "hard"),
    ("all at once", {"weighting": "famo", "gradients": "upgrad", "clip_per_task": 1.0}, "moe"),
]
QUICK = {"weighting famo", "gradients upgrad", "sharing moe", "curriculum", "optimiser adagrad"}
QUICK_WITHOUT = {"weighting gradnorm", "gradients pcgrad", "sharing cross-task-attention", "soft by kl"}


def ways(quick: set[str], *leave_out: str) -> list[Any]:
    """Every way, those that are not among the quick ones as slow tests."""
    return [
        pytest.param(changes, sharing, id=name, marks=[] if name in quick else [pytest.mark.slow])
        for name, changes, sharing in WAYS
        if name not in leave_out
    ]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(sharing: str, **changes: Any) -> Trainer:
    plan: Plan = replace(STACK, sharing=sharing)
    settings = replace(SETTINGS, **changes)
    if settings.gradients != "sum":
        pytest.importorskip("torchjd", reason="TorchJD is not installed: extra mtl")
    return Trainer(build_network(1, plan, heart_tasks(), 0), heart_tasks(), plan, settings, CPU)


def whole_state(folder: Path) -> dict[str, Tensor]:
    found = load_checkpoint(folder)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(("changes", "sharing"), ways(QUICK))
def test_an_interrupted_run_ends_as_the_whole_one(changes: dict[str, Any], sharing: str, tmp_path: Path) -> None:
    cases = [heart_case(n) for n in range(3)]
    made(sharing, **changes).train(cases, tmp_path / "whole", Recorder())
    trainer = made(sharing, **changes)
    trainer.hardware = replace(CPU, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(cases, tmp_path / "parts", Recorder(stop_at=3))
    again = made(sharing, **changes)
    assert again.restore(tmp_path / "parts")
    assert again.done == 2
    again.train(cases, tmp_path / "parts", Recorder())
    one, two = whole_state(tmp_path / "whole"), whole_state(tmp_path / "parts")
    assert one.keys() == two.keys()
    assert changed(one, two) == set()
    start = {f"net|{name}": value for name, value in made(sharing, **changes).net.state_dict().items()}
    assert len(changed(start, one)) > 0.8 * len(start)


@pytest.mark.parametrize(("changes", "sharing"), ways(QUICK_WITHOUT, "alternating", "curriculum"))
def test_a_task_without_a_label_does_not_move(changes: dict[str, Any], sharing: str, tmp_path: Path) -> None:
    trainer = made(sharing, **changes)
    maker = BatchMaker([heart_case(0), heart_case(1)], trainer.tasks, trainer.plan, trainer.settings)
    trainer.step(maker.make(0))
    trainer.save(tmp_path)
    before = whole_state(tmp_path)
    maker = BatchMaker([without(heart_case(n), "lesions") for n in (0, 1)], trainer.tasks, STACK, trainer.settings)
    trainer.step(maker.make(1))
    trainer.save(tmp_path)
    moved = {name for name in changed(before, whole_state(tmp_path)) if not name.startswith("optimiser")}
    assert not {name for name in moved if owner_of(name.partition("|")[2]) == "lesions"}
    assert not any(name.startswith("weights|") and "lesions" in name for name in moved)
    assert any("decoders.organs" in name for name in moved)


def test_groups_take_turns_and_join_in_order() -> None:
    tasks = heart_tasks()
    turns = TaskSchedule(replace(SETTINGS, schedule="alternating", groups=(("lesions", "organs"),)), tasks)
    assert [sorted(turns.active(step)) for step in range(3)] == [
        ["lesions", "organs"], ["diagnosis"], ["lesions", "organs"],
    ]  # fmt: skip
    order = TaskSchedule(replace(SETTINGS, schedule="curriculum", steps=100), tasks)
    assert [sorted(order.active(step)) for step in (0, 19, 20, 39, 40)] == [
        ["organs"], ["organs"], ["lesions", "organs"], ["lesions", "organs"], ["diagnosis", "lesions", "organs"],
    ]  # fmt: skip
    assert TaskSchedule(SETTINGS, tasks).active(0) == {"lesions", "organs", "diagnosis"}


def test_a_turn_draws_cases_that_have_its_label() -> None:
    bare = [without(without(heart_case(n), "lesions"), "organs") for n in range(8)]
    settings = replace(SETTINGS, schedule="alternating", groups=(("lesions",),), batch=3)
    maker = BatchMaker([*bare, heart_case(1)], heart_tasks(), STACK, settings)
    assert bool((maker.make(0).dense["lesions"] != 255).flatten(1).any(dim=1).all())


def test_a_name_that_is_no_task_is_refused() -> None:
    for changes in ({"task_rates": {"lesion": 0.1}}, {"fixed_weights": {"x": 1.0}}, {"groups": (("organ",),)}):
        with pytest.raises(TrainingError, match="no task") as caught:
            made("hard", **changes)
        assert caught.value.code is Code.BAD_OPTION


def test_without_torchjd_its_ways_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from medmtl_training.gradients.aggregators import make_combine

    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(TrainingError, match="upgrad needs TorchJD") as caught:
        make_combine("upgrad")
    assert caught.value.code is Code.EXTRA_MISSING


def test_cases_kept_aside_choose_the_weights_and_the_end(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=40, validation=0.25, validate_every=2, patience=2, learning_rate=0.5)
    cases = [heart_case(n) for n in range(8)]
    learn, aside = set_aside(cases, settings)
    assert (len(learn), len(aside)) == (6, 2)
    assert not {case.patient for case in learn} & {case.patient for case in aside}
    trainer = made("hard", **{key: getattr(settings, key) for key in ("steps", "validate_every", "patience")})
    trainer.settings = replace(trainer.settings, learning_rate=0.5)  # far too fast: soon nothing gets better
    trainer.train(learn, tmp_path, Recorder(), aside)
    assert trainer.validation.over
    assert trainer.done < 40
    assert 0 < trainer.validation.step < trainer.done
    assert set(trainer.validation.best) == set(trainer.average)
    assert {path.name for path in tmp_path.glob("best_*")} == {
        f"best_{name}.safetensors" for name in ("lesions", "organs", "diagnosis")
    }
    again = made("hard", steps=40, validate_every=2, patience=2)
    again.restore(tmp_path)
    assert again.validation.over
    assert again.validation.state() == trainer.validation.state()
    assert changed(again.validation.best, trainer.validation.best) == set()


def test_too_few_patients_cannot_be_kept_aside() -> None:
    with pytest.raises(TrainingError, match="cannot give"):
        set_aside([heart_case(0), heart_case(1)], replace(SETTINGS, validation=0.1))


def test_a_label_that_is_no_longer_answered_is_reported() -> None:
    trainer = made("hard")
    maker = BatchMaker([heart_case(1)], trainer.tasks, STACK, trainer.settings)
    with torch.no_grad():
        trainer.net.decoders["lesions"].coarse_head.weight.zero_()
        trainer.net.decoders["lesions"].coarse_head.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    for step in range(3):
        trainer.step(maker.make(step))
    said = trainer.collapse.findings()
    assert any(line.startswith("lesions.infarct is in the truth") for line in said)
    assert not any("no_reflow" in line for line in said)  # no case has one


def test_a_class_that_is_no_longer_answered_is_reported() -> None:
    trainer = made("hard")
    maker = BatchMaker([heart_case(0), heart_case(1)], trainer.tasks, STACK, replace(trainer.settings, whole=1.0))
    batch = maker.make(0)
    logits = {"diagnosis": torch.tensor([[9.0, 0.0]] * 2)}
    for _ in range(40):
        trainer.collapse.add(replace(batch, case={"diagnosis": torch.tensor([0, 1])}), {}, logits)
    classes = [label.name for label in trainer.tasks[2].labels]
    assert trainer.collapse.findings() == [
        f"diagnosis.{classes[1]} is in the truth of the last batches and is hardly ever answered"
    ]
