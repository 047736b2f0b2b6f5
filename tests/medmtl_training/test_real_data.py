"""Real data sets, a few cases of each: every way of sharing trains, and so does every set with the tasks it has."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medmtl.preparation.plan import SHARING
from medmtl_training.cases import read_dataset
from medmtl_training.config import read_config
from medmtl_training.loop import Hardware
from medmtl_training.planning import make_config
from medmtl_training.run import RunRequest, train_run
from tests.tiny import ROOT

CASES = 4
CPU = Hardware(device=torch.device("cpu"))
SETS = ("abdomen_ct", "cardiac_cine_mr", "cardiac_lge_mr", "hippocampus_mr", "lung_nodule_ct")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def few(source: Path, target: Path) -> Path:
    """The first cases of a data set, its files as links."""
    if not (source / "dataset.yaml").is_file():
        pytest.skip(f"no data set {source.name} in the folder of real studies")
    target.mkdir()
    (target / "dataset.yaml").write_bytes((source / "dataset.yaml").read_bytes())
    for folder in (path for path in source.iterdir() if path.is_dir()):
        (target / folder.name).symlink_to(folder)
    with (source / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[: CASES + 1]
    with (target / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return target


@pytest.mark.slow
def test_every_way_of_sharing_trains_on_hearts(shared: Path, tmp_path: Path) -> None:
    data, _ = read_dataset(few(shared / "data" / "cardiac_lge_mr", tmp_path / "data"))
    config = read_config(ROOT / "training" / "configs" / "cardiac-lge.yaml")
    settings = replace(config.settings, steps=2, batch=2, measure_every=1)
    for sharing in SHARING:
        plan = replace(config.plan, sharing=sharing)
        request = RunRequest(
            folder=tmp_path / sharing, dataset=data, config=replace(config, plan=plan, settings=settings, model={}),
            folds=(), hardware=CPU,
        )  # fmt: skip
        [network] = train_run(request)
        assert all(bool(value.isfinite().all()) for value in network.weights.values())
        data = replace(data, prepared=tmp_path / "hard" / "prepared")  # once for all


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_set_trains_with_the_tasks_that_it_has(name: str, shared: Path, tmp_path: Path) -> None:
    data, _ = read_dataset(few(shared / "data" / name, tmp_path / "data"))
    config = make_config(data)
    settings = replace(config.settings, steps=2, batch=1)
    request = RunRequest(
        folder=tmp_path / "run", dataset=data, config=replace(config, settings=settings), folds=(), hardware=CPU
    )
    [network] = train_run(request)
    assert {case.name for case in data.cases} == set(network.seen)
    assert all(bool(value.isfinite().all()) for value in network.weights.values())
