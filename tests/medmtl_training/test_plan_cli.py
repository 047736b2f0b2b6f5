import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from medmtl.errors import MedmtlError, OutputError, TrainingError, UsageError
from medmtl_training.cases import read_dataset
from medmtl_training.config import read_config
from medmtl_training.data_cli import data
from medmtl_training.options import bytes_of
from medmtl_training.planning import make_config
from medmtl_training.preflight import duration, preflight, refuse_full_disk
from tests.tiny import heart_dataset


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hearts in five folds."""
    return heart_dataset(tmp_path_factory.mktemp("plan") / "hearts", 6)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(data, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_plan_says_what_it_rests_on_and_reads_back(hearts: Path, tmp_path: Path) -> None:
    said = run("plan", str(hearts), "-o", str(tmp_path / "plan.yaml"))
    assert "spacing mm, median" in said
    assert "time: about" in said
    assert "disk: " in said
    text = (tmp_path / "plan.yaml").read_text(encoding="utf-8")
    assert text.startswith("# made by medmtl data plan\n# phantom_hearts: 6 cases, MR")
    assert read_config(tmp_path / "plan.yaml") == make_config(read_dataset(hearts)[0])
    with pytest.raises(OutputError, match="--overwrite"):
        run("plan", str(hearts), "-o", str(tmp_path / "plan.yaml"))
    run("plan", str(hearts), "-o", str(tmp_path / "plan.yaml"), "--overwrite")
    assert (tmp_path / "plan.yaml").read_text(encoding="utf-8") == text  # the same data, the same plan


def test_less_memory_and_time_make_a_smaller_network(hearts: Path, tmp_path: Path) -> None:
    def parameters(name: str, *options: str) -> float:
        said = run("plan", str(hearts), "-o", str(tmp_path / name), *options)
        return float(said.split(" M parameters")[0].split()[-1])

    small, large = parameters("a", "--memory", "700M"), parameters("b", "--memory", "16G")
    assert small < large
    assert parameters("c", "--max-time", "1h") <= large
    assert read_config(tmp_path / "c").settings.steps >= 1000
    with pytest.raises(TrainingError, match="allow more memory"):
        run("plan", str(hearts), "-o", str(tmp_path / "d"), "--memory", "10M")
    with pytest.raises(UsageError, match="no amount"):
        bytes_of("many")


def test_what_a_run_takes_on_disk_is_what_it_took(hearts: Path, tmp_path: Path) -> None:
    dataset, _ = read_dataset(hearts)
    config = make_config(dataset)
    plan = tmp_path / "plan.yaml"
    run("plan", str(hearts), "-o", str(plan))
    run("prepare", str(hearts), "-o", str(tmp_path / "prepared"), "--config", str(plan))
    expected = preflight(dataset, config, 1, None, on_cpu=True)
    took = sum(path.stat().st_size for path in (tmp_path / "prepared" / "prepared").rglob("*.npy"))
    assert took == pytest.approx(expected.prepared_bytes, rel=0.03)
    assert json.loads(next((tmp_path / "prepared").rglob("case.json")).read_text(encoding="utf-8"))["labelled"]
    assert preflight(read_dataset(tmp_path / "prepared")[0], config, 1, None, on_cpu=True).prepared_bytes == 0


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    refuse_full_disk(tmp_path / "not" / "there", 1)
    with pytest.raises(MedmtlError, match="are needed"):
        refuse_full_disk(tmp_path / "not" / "there", 1 << 60)


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
