from dataclasses import replace

import numpy as np
import pytest

from medmtl.answers import Answers
from medmtl.findings.calibration import Calibration
from medmtl.geometry.grid import Grid
from medmtl.result import CaseResult
from tests.tiny import heart_tasks, heart_volume

PARTS = {"parts": {"kind": "regions", "labels": [{"name": "front", "value": 7}, "back"]}}


@pytest.fixture
def answers() -> Answers:
    shape = (4, 5, 6)
    organs, lesions = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    organs[:2], organs[2:] = 1, 2
    lesions[2, :2, :2], lesions[2, 2, 0] = 1, 2
    parts = np.zeros((2, *shape), bool)
    parts[0, :3], parts[1, 2:] = True, True  # one layer in both
    return Answers(
        tasks=heart_tasks(**PARTS),
        grid=Grid(shape=shape, affine=np.diag([10.0, 10.0, 10.0, 1.0])),
        image=np.zeros(shape),
        masks={"organs": organs, "lesions": lesions, "parts": parts},
        foreground={},
        case={},
        calibration=Calibration(),
        slice_axis=2,
        planned_stack=True,
        minimum_lesion_ml=0.1,
    )


def test_millilitres_of_exclusive_and_overlapping_labels(answers: Answers) -> None:
    assert answers.ml == {
        "lesions.infarct": 4.0, "lesions.no_reflow": 1.0, "organs.lv_cavity": 60.0, "organs.myocardium": 60.0,
        "parts.front": 90.0, "parts.back": 60.0,
    }  # fmt: skip


def test_masks(answers: Answers) -> None:
    lesions, organs, _, parts = answers.tasks
    assert answers.mask(organs, "myocardium").sum() == 60
    assert answers.mask(parts, "front").sum() == 90
    assert answers.any_mask(lesions).sum() == 5
    assert answers.any_mask(parts).all()
    host = answers.host_mask(lesions)
    assert host is not None
    assert np.array_equal(host, answers.masks["organs"] == 2)
    assert answers.host_mask(organs) is None
    assert answers.task("bones") is None


def test_a_host_that_was_not_answered_has_no_mask(answers: Answers) -> None:
    alone = replace(answers, tasks=answers.tasks[:1])
    assert alone.host_mask(alone.tasks[0]) is None


def test_the_ends_of_a_planned_stack_cut_nothing(answers: Answers) -> None:
    assert answers.cut_axes == (0, 1)
    assert replace(answers, slice_axis=0).cut_axes == (1, 2)
    assert replace(answers, planned_stack=False).cut_axes == (0, 1, 2)


def test_a_result_has_the_same_masks(answers: Answers) -> None:
    result = CaseResult(
        case="c", channels=(heart_volume(),), tasks=answers.tasks, masks=answers.masks, probabilities={}, findings={}
    )
    for task, label in (("parts", "back"), ("lesions", "no_reflow")):
        wanted = answers.mask(next(t for t in answers.tasks if t.name == task), label)
        assert np.array_equal(result.mask(task, label), wanted)
    assert result.volume is result.channels[0]
