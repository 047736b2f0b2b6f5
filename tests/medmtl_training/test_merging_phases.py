"""Two heart sets as one: two phases beside a single late image, shared structures and those of one set alone."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from medmtl.preparation.plan import Normalisation, Scheme
from medmtl.reading.nifti import read_label_map, read_nifti
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.cli import train
from medmtl_training.config import Config, write_config
from medmtl_training.data_check import check_dataset
from medmtl_training.data_cli import data
from medmtl_training.settings import TrainSettings
from tests.tiny import STACK

SETS = ("cardiac_cine_mr", "cardiac_lge_mr")


def part_of(source: Path, target: Path, folds: int = 2) -> Path:
    """A case of each of some folds, folds counted anew."""
    target.mkdir(parents=True)
    shutil.copy(source / "dataset.yaml", target)
    with (source / "cases.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    kept = [next(row for row in rows if row["fold"] == str(fold)) for fold in range(folds)]
    with (target / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    for row in kept:
        for path in source.glob(f"*/{row['case']}*.nii.gz"):
            (target / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, target / path.parent.name)
    return target


def merge(shared: Path, folder: Path, order: tuple[str, ...] = SETS) -> tuple[Dataset, str]:
    parts = [part_of(shared / "data" / name, folder / name) for name in order]
    result = CliRunner().invoke(data, ["merge", *map(str, parts), "-o", str(folder / "both")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return read_dataset(folder / "both")[0], result.output


@pytest.mark.parametrize("order", [SETS, SETS[::-1]])
def test_what_both_draw_is_one_and_the_rest_stays_apart(shared: Path, tmp_path: Path, order: tuple[str, ...]) -> None:
    dataset, said = merge(shared, tmp_path, order)
    assert dataset.channels == ("ED", "ES")
    assert "the image LGE of cardiac_lge_mr stands in every channel" in said
    assert {label.name for label in dataset.task("organs").labels} == {"lv_cavity", "myocardium", "rv_cavity"}
    assert dataset.task("organs_es").drawn_on == "ES"
    assert dataset.task("organs").drawn_on in ("ED", None)
    assert [derived.name for derived in dataset.task("organs_es").derived] == [
        "lv_ejection_fraction", "rv_ejection_fraction",
    ]  # fmt: skip
    classes = [task for task in dataset.tasks if not task.is_voxel]
    assert sorted(task.name for task in classes) == ["diagnosis", f"diagnosis_{order[1]}"]
    by_set = {name: [case for case in dataset.cases if case.columns["source"] == name] for name in SETS}
    for case in by_set["cardiac_cine_mr"]:
        assert set(case.voxel_labels) == {"organs", "organs_es"}
        assert case.annotated["organs"] is None
        assert sum(value is not None for value in case.case_labels.values()) == 1
    for case in by_set["cardiac_lge_mr"]:
        assert set(case.voxel_labels) == {"organs", "lesions"}
        assert case.annotated["organs"] == {"lv_cavity", "myocardium"}  # what was not looked for teaches nothing
        assert len(case.images) == 2
        assert np.array_equal(*(read_nifti(path).array for path in case.images))
    report = check_dataset(dataset.root)
    assert report.errors == 0, [fault for fault in report.faults if fault.severity == "error"]


def test_maps_keep_their_voxels(shared: Path, tmp_path: Path) -> None:
    dataset, _ = merge(shared, tmp_path)
    for case in dataset.cases:
        source = shared / "data" / case.columns["source"]
        values = {label["name"]: label["value"] for label in
                  yaml.safe_load((source / "dataset.yaml").read_text())["tasks"]["organs"]["labels"]}  # fmt: skip
        own, _ = read_label_map(source / f"organs/{case.name}.nii.gz")
        new, _ = read_label_map(Path(str(case.voxel_labels["organs"])))
        for name, value in values.items():
            assert np.array_equal(own == value, new == dataset.task("organs").label(name).value)


@pytest.mark.slow
def test_one_network_learns_from_both_and_answers_both(shared: Path, tmp_path: Path) -> None:
    dataset, _ = merge(shared, tmp_path)
    per_volume = Normalisation(scheme=Scheme.ZSCORE)
    plan = replace(STACK, spacing=(4.0, 4.0, None), patch=(32, 32, 8), normalisation=(per_volume, per_volume))
    settings = TrainSettings(steps=20, batch=2, warm_up=2, learning_rate=5e-3)
    write_config(tmp_path / "plan.yaml", Config(plan=plan, settings=settings, model={"name": "both"}))
    run = tmp_path / "run"
    arguments = [str(dataset.root), "-o", str(run), "--config", str(tmp_path / "plan.yaml"), "--folds", "0"]
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    answered = sorted(run.glob("predictions/*/findings.json")) or sorted(run.rglob("findings.json"))
    found = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in answered}
    held_out = {case.name: case for case in dataset.cases if case.fold == 0}
    assert set(found) == set(held_out)
    for name, findings in found.items():
        assert set(findings["tasks"]) == {task.name for task in dataset.tasks}, name
    metrics = json.loads((run / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["tasks"]["organs"]["labels"]["lv_cavity"]["n"] == 2
    assert metrics["tasks"]["organs"]["labels"]["rv_cavity"]["n"] == 1
    assert metrics["tasks"]["organs_es"]["n"] == 1
    assert metrics["tasks"]["lesions"]["n"] == 1
