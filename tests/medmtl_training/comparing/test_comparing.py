import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from medmtl.errors import UsageError
from medmtl_training.cli import train
from medmtl_training.comparing.report import markdown, page
from medmtl_training.comparing.verdicts import advice, affinity, groups, judged
from medmtl_training.gradients.meter import Pair
from medmtl_training.validation import part_of
from tests.medmtl_training.test_loop import heart_case
from tests.tiny import heart_dataset, heart_tasks, write_tiny_config

TASKS = ["lesions", "organs", "diagnosis"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pair(one: str, other: str, cosine: float) -> Pair:
    return Pair(one=one, other=other, cosine=cosine, opposed=0.1, looks=10)


def cell(verdict: str, patients: int = 20) -> dict[str, Any]:
    return {"value": -0.03, "interval": [-0.05, -0.01], "n": 20, "patients": patients, "verdict": verdict}


def test_a_difference_becomes_a_verdict_only_with_enough_patients() -> None:
    compared = {"tasks": {"organs": {"labels": {"lv_cavity": {"dice": cell("worse"), "hd95_mm": cell("better")},
                                                "union": {"dice": cell("worse")}}},
                          "diagnosis": {"auroc": cell("worse", 9), "brier": cell("worse")}}}  # fmt: skip
    rows = judged(compared, heart_tasks(), "only_organs", transfer=True)
    assert [(row["task"], row["label"], row["figure"], row["verdict"]) for row in rows] == [
        ("organs", "lv_cavity", "dice", "negative transfer"),
        ("diagnosis", "", "auroc", "no evidence"),
    ]
    assert judged(compared, heart_tasks(), "equal")[0]["verdict"] == "worse"


def test_tasks_are_grouped_by_gradients_unless_company_hurts_them() -> None:
    known = [pair("lesions", "organs", 0.3), pair("lesions", "diagnosis", 0.02), pair("organs", "diagnosis", -0.2)]
    matrix = affinity(known, TASKS)
    assert matrix["organs"]["lesions"] == matrix["lesions"]["organs"] == 0.3
    assert groups(matrix, frozenset()) == [["lesions", "organs"], ["diagnosis"]]
    assert groups(matrix, frozenset({"organs"})) == [["lesions"], ["organs"], ["diagnosis"]]
    linked = affinity([*known[:2], pair("organs", "diagnosis", 0.4)], TASKS)
    assert groups(linked, frozenset()) == [["lesions", "organs", "diagnosis"]]
    assert affinity([], TASKS)["lesions"]["organs"] is None


def test_advice_says_nothing_that_no_interval_supports() -> None:
    matrix = affinity([pair("lesions", "organs", 0.3)], ["lesions", "organs"])
    row = {"task": "organs", "verdict": "no evidence"}
    assert list(advice([row], matrix)) == [
        "No interval excludes zero: on these cases joint and single-task training cannot be told apart."
    ]
    hurt = list(advice([{**row, "verdict": "negative transfer"}], matrix))
    assert hurt[0].startswith("Training together costs organs")
    assert "groups: [['lesions'], ['organs']]" in hurt[1]


def test_a_part_is_of_patients_and_of_every_larger_part() -> None:
    cases = tuple(heart_case(n) for n in range(12))
    names = [{case.name for case in part_of(cases, share, 3)} for share in (0.25, 0.5, 1.0)]
    assert [len(found) for found in names] == [3, 6, 12]
    assert names[0] < names[1] < names[2]


def test_without_held_out_folds_nothing_is_compared(tmp_path: Path) -> None:
    data = heart_dataset(tmp_path / "data", 4)
    config = write_tiny_config(tmp_path / "plan.yaml", steps=1)
    with pytest.raises(UsageError, match="needs held-out folds"):
        CliRunner().invoke(
            train,
            [str(data), "-o", str(tmp_path / "run"), "--config", str(config), "--folds", "none", "--compare"],
            catch_exceptions=False,
        )


@pytest.mark.slow
def test_the_command_trains_twins_and_writes_the_report(tmp_path: Path) -> None:
    data = heart_dataset(tmp_path / "data", 10)
    config = write_tiny_config(tmp_path / "plan.yaml", steps=4, measure_every=2)
    arguments = [str(data), "-o", str(tmp_path / "run"), "--config", str(config), "--folds", "0", "--compare"]
    arguments += ["--device", "cpu", "--threads", "1"]
    done = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "compare: 7 trainings" in done.output
    folder = tmp_path / "run" / "compare"
    body = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert {row["against"] for row in body["twins"]} == {"only_lesions", "only_organs", "only_diagnosis"}
    assert {row["verdict"] for row in body["twins"]} == {"no evidence"}  # of two patients
    assert [part["fraction"] for part in body["fractions"]] == [0.25, 0.5]
    costs = body["costs"]
    assert costs["sum"]["parameters"] > costs["joint"]["parameters"] > costs["twins"]["organs"]["parameters"]
    assert costs["joint"]["seconds_per_step"] > 0
    assert {task: row["figure"] for task, row in costs["race"].items() if task != "all"} == {
        "lesions": "dice", "organs": "dice", "diagnosis": "loss",
    }  # fmt: skip
    for row in costs["race"].values():
        assert row["joint"] > 0
        assert row["twin"] > 0
    assert costs["race"]["all"]["twin"] == pytest.approx(
        sum(costs["race"][task]["twin"] for task in ("lesions", "organs", "diagnosis"))
    )
    assert set(body["cosines"]) == {"all", "stage 0", "stage 1", "stage 2"}
    assert markdown(body) == (folder / "comparison.md").read_text(encoding="utf-8")
    assert page(body).count("<table>") == page(body).count("</table>") >= 7
    # a twin sees the crops of the joint training: its own loss before the first step is the same but for the head
    seen = [json.loads((folder / name / "run.json").read_text())["cases"] for name in ("only_organs", "equal")]
    assert seen[0] == seen[1]
    again = CliRunner().invoke(train, [*arguments, "--resume"], catch_exceptions=False)
    assert again.exit_code == 0
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8")) == body
