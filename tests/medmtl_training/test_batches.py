from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from medmtl.task import tasks_from_mapping
from medmtl_training.batches import Batch, BatchMaker
from medmtl_training.prepared import PreparedCase
from medmtl_training.settings import TrainSettings
from tests.tiny import STACK

TASKS = tasks_from_mapping(
    {
        "organs": {"kind": "segmentation", "labels": ["a", "b"]},
        "parts": {"kind": "regions", "labels": ["c", "d"]},
        "diagnosis": {"kind": "classification", "classes": ["well", "ill"]},
        "signs": {"kind": "multilabel", "classes": ["x", "y", "z"]},
        "age": {"kind": "regression"},
    }
)
SHAPE = (20, 20, 6)


def case(name: str, **changes: Any) -> PreparedCase:
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:12, 6:12, 1:4] = 1
    values: dict[str, Any] = {
        "name": name, "patient": name, "fold": None, "image": np.zeros((1, *SHAPE), np.float32),
        "labels": {"organs": labels}, "annotated": {}, "case_labels": {"diagnosis": 1, "signs": [0, 2], "age": 50.5},
        "spacing": (1.5, 1.5, 6.0), "voxel_ml": 0.0135, "hashes": (),
        "foreground": {"organs.a": np.argwhere(labels)}, "box": np.array([[6, 6, 1], [11, 11, 3]]), "filled": 108,
        "deciding": {"organs": (0,)},
    }  # fmt: skip
    return PreparedCase(**{**values, **changes})


def make(cases: list[PreparedCase], step: int = 0, **changes: Any) -> Batch:
    settings = TrainSettings(batch=2, whole=1.0, foreground=0.0, **changes)
    return BatchMaker(cases, TASKS, STACK, settings).make(step)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    cases = [case("a"), case("b")]
    first, again = make(cases, 5), make(cases, 5)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.inside, again.inside)
    for other in (make(cases, 6), make(cases, 5, seed=1)):
        assert not torch.equal(first.dense["organs"], other.dense["organs"])


def test_shapes_and_kinds() -> None:
    batch = make([case("a")])
    assert tuple(batch.image.shape) == (2, 1, 16, 16, 4)
    assert tuple(batch.dense["organs"].shape) == (2, 16, 16, 4)
    assert "parts" not in batch.dense  # no case of the batch has it
    assert batch.annotated["organs"].tolist() == [[True, True, True]] * 2
    assert batch.case["signs"].tolist() == [[1.0, 0.0, 1.0]] * 2
    assert batch.case["diagnosis"].tolist() == [1, 1]
    assert batch.case["age"].tolist() == [50.5, 50.5]
    assert batch.voxel_ml.dtype == torch.float32
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.dense["organs"], batch.dense["organs"])


def test_what_is_not_known_is_said_to_be() -> None:
    nothing = case(
        "b", labels={}, case_labels={"diagnosis": None, "signs": None, "age": None}, foreground={}, box=None, filled=0
    )
    part = case("c", annotated={"organs": ("b",)}, case_labels={"diagnosis": 0, "signs": [], "age": None})
    seen: dict[bool, Batch] = {}
    for step in range(20):
        batch = make([nothing, part], step, balanced=0.0)
        for row in range(2):
            known = bool(batch.case_known["diagnosis"][row])
            if "organs" not in batch.dense:
                continue
            target = batch.dense["organs"][row]
            if known:
                assert batch.annotated["organs"][row].tolist() == [True, False, True]
                assert batch.case_known["signs"][row]
                assert batch.case["signs"][row].tolist() == [0.0, 0.0, 0.0]
            elif bool((target != 255).any()):
                assert not batch.case_known["diagnosis"][row]  # a crop that holds too little of its case
            assert not batch.case_known["age"][row]
            seen[known] = batch
    assert set(seen) == {True, False}


def test_overlapping_masks_of_a_case_without_them_are_ignored_in_a_mixed_batch() -> None:
    masks = np.zeros((2, *SHAPE), np.uint8)
    masks[0, 6:12, 6:12, 1:4] = 1
    with_parts = case("b", labels={"parts": masks})
    batches = [make([case("a"), with_parts], step, balanced=0.0) for step in range(12)]
    mixed = [b for b in batches if len(b.dense) == 2]
    assert mixed
    for batch in mixed:
        assert tuple(batch.dense["parts"].shape) == (2, 2, 16, 16, 4)
        for row in range(2):
            known = {name: bool((batch.dense[name][row] != 255).any()) for name in ("organs", "parts")}
            assert known["organs"] != known["parts"]


@pytest.mark.parametrize(("balanced", "low", "high"), [(0.0, 0.02, 0.2), (1.0, 0.4, 0.6)])
def test_rare_combinations_are_drawn_as_often_as_common_ones_where_asked(
    balanced: float, low: float, high: float
) -> None:
    cases = [case(f"c{n}", case_labels={"diagnosis": 0}) for n in range(9)]
    cases.append(case("rare", case_labels={"diagnosis": 1}))
    maker = BatchMaker(cases, TASKS, STACK, TrainSettings(balanced=balanced))
    rng = np.random.default_rng(0)
    pool = maker._pool(maker.schedule.every)
    drawn = Counter(maker._draw(rng, *pool).name for _ in range(400))
    assert low < drawn["rare"] / 400 < high


def test_a_case_label_counts_only_where_the_crop_holds_the_case() -> None:
    far = case("a", box=np.array([[0, 0, 0], [1, 1, 1]]))  # whole crops go to the wrong place
    far = replace(far, image=np.zeros((1, 90, 90, 6), np.float32))
    labels = np.zeros((90, 90, 6), np.uint8)
    labels[80:86, 80:86, 1:4] = 1
    batch = make([replace(far, labels={"organs": labels})])
    assert not batch.case_known["diagnosis"].any()
