"""Every real data set trains as it is, with the tasks it has and lacks; and two of them trained as one answer both."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from medmtl.bundle.bundle import read_bundle
from medmtl_training.cases import read_dataset
from medmtl_training.cli import train
from medmtl_training.data_cli import data

SETS = ("abdomen_ct", "cardiac_cine_mr", "cardiac_lge_mr", "hippocampus_mr", "lung_nodule_ct")
pytestmark = pytest.mark.slow


def few_cases(source: Path, target: Path, held_out: int = 1, trained: int = 4) -> Path:
    """The data set `source` with few rows, everything else as it is."""
    target.mkdir()
    for path in source.iterdir():
        if path.name != "cases.csv":
            (target / path.name).symlink_to(path)
    with (source / "cases.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = [row.get("diagnosis", "") for row in rows]
    ordered = sorted(range(len(rows)), key=lambda n: classes[:n].count(classes[n]))  # classes in turn
    chosen = [n for n in ordered if rows[n]["fold"] == "0"][:held_out]
    chosen += [n for n in ordered if rows[n]["fold"] != "0"][:trained]
    with (target / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[n] for n in sorted(chosen))
    return target


def trained(dataset: Path, run: Path, *further: str) -> Path:
    """`medmtl train` for two steps, the held-out fold answered."""
    threads = torch.get_num_threads()
    arguments = [str(dataset), "-o", str(run), "--folds", "0", "--max-steps", "2", "--device", "cpu", "--quiet"]
    result = CliRunner().invoke(train, [*arguments, *further], catch_exceptions=False)
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    assert "disk: " in result.output
    return run


def answered(run: Path) -> dict[str, set[str]]:
    """Case to the tasks its findings hold."""
    return {
        path.parent.name: set(json.loads(path.read_text(encoding="utf-8"))["tasks"])
        for path in (run / "predictions").glob("*/findings.json")
    }


@pytest.mark.parametrize("name", SETS)
def test_a_set_trains_unchanged(shared: Path, tmp_path: Path, name: str) -> None:
    dataset = few_cases(shared / "data" / name, tmp_path / name)
    run = trained(dataset, tmp_path / "run")
    tasks = {task.name for task in read_dataset(dataset)[0].tasks}
    assert list(answered(run).values()) == [tasks]
    assert {task.name for task in read_bundle(run / "bundle").tasks} == tasks
    metrics = json.loads((run / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["tasks"]) == tasks


def test_one_model_of_two_sets_with_disjoint_labels_answers_all_tasks(shared: Path, tmp_path: Path) -> None:
    names = ("cardiac_lge_mr", "hippocampus_mr")
    parts: Sequence[Path] = [few_cases(shared / "data" / name, tmp_path / name) for name in names]
    both = tmp_path / "both"
    result = CliRunner().invoke(data, ["merge", *map(str, parts), "-o", str(both)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(data, ["check", str(both), "--quiet"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    run = trained(both, tmp_path / "run")
    found = answered(run)
    assert len(found) == 2  # one of each set
    assert all(tasks == {"organs", "lesions", "diagnosis"} for tasks in found.values())
    for path in (run / "predictions").glob("*/findings.json"):
        findings = json.loads(path.read_text(encoding="utf-8"))
        assert set(findings["tasks"]["organs"]["values"]) == {
            "lv_cavity", "myocardium", "hippocampus_anterior", "hippocampus_posterior",
        }  # fmt: skip
        assert set(findings["diagnosis"]["probabilities"]) == {"normal", "infarction"}
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert {label: found["n"] for label, found in metrics["tasks"]["organs"]["labels"].items()} == dict.fromkeys(
        ("lv_cavity", "myocardium", "hippocampus_anterior", "hippocampus_posterior"), 1
    )  # each is scored where it was drawn, and nowhere else
