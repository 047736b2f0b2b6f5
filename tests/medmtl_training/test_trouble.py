"""A full disk, a damaged case, more steps than asked at first: one clear line, and a checkpoint that can be used."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from medmtl.errors import Code, TrainingError
from medmtl_training.checkpoint import load_checkpoint
from medmtl_training.cli import train
from medmtl_training.gradients.meter import Look
from medmtl_training.journal import Journal
from tests.tiny import heart_dataset, write_tiny_config


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(data: Path, folder: Path, config: Path, *more: str) -> str:
    arguments = [str(data), "-o", str(folder), "--config", str(config), "--folds", "none", "--device", "cpu", "--quiet"]
    done = CliRunner().invoke(train, [*arguments, "--threads", "1", *more], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A data set, a finished run of four steps, and its configuration."""
    data = heart_dataset(tmp_path / "data", 4)
    config = write_tiny_config(tmp_path / "plan.yaml", steps=4, measure_every=2)
    run(data, tmp_path / "run", config)
    return data, tmp_path / "run", config


def done_steps(folder: Path) -> int:
    found = load_checkpoint(folder / "fold_all")
    assert found is not None
    return int(found[1]["done"])


def test_a_finished_run_is_extended(finished: tuple[Path, Path, Path]) -> None:
    data, folder, config = finished
    assert done_steps(folder) == 4
    run(data, folder, config, "--resume")
    assert done_steps(folder) == 4
    run(data, folder, config, "--resume", "--max-steps", "7")
    assert done_steps(folder) == 7
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (record["steps"], record["extended_from"]) == (7, [4])
    rows = (folder / "fold_all" / "curves.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "4", "7"]
    notes = json.loads((folder / "fold_all" / "notes.json").read_text(encoding="utf-8"))
    assert notes["steps"] == 7
    assert len(notes["conflicts"]) == 3  # a sentence for each pair of tasks
    run(data, folder, config, "--resume", "--max-steps", "5")  # fewer than it has
    assert done_steps(folder) == 7


def test_a_run_of_an_older_version_goes_on(finished: tuple[Path, Path, Path]) -> None:
    """Settings that came later have their defaults."""
    data, folder, config = finished
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del record["training"]["gradients"], record["plan"]["sharing"]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    run(data, folder, config, "--resume")
    record["training"]["weighting"] = "equal"
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(TrainingError) as caught:
        run(data, folder, config, "--resume")
    assert caught.value.code is Code.CHECKPOINT_MISMATCH


def test_a_damaged_prepared_case_is_named_and_the_checkpoint_stays(finished: tuple[Path, Path, Path]) -> None:
    data, folder, config = finished
    case = sorted(path.name for path in (folder / "prepared").iterdir())[1]
    array = folder / "prepared" / case / "image.npy"
    whole = array.read_bytes()
    array.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError) as caught:
        run(data, folder, config, "--resume", "--max-steps", "6")
    assert caught.value.code is Code.UNREADABLE
    assert case in caught.value.what
    assert done_steps(folder) == 4
    array.write_bytes(whole)
    run(data, folder, config, "--resume", "--max-steps", "6")
    assert done_steps(folder) == 6


@pytest.mark.parametrize("name", ["curves.csv", "gradients.csv"])
def test_a_full_disk_is_one_line(name: str, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    journal = Journal(tmp_path, ["lesions", "organs"], 1, 0)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/full")  # only ever appended to from here on: reading it would never end
    row = Look(step=1, layer="all", one="lesions", other="organs", cosine=0.1, norms=(1.0, 1.0))
    calls = {
        "curves.csv": lambda: journal.step(1, {"organs": 1.0}, {"lesions": 1.0, "organs": 1.0}, 0.1),
        "gradients.csv": lambda: journal.look([row]),
    }
    with pytest.raises(TrainingError) as caught:
        calls[name]()
    assert caught.value.code is Code.CANNOT_WRITE
    assert "the last checkpoint stays" in caught.value.todo
    journal.close()
