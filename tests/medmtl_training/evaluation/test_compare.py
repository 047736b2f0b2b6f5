"""Two methods on the same cases: every figure of both, with its paired interval and the right sign."""

from typing import Any

import pytest

from medmtl.task import Task, tasks_from_mapping
from medmtl_training.evaluation.compare import compare, largest_losses


def task(body: dict[str, Any]) -> tuple[Task, ...]:
    return tasks_from_mapping({"t": body})


def row(number: int, cell: dict[str, Any]) -> dict[str, Any]:
    return {"case": f"c{number}", "patient": f"p{number}", "fold": 0, "tasks": {"t": cell}}


CLASSES = task({"kind": "classification", "classes": ["well", "ill"]})


def classified(*risks: float) -> list[dict[str, Any]]:
    """Cases of which every second is ill."""
    return [
        row(n, {"truth": ("well", "ill")[n % 2], "probabilities": {"well": 1 - p, "ill": p}})
        for n, p in enumerate(risks)
    ]


def test_a_better_classifier_is_better_in_every_figure() -> None:
    good = classified(*[0.1, 0.9] * 20)
    poor = classified(*[0.6, 0.55] * 20)
    found = compare(good, poor, CLASSES)["tasks"]["t"]
    assert set(found) == {"auroc", "auprc", "accuracy", "balanced_accuracy", "brier", "ece"}
    assert {value["verdict"] for value in found.values()} == {"better"}
    assert found["auroc"]["value"] == pytest.approx(1.0)
    back = compare(poor, good, CLASSES)["tasks"]["t"]
    assert {value["verdict"] for value in back.values()} == {"worse"}


def test_the_same_answers_are_no_evidence() -> None:
    same = classified(*[0.1, 0.9] * 5)
    assert {value["verdict"] for value in compare(same, same, CLASSES)["tasks"]["t"].values()} == {"no evidence"}


def test_numbers_are_compared_by_their_errors() -> None:
    ages = task({"kind": "regression", "unit": "years"})
    first = [row(n, {"truth": 50.0, "value": 51.0}) for n in range(8)]
    second = [row(n, {"truth": 50.0, "value": 46.0}) for n in range(8)]
    found = compare(first, second, ages)["tasks"]["t"]["absolute_error"]
    assert (found["value"], found["verdict"]) == (-3.0, "better")


def test_classes_that_do_not_exclude_each_other_are_compared_one_by_one() -> None:
    findings = task({"kind": "multilabel", "classes": ["a", "b"]})
    truth = [["a"], [], ["a", "b"], ["b"]] * 6
    exact = [row(n, {"truth": t, "probabilities": {"a": float("a" in t), "b": 0.5}}) for n, t in enumerate(truth)]
    blind = [row(n, {"truth": t, "probabilities": {"a": 0.5, "b": 0.5}}) for n, t in enumerate(truth)]
    found = compare(exact, blind, findings)["tasks"]["t"]["labels"]
    assert found["a"]["auroc"]["value"] == pytest.approx(0.5)
    assert (found["a"]["brier"]["verdict"], found["b"]["brier"]["verdict"]) == ("better", "no evidence")


def lesions(found: int, dice: float | None, false_ml: float | None) -> dict[str, Any]:
    cell = {"dice": dice, "nsd": dice, "hd95_mm": None, "error_percent": None, "false_ml": false_ml}
    return {"labels": {"core": cell}, "lesions": {"truth": 2, "found": found, "predicted": 2, "matched": found}}


def test_lesions_found_and_volumes_found_where_there_is_none_count_too() -> None:
    voxels = task({"kind": "segmentation", "labels": [{"name": "core", "category": "lesion"}]})
    first = [row(n, lesions(2, 0.9 if n % 2 else None, None if n % 2 else 0.0)) for n in range(8)]
    second = [row(n, lesions(1, 0.6 if n % 2 else None, None if n % 2 else 4.0)) for n in range(8)]
    found = compare(first, second, voxels)["tasks"]["t"]["labels"]
    assert found["lesion by lesion"]["f1"]["value"] == pytest.approx(0.5)
    assert found["core"]["false_ml"] == {
        "value": -4.0, "interval": [-4.0, -4.0], "n": 4, "patients": 4, "verdict": "better",
    }  # fmt: skip
    assert found["core"]["dice"]["verdict"] == "better"
    assert largest_losses(first, second) == []
    assert [loss["case"] for loss in largest_losses(second, first)] == ["c1", "c3", "c5", "c7"]
