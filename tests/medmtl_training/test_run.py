import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from click.testing import CliRunner

from medmtl.bundle.bundle import read_bundle
from medmtl.cli.predict import predict
from medmtl.errors import Code, DatasetError, TrainingError
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.cli import evaluate, train
from medmtl_training.config import Config
from medmtl_training.loop import Hardware
from medmtl_training.preflight import preflight
from medmtl_training.run import RunRequest, networks_left, train_run
from medmtl_training.settings import TrainSettings
from tests.tiny import ROOT, STACK, heart_dataset, write_tiny_config

FURTHER = {
    "ejection": {"kind": "regression", "unit": "%", "title": {"en": "Ejection fraction"}},
    "grade": {"kind": "ordinal", "classes": ["none", "mild", "severe"], "basis": "readers"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten hearts in five folds, with a number and an ordered class for most: two rows of dataset.yaml, no code."""
    folder = heart_dataset(tmp_path_factory.mktemp("run") / "data", 10)
    head = yaml.safe_load((folder / "dataset.yaml").read_text(encoding="utf-8"))
    head["tasks"] |= FURTHER
    (folder / "dataset.yaml").write_text(yaml.safe_dump(head, allow_unicode=True, sort_keys=False), encoding="utf-8")
    header, *rows = (folder / "cases.csv").read_text(encoding="utf-8").splitlines()
    further = [f"{'' if n == 4 else 60 - 3 * (n % 2)},{('none', 'mild', 'severe')[n % 3]}" for n in range(len(rows))]
    lines = [f"{header},ejection,grade", *(f"{row},{more}" for row, more in zip(rows, further, strict=True))]
    (folder / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    """`medmtl train` with two held-out folds."""
    threads = torch.get_num_threads()
    run = data.parent / "run"
    model = {"name": "tiny-hearts", "version": "0.1", "synthetic": True, "keep_out": ["HEARTS_009"]}
    config = write_tiny_config(data.parent / "plan.yaml", model=model)
    arguments = [str(data), "-o", str(run), "--config", str(config), "--folds", "0,1", "--max-steps", "5"]
    result = CliRunner().invoke(train, [*arguments, "--device", "cpu", "--threads", "1"], catch_exceptions=False)
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    assert "# tiny-hearts 0.1" in result.output
    return run


def test_what_a_run_leaves(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "plan.yaml", "run.json", "prepared", "fold_0", "fold_1", "predictions", "evaluation", "bundle",
    }  # fmt: skip
    names = {
        path.relative_to(trained / "bundle").as_posix() for path in (trained / "bundle").rglob("*") if path.is_file()
    }
    assert names == {
        "bundle.yaml", "reference.json", "LICENCE", "SHA256SUMS", "metrics.json", "MODEL_CARD.md",
        "weights/fold_0.safetensors", "weights/fold_1.safetensors",
    }  # fmt: skip
    curves = (trained / "fold_0" / "curves.csv").read_text(encoding="utf-8").splitlines()
    assert curves[0].startswith("step,seconds_per_step,loss_lesions")
    assert curves[-1].startswith("5,")


def test_no_network_saw_the_cases_it_answers_or_those_kept_out(trained: Path, data: Path) -> None:
    dataset, _ = read_dataset(data)
    bundle = read_bundle(trained / "bundle")
    from medmtl_training.evaluation.provenance import image_hashes

    for number, row in enumerate(bundle.training["networks"]):
        seen = {case.name for case in dataset.cases if set(image_hashes(case)) <= set(row["images_sha256"])}
        assert seen == {case.name for case in dataset.cases if case.fold != number} - {"HEARTS_009"}
    assert {path.name for path in (trained / "predictions").iterdir() if path.is_dir()} == {
        case.name for case in dataset.cases if case.fold in (0, 1)
    }
    metrics = json.loads((trained / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["cases"] == 4
    assert set(metrics["tasks"]) == {"lesions", "organs", "diagnosis", "ejection", "grade"}


def test_predict_takes_the_run_and_answers_the_further_tasks(trained: Path, data: Path, tmp_path: Path) -> None:
    study = data / "images" / "HEARTS_009.nii.gz"
    arguments = ["-i", str(study), "-o", str(tmp_path / "out"), "-m", str(trained), "--device", "cpu"]
    result = CliRunner().invoke(predict, [*arguments, "--formats", "json,nii"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "HEARTS_009" / "findings.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, json.loads((ROOT / "medmtl/outputs/findings.schema.json").read_text(encoding="utf-8")))
    assert found["tasks"]["ejection"]["values"]["unit"] == "%"
    assert found["tasks"]["ejection"]["values"]["value"] == pytest.approx(58.5, abs=6.0)  # near the mean at least
    assert found["tasks"]["grade"]["values"]["class"] in ("none", "mild", "severe")
    assert set(found["tasks"]["grade"]["values"]["probabilities"]) == {"none", "mild", "severe"}
    assert found["model"]["synthetic"] is True


def test_evaluate_scores_held_out_cases_and_refuses_seen_ones(trained: Path, data: Path, tmp_path: Path) -> None:
    def scored(folds: str, name: str) -> Any:
        arguments = [str(trained), str(data), "-o", str(tmp_path / name), "--folds", folds, "--quiet", "--json"]
        return CliRunner().invoke(evaluate, arguments, catch_exceptions=False)

    again = json.loads(scored("0,1", "a").stdout)
    before = json.loads((trained / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert again["tasks"] == before["tasks"]
    for folds in ("2", "all"):
        with pytest.raises(DatasetError) as caught:
            scored(folds, folds)
        assert caught.value.code is Code.SEEN_IN_TRAINING


def request(data: Path, folder: Path, **changes: Any) -> RunRequest:
    dataset, _ = read_dataset(data)
    values: dict[str, Any] = {
        "folder": folder,
        "dataset": replace(dataset, cases=dataset.cases[:4]),
        "config": Config(plan=STACK, settings=TrainSettings(steps=2, batch=2, warm_up=1), model={}),
        "folds": (),
        "hardware": Hardware(device=torch.device("cpu")),
    }
    return RunRequest(**{**values, **changes})


def test_a_finished_run_is_not_trained_again_and_another_one_not_mixed_in(data: Path, tmp_path: Path) -> None:
    first = request(data, tmp_path / "run")
    (network,) = train_run(first)
    assert network.name == "fold_all"
    assert len(network.seen) == 4

    def refusal(**changes: Any) -> TrainingError:
        with pytest.raises(TrainingError) as caught:
            train_run(replace(first, **changes))
        return caught.value

    assert refusal().code is Code.RUN_EXISTS
    saved = (tmp_path / "run" / "fold_all" / "checkpoint.safetensors").stat().st_mtime_ns
    (again,) = train_run(replace(first, resume=True))
    assert all(torch.equal(network.weights[name], again.weights[name]) for name in network.weights)
    assert (tmp_path / "run" / "fold_all" / "checkpoint.safetensors").stat().st_mtime_ns == saved
    other_seed = replace(first.config, settings=replace(first.config.settings, seed=5))
    other_plan = replace(first.config, plan=replace(STACK, cubic=True))
    fewer: Dataset = replace(first.dataset, cases=first.dataset.cases[:3])
    differences: tuple[tuple[dict[str, Any], str], ...] = (
        ({"config": other_seed}, "training.seed was 0, is 5"),
        ({"config": other_plan}, "plan.cubic was false, is true"),
        ({"dataset": fewer}, "cases: 1 are gone and 0 are new"),
        ({"dataset": replace(first.dataset, name="other")}, 'dataset was "phantom_hearts", is "other"'),
    )
    for changes, said in differences:
        error = refusal(resume=True, **changes)
        assert (error.code, error.what) == (Code.CHECKPOINT_MISMATCH, f"the run was started otherwise: {said}")


def test_folds_are_added_to_a_run_and_left_out_of_it(data: Path, tmp_path: Path) -> None:
    first = request(data, tmp_path / "run", folds=(0,))
    assert networks_left(first) == 1
    train_run(first)
    saved = (tmp_path / "run" / "fold_0" / "checkpoint.safetensors").read_bytes()
    more = replace(first, folds=(0, 1), resume=True)
    assert networks_left(more) == [0, 2]
    assert [network.name for network in train_run(more)] == ["fold_0", "fold_1"]
    assert (tmp_path / "run" / "fold_0" / "checkpoint.safetensors").read_bytes() == saved
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["folds"] == [0, 1]
    longer = replace(first, folds=(1,), resume=True, extend_to=3)
    assert networks_left(longer) == [1]
    assert [network.name for network in train_run(longer)] == ["fold_1"]
    assert networks_left(replace(first, folds=(0, 1), resume=True)) == [1, 0]


def test_what_is_left_is_what_is_said(data: Path, tmp_path: Path) -> None:
    first = request(data, tmp_path / "run")

    def said(left: list[int] | int) -> str:
        return next(preflight(first.dataset, first.config, left, None, on_cpu=True).lines())

    assert "for 5 network(s) with 10 steps to go" in said(5)
    assert "for 2 network(s) with 7 steps to go" in said([0, 3, 0, 4])
    assert said([0, 0]) == "time: every network is trained; what is left are held-out answers and figures"


def test_a_time_fixes_the_steps_once(data: Path, tmp_path: Path) -> None:
    first = request(data, tmp_path / "run", max_seconds=4.0)
    train_run(first)
    steps = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["steps"]
    assert steps >= 1
    train_run(replace(first, max_seconds=900.0, resume=True))
    train_run(replace(first, max_seconds=None, resume=True))
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["steps"] == steps


def test_a_run_that_stopped_before_its_steps_were_fixed_asks_for_the_time_again(data: Path, tmp_path: Path) -> None:
    first = request(data, tmp_path / "run", max_seconds=4.0)
    train_run(first)
    path = tmp_path / "run" / "run.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**body, "steps": None}), encoding="utf-8")
    with pytest.raises(TrainingError, match="--max-time"):
        train_run(replace(first, max_seconds=None, resume=True))


def test_a_fold_that_leaves_nothing_to_train_on(data: Path, tmp_path: Path) -> None:
    dataset, _ = read_dataset(data)
    alone = replace(dataset, cases=tuple(case for case in dataset.cases if case.fold == 0))
    with pytest.raises(TrainingError) as caught:
        train_run(request(data, tmp_path / "run", dataset=alone, folds=(0,)))
    assert caught.value.code is Code.BAD_CASES


def test_weights_to_start_from(data: Path, tmp_path: Path) -> None:
    (network,) = train_run(request(data, tmp_path / "one"))
    start = {**network.weights, "decoders.bones.head.weight": torch.zeros(3), "pooling.attend.bias": torch.zeros(99)}
    slow = replace(
        request(data, tmp_path / "two").config, settings=TrainSettings(steps=1, batch=1, learning_rate=1e-12)
    )
    (second,) = train_run(request(data, tmp_path / "two", init=start, config=slow))
    name = "encoder.stages.1.conv1.conv.weight"
    assert torch.allclose(second.weights[name], network.weights[name], atol=1e-5)


def test_cases_that_no_network_saw_are_answered_by_all_of_them(trained: Path, data: Path, tmp_path: Path) -> None:
    from medmtl.bundle.catalogue import find_bundle
    from medmtl_training.heldout import answer_unseen

    dataset, _ = read_dataset(data)
    kept_out = replace(dataset, cases=(dataset.case("HEARTS_009"),))
    bundle = find_bundle(str(trained))
    both = answer_unseen(bundle, kept_out, tmp_path / "both")
    study, out = data / "images" / "HEARTS_009.nii.gz", tmp_path / "predict"
    arguments = [
        "-i",
        str(study),
        "-o",
        str(out),
        "-m",
        str(trained),
        "--device",
        "cpu",
        "--formats",
        "nii,json",
        "--quiet",
    ]
    assert CliRunner().invoke(predict, arguments, catch_exceptions=False).exit_code == 0
    for name in ("findings.json", "organs.nii.gz", "lesions.nii.gz"):
        assert (both / "HEARTS_009" / name).read_bytes() == (out / "HEARTS_009" / name).read_bytes()


def test_in_cross_validation_a_case_kept_out_is_answered_by_the_network_of_its_fold(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    from medmtl_training.heldout import answer_unseen
    from medmtl_training.publish import only_network

    dataset, _ = read_dataset(data)
    bundle = read_bundle(trained / "bundle")
    kept_out = replace(dataset.case("HEARTS_009"), fold=1)
    others = tuple(case for case in dataset.cases if case.fold == 0 and case.name != "HEARTS_009")
    together = answer_unseen(bundle, replace(dataset, cases=(*others, kept_out)), tmp_path / "all")
    alone = only_network(bundle, "fold_1.safetensors")
    by_one = answer_unseen(alone, replace(dataset, cases=(kept_out,)), tmp_path / "one")
    first, second = (
        json.loads((out / "HEARTS_009" / "findings.json").read_text(encoding="utf-8"))["tasks"]
        for out in (by_one, together)
    )
    assert first == second
    name = "HEARTS_009/lesions.nii.gz"
    assert (by_one / name).read_bytes() == (together / name).read_bytes()


def test_a_model_of_all_cases_shows_the_figures_of_its_folds(data: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run = tmp_path / "run"
    config = write_tiny_config(tmp_path / "plan.yaml", model={"name": "tiny-hearts", "ships": "all"})
    arguments = [str(data), "-o", str(run), "--config", str(config), "--folds", "0,1", "--max-steps", "2"]
    result = CliRunner().invoke(train, [*arguments, "--device", "cpu", "--threads", "1"], catch_exceptions=False)
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    shipped, proving = read_bundle(run / "bundle"), read_bundle(run / "cross_validation")
    assert [path.name for path in shipped.weights] == ["fold_all.safetensors"]
    assert [row["cases"] for row in shipped.training["networks"]] == [10]
    assert [row["cases"] for row in proving.training["networks"]] == [8, 8]
    metrics = json.loads((run / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["cases"] == 4
    assert metrics["folds"] == [0, 1]
    assert "the network of this model saw all cases" in (run / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    again = [str(run), str(data), "-o", str(tmp_path / "again"), "--folds", "0", "--quiet", "--json"]
    answered = CliRunner().invoke(evaluate, again, catch_exceptions=False)
    assert json.loads(answered.stdout)["cases"] == 2
    seen = [str(run / "bundle"), str(data), "-o", str(tmp_path / "seen"), "--folds", "0", "--quiet"]
    refused = CliRunner().invoke(evaluate, seen)
    assert isinstance(refused.exception, DatasetError)
    assert refused.exception.code is Code.SEEN_IN_TRAINING
