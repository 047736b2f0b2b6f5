"""Dice on held-out crops while a network trains: what it counts, and that nothing of the training hangs on it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medmtl_training.batches import BatchMaker
from medmtl_training.build import build_network
from medmtl_training.journal import Journal
from medmtl_training.loop import Trainer
from medmtl_training.settings import TrainSettings
from medmtl_training.watching import HeldoutWatch, heldout_dice, read_dice
from tests.medmtl_training.test_loop import CPU, heart_case
from tests.tiny import STACK, heart_tasks

SETTINGS = TrainSettings(steps=4, batch=2, warm_up=1, measure_every=0)


def trainer() -> Trainer:
    tasks = heart_tasks()
    return Trainer(build_network(1, STACK, tasks, 0), tasks, STACK, SETTINGS, CPU)


@pytest.mark.parametrize(("shift", "dice"), [(0, 1.0), (1, None)])
def test_it_is_the_dice_of_the_labels(monkeypatch: pytest.MonkeyPatch, shift: int, dice: float | None) -> None:
    cases, tasks = [heart_case(n) for n in range(4)], heart_tasks()
    batch = BatchMaker(cases, tasks, STACK, SETTINGS).make(0)
    truth = batch.dense["organs"].clamp(max=2)
    answer = truth.roll(shift, dims=1)

    def answered(*_: Any) -> Iterator[Any]:
        yield replace(batch, dense={**batch.dense, "organs": truth}), (
            {"organs": F.one_hot(answer, 3).movedim(-1, 1).float()}, {}, {},
        )  # fmt: skip

    monkeypatch.setattr("medmtl_training.watching.still_answers", answered)
    found = heldout_dice(trainer(), cases)
    wanted = [
        2 * int(((answer == n) & (truth == n)).sum()) / int((answer == n).sum() + (truth == n).sum()) for n in (1, 2)
    ]
    assert found == {"organs": pytest.approx(dice if dice is not None else sum(wanted) / 2)}
    assert (found["organs"] < 0.95) is (dice is None)


def test_a_watched_training_is_the_same_training(tmp_path: Path) -> None:
    cases, held_out = [heart_case(n) for n in range(3)], [heart_case(n) for n in range(3, 5)]
    plain, watched = trainer(), trainer()
    tasks = [task.name for task in plain.tasks]
    plain.train(cases, tmp_path / "plain", Journal(tmp_path / "plain", tasks, 4, 0))
    journal = Journal(tmp_path / "watched", tasks, 4, 0)
    watched.train(cases, tmp_path / "watched", HeldoutWatch(journal, watched, held_out, tmp_path / "watched"))
    for name, value in plain.net.state_dict().items():
        assert torch.equal(value, watched.net.state_dict()[name]), name
    looks = read_dice(tmp_path / "watched", "organs")
    assert [step for step, _ in looks] == [1, 2, 3, 4]
    assert all(0.0 <= dice <= 1.0 for _, dice in looks)
    assert read_dice(tmp_path / "plain", "organs") == []
