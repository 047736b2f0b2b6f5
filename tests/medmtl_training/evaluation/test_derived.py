"""Derived values held against the truth: closed forms, and a second implementation."""

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmtl.task import tasks_from_mapping
from medmtl_training.cases import read_dataset
from medmtl_training.evaluation.bootstrap import Bootstrap
from medmtl_training.evaluation.derived import derived_rows, derived_summary, pearson
from medmtl_training.evaluation.per_case import per_case_csv
from medmtl_training.evaluation.summary import voxel_summary

LABELS = [{"name": "cavity"}, {"name": "wall"}]
TASKS = tasks_from_mapping(
    {
        "ed": {"kind": "segmentation", "labels": LABELS,
               "derived": [{"name": "mass", "unit": "g", "formula": "1.05 * wall"}]},
        "es": {"kind": "segmentation", "labels": LABELS,
               "derived": [{"name": "fraction", "unit": "%", "formula": "100 * (ed.cavity - cavity) / ed.cavity"}]},
    }
)  # fmt: skip


def scored(truth: dict[str, float], found: dict[str, float]) -> dict[str, Any]:
    """Figures of one case, from mL by "task.label"."""
    rows: dict[str, Any] = {}
    for path in truth:
        task, label = path.split(".")
        dice = None if truth[path] == 0 else 1.0
        rows.setdefault(task, {"labels": {}})["labels"][label] = {
            "truth_ml": truth[path], "predicted_ml": found[path], "dice": dice, "nsd": dice, "hd95_mm": None,
            "error_percent": None, "false_ml": found[path] if dice is None else None,
        }  # fmt: skip
    return rows


TRUE = {"ed.cavity": 150.0, "ed.wall": 100.0, "es.cavity": 60.0, "es.wall": 110.0}


def test_values_across_tasks() -> None:
    found = {"ed.cavity": 100.0, "ed.wall": 120.0, "es.cavity": 75.0, "es.wall": 90.0}
    rows = derived_rows(TASKS, scored(TRUE, found))
    assert rows["ed"]["mass"] == {"truth": pytest.approx(105.0), "found": pytest.approx(126.0), "unit": "g"}
    assert rows["es"]["fraction"] == {"truth": pytest.approx(60.0), "found": pytest.approx(25.0), "unit": "%"}


def test_what_was_not_drawn_or_not_found_has_no_value() -> None:
    nothing = dict.fromkeys(TRUE, 0.0)
    assert derived_rows(TASKS, scored(TRUE, nothing))["es"]["fraction"]["found"] is None
    alone = scored({"es.cavity": 60.0, "es.wall": 110.0}, {"es.cavity": 50.0, "es.wall": 100.0})
    assert derived_rows(TASKS, alone) == {}
    without = scored({**TRUE, "ed.cavity": 0.0}, TRUE)
    assert "es" not in derived_rows(TASKS, without)


def test_figures_and_the_table_of_cases() -> None:
    rng = np.random.default_rng(4)
    rows = []
    for number in range(12):
        truth = {path: ml * rng.uniform(0.5, 1.5) for path, ml in TRUE.items()}
        found = {path: ml * rng.uniform(0.9, 1.1) for path, ml in truth.items()}
        tasks = scored(truth, found)
        for name, cells in derived_rows(TASKS, tasks).items():
            tasks[name]["derived"] = cells
        rows.append({"case": f"c{number}", "patient": f"p{number // 2}", "fold": 0, "tasks": tasks})
    rows[3]["tasks"]["es"]["derived"]["fraction"]["found"] = None
    figures = voxel_summary(rows, TASKS[1], Bootstrap)["derived"]["fraction"]
    pairs = [row["tasks"]["es"]["derived"]["fraction"] for n, row in enumerate(rows) if n != 3]
    truth_values, found_values = (np.array([pair[key] for pair in pairs]) for key in ("truth", "found"))
    assert (figures["n"], figures["not_found"], figures["unit"]) == (11, 1, "%")
    assert figures["mean_absolute_error"]["value"] == pytest.approx(np.abs(found_values - truth_values).mean())
    assert figures["median_absolute_error"]["value"] == pytest.approx(np.median(np.abs(found_values - truth_values)))
    assert figures["correlation"]["value"] == pytest.approx(np.corrcoef(truth_values, found_values)[0, 1])
    assert figures["agreement"]["bias"] == pytest.approx((found_values - truth_values).mean())
    assert figures["correlation"]["patients"] == 6
    low, high = figures["mean_absolute_error"]["interval"]
    assert low < figures["mean_absolute_error"]["value"] < high
    head = per_case_csv(rows, TASKS).decode().splitlines()[0].split(",")
    assert {"ed.mass.truth", "ed.mass.found", "es.fraction.truth", "es.fraction.found"} <= set(head)


def test_weights_repeat_cases() -> None:
    first, second = np.array([1.0, 2.0, 4.0, 8.0]), np.array([2.0, 1.0, 5.0, 6.0])
    weights = np.array([[1.0, 2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    repeated = np.corrcoef(np.repeat(first, [1, 2, 1, 0]), np.repeat(second, [1, 2, 1, 0]))[0, 1]
    assert pearson(first, second)(weights) == pytest.approx([repeated, np.corrcoef(first, second)[0, 1]])
    assert np.isnan(pearson(first, np.ones(4))(weights)).all()
    assert derived_summary([], Bootstrap([]))["mean_absolute_error"]["value"] is None


def test_the_true_masks_give_the_published_fractions(shared: Path) -> None:
    """LVEF of the true masks by group: medians of the set's own description."""
    folder = shared / "data/cardiac_cine_mr"
    with (folder / "cases.csv").open(encoding="utf-8") as stream:
        chosen = [row for row in csv.DictReader(stream) if row["diagnosis"] == "dilated"]
    tasks = read_dataset(folder)[0].tasks
    fractions = []
    for row in chosen:
        ml = {}
        for task in ("organs", "organs_es"):
            image = nib.load(folder / task / f"{row['case']}.nii.gz")
            voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
            for value, label in enumerate(("lv_cavity", "myocardium", "rv_cavity"), start=1):
                ml[f"{task}.{label}"] = float((np.asarray(image.dataobj) == value).sum()) * voxel_ml
        fractions.append(derived_rows(tasks, scored(ml, ml))["organs_es"]["lv_ejection_fraction"]["truth"])
    assert np.median(fractions) == pytest.approx(16, abs=1)
