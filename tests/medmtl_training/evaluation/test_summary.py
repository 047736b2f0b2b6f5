import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.reading.nifti import read_label_map
from medmtl.task import Task, tasks_from_mapping
from medmtl_training.cases import read_dataset
from medmtl_training.evaluation.bootstrap import Bootstrap
from medmtl_training.evaluation.predictions import open_predictions
from medmtl_training.evaluation.report_html import report_html
from medmtl_training.evaluation.score import ScoreSettings, rules, score
from medmtl_training.evaluation.summary import case_summary


def draws(patients: Sequence[str]) -> Bootstrap:
    return Bootstrap(patients, draws=100)


def one_task(body: dict[str, Any]) -> Task:
    return tasks_from_mapping({"t": body})[0]


def rows(*cells: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"case": f"c{i}", "patient": f"p{i}", "fold": None, "columns": {}, "tasks": {"t": cell}}
        for i, cell in enumerate(cells)
    ]


def test_several_classes_are_one_against_the_rest() -> None:
    task = one_task({"kind": "classification", "classes": ["a", "b", "c"]})
    sure = {
        "a": {"a": 0.8, "b": 0.1, "c": 0.1},
        "b": {"a": 0.1, "b": 0.8, "c": 0.1},
        "c": {"a": 0.1, "b": 0.1, "c": 0.8},
    }
    cells = [{"truth": name, "probabilities": sure[name]} for name in "aabbcc"]
    cells.append({"truth": "a", "probabilities": sure["b"]})
    cells.append({"truth": None, "probabilities": sure["c"]})
    found = case_summary(rows(*cells), task, draws)
    assert found["n"] == 7
    assert found["classes"] == {"a": 3, "b": 2, "c": 2}
    assert found["accuracy"]["value"] == pytest.approx(6 / 7)
    assert found["balanced_accuracy"]["value"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found["auroc_by_class"]["a"]["value"] == pytest.approx((2 * 4 + 4 / 2) / 12)
    areas = [found["auroc_by_class"][name]["value"] for name in "abc"]
    assert found["auroc"]["value"] == pytest.approx(np.mean(areas))


def test_a_class_that_does_not_occur_leaves_no_mean() -> None:
    task = one_task({"kind": "classification", "classes": ["a", "b", "c"]})
    even = {"a": 0.4, "b": 0.4, "c": 0.2}
    found = case_summary(rows(*({"truth": name, "probabilities": even} for name in "ab")), task, draws)
    assert found["auroc"] is None
    assert found["auroc_by_class"]["a"]["value"] == 0.5
    assert found["auroc_by_class"]["c"] is None


def test_ordinal_classes_know_their_distance() -> None:
    task = one_task({"kind": "ordinal", "classes": ["mild", "severe", "fatal"]})
    answer = {"mild": 0.6, "severe": 0.3, "fatal": 0.1}
    cells = [{"truth": truth, "probabilities": answer} for truth in ("mild", "severe", "fatal")]
    found = case_summary(rows(*cells), task, draws)
    assert found["class_distance"]["value"] == pytest.approx(1.0)
    assert found["quadratic_kappa"]["value"] == pytest.approx(0.0)


def test_multilabel_classes_stand_alone() -> None:
    task = one_task({"kind": "multilabel", "classes": ["scar", "oedema"]})
    cells = [
        {"truth": ["scar"], "probabilities": {"scar": 0.9, "oedema": 0.6}},
        {"truth": [], "probabilities": {"scar": 0.2, "oedema": 0.1}},
        {"truth": ["oedema", "scar"], "probabilities": {"scar": 0.7, "oedema": 0.4}},
    ]
    found = case_summary(rows(*cells), task, draws)["by_class"]
    assert (found["scar"]["auroc"]["value"], found["scar"]["accuracy"]["value"]) == (1.0, 1.0)
    assert (found["oedema"]["auroc"]["value"], found["oedema"]["accuracy"]["value"]) == (0.5, pytest.approx(1 / 3))
    assert found["scar"]["cases"] == 2


def test_regression_has_errors_and_limits() -> None:
    task = one_task({"kind": "regression", "unit": "%"})
    cells = [{"truth": 50.0 + i, "value": 52.0 + i + (-1) ** i} for i in range(6)]
    found = case_summary(rows(*cells), task, draws)
    assert found["mean_absolute_error"]["value"] == pytest.approx(2.0)
    assert found["agreement"]["bias"] == pytest.approx(2.0)
    assert found["unit"] == "%"


def test_every_kind_has_its_place_in_the_report() -> None:
    tasks = tasks_from_mapping(
        {
            "grade": {"kind": "ordinal", "classes": ["mild", "severe", "fatal"]},
            "signs": {"kind": "multilabel", "classes": ["scar"]},
            "ef": {"kind": "regression", "unit": "%"},
        }
    )
    names = ("mild", "severe", "fatal")
    table = [
        {
            "case": f"c{i}", "patient": f"p{i}", "fold": None, "columns": {},
            "tasks": {
                "grade": {"truth": names[i % 3], "probabilities": dict(zip(names, (0.5, 0.3, 0.2), strict=True))},
                "signs": {"truth": ["scar"] if i % 2 else [], "probabilities": {"scar": 0.1 * i}},
                "ef": {"truth": 50.0, "value": 51.0 + i},
            },
        }
        for i in range(9)
    ]  # fmt: skip
    metrics = {
        "dataset": "toy", "cases": 9, "patients": 9, "folds": [], "missing": ["c9"], "rows": table, "subgroups": {},
        "rules": rules(ScoreSettings()), "tasks": {task.name: case_summary(table, task, draws) for task in tasks},
    }  # fmt: skip
    page = report_html(metrics, tasks)
    for words in ("quadratic kappa", "AUROC, fatal", "scar</th>", "mean absolute error", "c9"):
        assert words in page


def test_regions_are_scored_by_file(dataset_writer: Any, tmp_path: Path, nifti_writer: Any) -> None:
    dataset_writer.head["tasks"] = {"zones": {"kind": "regions", "labels": ["inner", "outer"]}}
    inner, outer = np.zeros(dataset_writer.shape), np.zeros(dataset_writer.shape)
    inner[4:8, 4:8, 2:4] = 1
    outer[2:10, 2:10, 1:5] = 1
    for name in "ab":
        dataset_writer.add({"case": name, "patient": name}, {"zones/inner": inner, "zones/outer": outer})
        for label, mask in (("inner", inner), ("outer", np.roll(outer, 2, axis=1))):
            nifti_writer(tmp_path / "out" / name / "zones" / f"{label}.nii.gz", mask.astype(np.uint8))
        (tmp_path / "out" / name / "findings.json").write_text("{}", encoding="utf-8")
    dataset, _ = read_dataset(dataset_writer.write())
    metrics = score(open_predictions(tmp_path / "out", dataset), dataset, dataset.cases, ScoreSettings(draws=50))
    labels = metrics["tasks"]["zones"]["labels"]
    assert labels["inner"]["dice"]["mean"] == 1.0
    assert labels["outer"]["dice"]["mean"] == pytest.approx(6 / 8)
    assert set(labels) == {"inner", "outer", "union"}


def test_limits_of_agreement_have_intervals(toy: Any, tmp_path: Path, nifti_writer: Any) -> None:
    for number, path in enumerate(sorted((toy / "organs").iterdir())):
        array = read_label_map(path)[0]
        array[:, :, 4] = 0 if number % 2 else array[:, :, 4]
        nifti_writer(tmp_path / "flat" / path.name, array)
    dataset, _ = read_dataset(toy)
    metrics = score(open_predictions(tmp_path / "flat", dataset, "organs"), dataset, dataset.cases, ScoreSettings())
    found = metrics["tasks"]["organs"]["labels"]["body"]["volume_ml"]
    slab_ml = 16 * 14 * 1.5 * 1.5 * 6 / 1000
    assert found["bias"] == pytest.approx(-slab_ml / 2)
    low, high = found["bias_interval"]
    assert -slab_ml < low < -slab_ml / 2 < high < 0
    assert found["lower_interval"][0] <= found["lower"] <= found["lower_interval"][1]
    assert found["upper_interval"][0] <= found["upper"] <= found["upper_interval"][1]


def test_classes_that_do_not_exclude_each_other_have_baselines_too(dataset_writer: Any, tmp_path: Path) -> None:
    dataset_writer.head["tasks"] = {"signs": {"kind": "multilabel", "classes": ["scar", "clot"]}}
    for n in range(12):
        signs = ";".join(["scar"] * (n % 2) + ["clot"] * (n % 3 == 0)) or "none"
        image = np.random.default_rng(n).normal(100, 10, (24 + 2 * (n % 2), 22, 6)).astype(np.int16)  # a shortcut
        row = {"case": f"c{n}", "patient": f"p{n}", "fold": str(n % 4), "signs": signs}
        dataset_writer.add(row, {}, image)
        body = {"tasks": {"signs": {"values": {"probabilities": {"scar": 0.5, "clot": 0.2 + 0.6 * (n % 3 == 0)}}}}}
        path = tmp_path / "out" / f"c{n}" / "findings.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(body), encoding="utf-8")
    dataset, _ = read_dataset(dataset_writer.write())
    metrics = score(open_predictions(tmp_path / "out", dataset), dataset, dataset.cases, ScoreSettings(draws=200))
    found = metrics["tasks"]["signs"]["baselines"]
    assert list(found) == ["majority, scar", "geometry, scar", "majority, clot", "geometry, clot"]
    assert found["geometry, scar"]["auroc"]["value"] == pytest.approx(1.0)
    assert found["geometry, scar"]["auroc_difference"]["value"] == pytest.approx(-0.5)
    assert found["geometry, clot"]["auroc_difference"]["value"] > 0.2
    assert found["majority, clot"]["accuracy"]["value"] == pytest.approx(8 / 12)
    assert "geometry, scar" in report_html(metrics, dataset.tasks)
