from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn
from medmtl.inference.engine import WindowAnswer
from medmtl.inference.locating import answered_near, locate, organ_tasks, plan_parts
from medmtl.inference.torch_engine import TorchEngine
from medmtl.inference.windows import widened
from medmtl.preparation.plan import plan_from_mapping, plan_to_mapping
from medmtl.preparation.prepare import Prepared, prepare
from medmtl.shapes import FloatArray, ImageArray
from medmtl.task import Task, tasks_from_mapping
from tests.tiny import STACK, heart_tasks, heart_volume, network

PLAN = replace(STACK, keep_largest=("organs",), mirror=(0, 1))
MARGIN = (2, 2, 1)  # voxels of a coarse voxel of this plan
SHAPE = (60, 50, 6)


class PlainEngine:
    """Sees the organ where the image is 1, in one window as in another."""

    networks = 2
    workers = 2

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], int]] = []

    def describe(self) -> dict[str, Any]:
        return {"name": "plain"}

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        self.asked.append((tuple(asked), network))
        p = np.stack([1.0 - image[0], image[0], np.zeros_like(image[0])])
        return WindowAnswer(dense=dict.fromkeys(asked, p), sums=None, peak=0.0)

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        return {}


def prepared_case(*organs: tuple[slice, slice, slice], shape: tuple[int, int, int] = SHAPE) -> Prepared:
    image = np.zeros((1, *shape), np.float32)
    for organ in organs:
        image[0][organ] = 1.0
    grid = Grid(shape=shape, affine=np.diag([6.0, 6.0, 12.0, 1.0]))
    turn = AxisTurn(order=(0, 1, 2), flipped=(False, False, False))
    return Prepared(image=image, grid=grid, source=grid, turn=turn)


HEART = (slice(20, 30), slice(24, 31), slice(1, 5))


def test_the_box_holds_the_organ_a_coarse_voxel_around_it_and_a_window_at_least() -> None:
    engine = PlainEngine()
    box = locate(prepared_case(HEART), PLAN, engine, organ_tasks(heart_tasks(), PLAN))
    assert box is not None
    for (first, end), organ, margin, patch in zip(box, HEART, MARGIN, PLAN.patch, strict=True):
        assert first <= organ.start - margin
        assert end >= organ.stop + margin
        assert end - first == max(patch, organ.stop - organ.start + 2 * margin)
    # every voxel of the field of view once, by the first network, the organs' decoder alone
    assert engine.asked == [(("organs",), 0)] * (4 * 4 * 2)


@pytest.mark.parametrize("corner", [(0, 0, 0), (1, 1, 1)])
def test_an_organ_in_a_corner_has_its_box_within_the_field_of_view(corner: tuple[int, int, int]) -> None:
    organ = tuple(slice(0, 8) if c == 0 else slice(n - 8, n) for c, n in zip(corner, SHAPE, strict=True))
    organ = (organ[0], organ[1], slice(0, 2))
    box = locate(prepared_case(organ), PLAN, PlainEngine(), organ_tasks(heart_tasks(), PLAN))
    assert box is not None
    for (first, end), held, size in zip(box, organ, SHAPE, strict=True):
        assert 0 <= first <= held.start
        assert held.stop <= end <= size


def test_a_second_piece_counts_where_it_may_be_the_organ() -> None:
    half = (slice(50, 56), slice(2, 10), slice(1, 5))  # 192 voxels beside 280
    speck = (slice(50, 54), slice(2, 10), slice(1, 5))  # 128
    organs = organ_tasks(heart_tasks(), PLAN)
    alone = locate(prepared_case(HEART), PLAN, PlainEngine(), organs)
    assert locate(prepared_case(HEART, speck), PLAN, PlainEngine(), organs) == alone
    both = locate(prepared_case(HEART, half), PLAN, PlainEngine(), organs)
    assert both is not None
    assert both[0][1] >= 56
    assert both[1][0] == 0


def test_two_phases_of_one_organ_are_searched_together() -> None:
    """A second phase seen elsewhere does not widen the box: the place where both see most is the organ."""
    body = {"kind": "segmentation", "labels": ["cavity", "wall"]}
    tasks = tasks_from_mapping({"organs": body, "later": body})
    plan = replace(PLAN, keep_largest=("organs", "later"))
    astray = (slice(48, 58), slice(2, 10), slice(1, 5))  # 320 voxels beside the 280 of the first phase

    class TwoPhases(PlainEngine):
        def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
            dense = {}
            for name in asked:
                seen = image[1] if name == "later" else image[0]
                dense[name] = np.stack([1.0 - seen, seen, np.zeros_like(seen)])
            return WindowAnswer(dense=dense, sums=None, peak=0.0)

    def case(*later: tuple[slice, slice, slice]) -> Prepared:
        first, second = prepared_case(HEART), prepared_case(*later)
        return replace(first, image=np.concatenate([first.image, second.image]))

    alone = locate(case(HEART), plan, TwoPhases(), organ_tasks(tasks, plan))
    half_seen = (HEART[0], HEART[1], slice(1, 3))
    assert alone is not None
    assert locate(case(half_seen, astray), plan, TwoPhases(), organ_tasks(tasks, plan)) == alone


def test_nothing_found_and_one_window_are_looked_at_whole() -> None:
    organs = organ_tasks(heart_tasks(), PLAN)
    assert locate(prepared_case(), PLAN, PlainEngine(), organs) is None
    engine = PlainEngine()
    small = prepared_case((slice(4, 8), slice(4, 8), slice(1, 3)), shape=(16, 12, 4))
    assert locate(small, PLAN, engine, organs) is None
    assert engine.asked == []
    (part,) = plan_parts(prepared_case(), PLAN, PlainEngine(), heart_tasks(), heart_tasks())
    assert part.around == ()
    assert part.sweep.box == tuple((0, n) for n in SHAPE)


def names(tasks: tuple[Task, ...], **changes: Any) -> set[str]:
    return set(answered_near(tasks, replace(PLAN, **changes)))


def test_what_is_answered_near_the_organs() -> None:
    tasks = heart_tasks()
    assert names(tasks) == {"organs", "lesions", "diagnosis"}
    assert names(tasks, locate=False) == set()
    assert names(tasks, keep_largest=()) == set()
    assert names(tasks, keep_largest=("lesions",)) == set()  # a first look may overlook a lesion
    lungs = tasks_from_mapping({"lungs": {"kind": "segmentation", "labels": ["lung"]}})
    # a class that further structures guide is read everywhere
    assert names((*tasks, *lungs)) == {"organs", "lesions"}
    assert names((*tasks, *lungs), guides=("organs", "lesions")) == {"organs", "lesions", "diagnosis"}


@pytest.mark.parametrize("asked", [("lesions",), ("organs", "lungs"), ("lungs",), ("diagnosis",)])
def test_windows_do_not_depend_on_what_else_is_asked(asked: tuple[str, ...]) -> None:
    tasks = heart_tasks(lungs={"kind": "segmentation", "labels": ["lung"]})
    plan = replace(PLAN, guides=("organs", "lesions"))

    def sweeps(wanted: tuple[Task, ...]) -> dict[str, Any]:
        parts = plan_parts(prepared_case(HEART), plan, PlainEngine(), wanted, tasks)
        return {task.name: part.sweep for part in parts for task in part.tasks}

    whole = sweeps(tasks)
    assert whole["lungs"].box == tuple((0, n) for n in SHAPE)
    assert whole["lesions"] == whole["organs"] == whole["diagnosis"] != whole["lungs"]
    some = sweeps(tuple(task for task in tasks if task.name in asked))
    assert some == {name: whole[name] for name in asked}


def test_the_same_box_with_any_number_of_workers_and_of_networks() -> None:
    plan = replace(PLAN, patch=(16, 16, 4))
    prepared = prepare((heart_volume(),), plan)
    tasks = heart_tasks()
    boxes = {
        str(locate(prepared, plan, TorchEngine([network(seed=3)] * count, "cpu", workers=workers), (organ,)))
        for organ in organ_tasks(tasks, plan)
        for count, workers in ((1, 1), (2, 1), (1, 2))
    }
    assert len(boxes) == 1


def test_widened_spans() -> None:
    assert widened((4, 6), 6, (0, 20)) == (2, 8)
    assert widened((0, 2), 6, (0, 20)) == (0, 6)
    assert widened((18, 20), 6, (3, 20)) == (14, 20)
    assert widened((4, 6), 30, (3, 20)) == (3, 20)
    assert widened((4, 16), 6, (0, 20)) == (4, 16)


def test_a_plan_that_does_not_say_looks_for_organs() -> None:
    mapping = plan_to_mapping(PLAN)
    assert mapping.pop("locate") is True
    assert plan_from_mapping(mapping).locate
