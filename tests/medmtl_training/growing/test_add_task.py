"""The console command: a model of two tasks takes up a third; what it answered before it answers still, to the bit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

from medmtl.bundle.bundle import read_bundle
from medmtl.bundle.weights import load_networks
from medmtl.errors import Code, UsageError
from medmtl.task import Kind
from medmtl_training.cli import train
from medmtl_training.growing.promotion import Margins, decide
from medmtl_training.growth import distance
from tests.tiny import STACK, heart_dataset, heart_tasks, write_tiny_config

LATE = {"diagnosis": ("lesions", "organs"), "organs": ("lesions", "diagnosis")}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def without_task(data: Path, name: str) -> dict[str, Any]:
    """Takes a task out of `dataset.yaml`; gives the whole text back."""
    head: dict[str, Any] = yaml.safe_load((data / "dataset.yaml").read_text(encoding="utf-8"))
    without = ("inside", "derived")
    less = {key: {k: v for k, v in body.items() if k not in without} for key, body in head["tasks"].items()}
    del less[name]
    (data / "dataset.yaml").write_text(yaml.safe_dump({**head, "tasks": less}, sort_keys=False), encoding="utf-8")
    return {**head, "tasks": {**less, name: {k: v for k, v in head["tasks"][name].items() if k != "derived"}}}


def run(data: Path, run_folder: Path, config: Path, *more: str, code: int = 0) -> str:
    arguments = [str(data), "-o", str(run_folder), "--config", str(config), "--folds", "0", "--device", "cpu"]
    done = CliRunner().invoke(train, [*arguments, "--quiet", "--threads", "1", *more], catch_exceptions=False)
    assert done.exit_code == code
    return done.output


def answers(bundle: Path, tasks: tuple[str, ...]) -> dict[str, torch.Tensor]:
    [net] = load_networks(read_bundle(bundle))
    net.eval()
    image = torch.randn((1, 1, *STACK.patch), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        out = net(image, torch.ones_like(image), tasks)
        case = {} if out.sums is None else net.case_logits(out.sums, torch.tensor([0.4]), tasks)
    return {**out.dense, **{f"coarse {name}": out.coarse[name] for name in out.dense}, **case}


@pytest.mark.parametrize("late", [pytest.param("diagnosis", marks=pytest.mark.slow), "organs"])
def test_an_added_task_leaves_the_others_as_they_were(late: str, tmp_path: Path) -> None:
    data = heart_dataset(tmp_path / "data", 10)
    whole = without_task(data, late)
    config = write_tiny_config(tmp_path / "plan.yaml", steps=4, measure_every=2)
    run(data, tmp_path / "base", config)
    (data / "dataset.yaml").write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    said = run(data, tmp_path / "grown", config, "--init-from", str(tmp_path / "base" / "bundle"), "--add-task", late,
               "--fine-tune", code=1)  # fmt: skip
    [refusal] = [line for line in said.splitlines() if line.startswith(f"{Code.NOT_PROMOTED} train: ")]
    assert "not promoted: not enough cases" in refusal
    frozen = tmp_path / "grown" / ("bundle" if "Not promoted" in said else "never")
    assert "not enough cases" in said  # two held-out cases promote nothing
    before = answers(tmp_path / "base" / "bundle", LATE[late])
    after = answers(frozen, (*LATE[late], late))
    assert set(before) < set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    tuned = answers(tmp_path / "grown" / "fine_tune" / "bundle", LATE[late])
    assert not all(torch.equal(before[name], tuned[name]) for name in before)
    record = json.loads((tmp_path / "grown" / "run.json").read_text(encoding="utf-8"))
    assert record["origin"] == read_bundle(tmp_path / "base" / "bundle").sha256
    assert late in (tmp_path / "grown" / "forgetting.md").read_text(encoding="utf-8")


def test_what_cannot_be_added_is_refused(tmp_path: Path) -> None:
    data = heart_dataset(tmp_path / "data", 4)
    config = write_tiny_config(tmp_path / "plan.yaml", steps=1)
    run(data, tmp_path / "base", config)
    model = ["--init-from", str(tmp_path / "base" / "bundle")]
    for more, code in (
        (["--add-task", "organs"], Code.BAD_OPTION),
        ([*model, "--add-task", "organs"], Code.BAD_OPTION),  # it has it
        ([*model, "--add-task", "vessels"], Code.UNKNOWN_TASK),
        (["--fine-tune"], Code.BAD_OPTION),
    ):
        with pytest.raises(UsageError) as caught:
            run(data, tmp_path / "grown", config, *more)
        assert caught.value.code is code


def rows(dice: list[float]) -> list[dict[str, Any]]:
    return [
        {"case": f"c{n}", "patient": f"p{n}", "tasks": {"organs": {"labels": {"lv_cavity": {"dice": value}}}}}
        for n, value in enumerate(dice)
    ]


@pytest.mark.parametrize(
    ("change", "spread", "cases", "promoted", "why"),
    [
        (0.0, 0.01, 60, True, None),
        (-0.005, 0.01, 60, True, None),  # a little worse, and surely less than the margin
        (0.0, 0.1, 5, False, "not enough cases"),
        (-0.05, 0.01, 60, False, "worse"),
    ],
)
def test_promotion_asks_for_the_lower_end(change: float, spread: float, cases: int, promoted: bool, why: str) -> None:
    generator = torch.Generator().manual_seed(0)
    before = (0.8 + 0.05 * torch.randn(cases, generator=generator)).tolist()
    after = (torch.tensor(before) + change + spread * torch.randn(cases, generator=generator)).tolist()
    tasks = tuple(task for task in heart_tasks() if task.name == "organs")
    decision = decide(rows(after), rows(before), tasks, Margins())
    assert decision.promoted is promoted
    assert promoted or f"organs.lv_cavity: {why}" in decision.reasons[0]


def test_a_task_without_truth_promotes_nothing() -> None:
    decision = decide(rows([0.8] * 20), rows([0.8] * 20), heart_tasks(), Margins())
    assert not decision.promoted
    assert any(reason.startswith("lesions: not enough cases") for reason in decision.reasons)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_distance_from_oneself_is_zero_and_grows(kind: Kind) -> None:
    logits = torch.randn((2, 1 if kind is Kind.REGRESSION else 3, 4), generator=torch.Generator().manual_seed(0))
    near, far = logits + 0.1 * logits.flip(2), logits - 2.0 * logits.flip(2)
    assert float(distance(kind, logits, logits)) == pytest.approx(0.0, abs=1e-6)
    assert 0 < float(distance(kind, near, logits)) < float(distance(kind, far, logits))
