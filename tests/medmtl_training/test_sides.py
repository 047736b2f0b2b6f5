"""Left stays left: a plan that mirrors the body is refused where sides are labels."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from medmtl.errors import Code, TrainingError
from medmtl.task import tasks_from_mapping
from medmtl_training.sides import are_paired, refuse_mirrored_sides
from tests.tiny import CUBE, STACK, heart_tasks


def test_a_body_of_two_kidneys_is_not_mirrored(shared: Path) -> None:
    head = yaml.safe_load((shared / "data/abdomen_ct/dataset.yaml").read_text(encoding="utf-8"))
    tasks = tasks_from_mapping(head["tasks"])
    assert are_paired(tasks)
    refuse_mirrored_sides(CUBE, tasks)
    refuse_mirrored_sides(replace(CUBE, flips=(1, 2)), tasks)  # to the back and to the head
    for plan in (replace(CUBE, flips=(0,)), replace(STACK, flips=(2,), mirror=())):
        with pytest.raises(TrainingError) as caught:
            refuse_mirrored_sides(plan, tasks)
        assert caught.value.code == Code.MIRRORED_SIDES


def test_names_tell_the_side_where_codes_do_not() -> None:
    def labels(*names: str) -> bool:
        return are_paired(tasks_from_mapping({"organs": {"kind": "segmentation", "labels": list(names)}}))

    assert labels("kidney_left", "liver")
    assert not labels("cleft", "liver")


def test_a_heart_may_be_mirrored() -> None:
    assert not are_paired(heart_tasks())
    refuse_mirrored_sides(STACK, heart_tasks())
