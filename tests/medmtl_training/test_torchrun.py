"""The command under torchrun, two gloo processes on this machine: as one process, and what is left when one dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor

from medmtl.errors import Code
from medmtl_training.checkpoint import checkpoint_state
from tests.tiny import ROOT, heart_dataset, write_tiny_config

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")},
    "PYTHONPATH": f"{ROOT}:{ROOT / 'training'}:{ROOT / 'app'}",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of two voxel tasks, a head for classes draws its own dropout in each process, and a configuration."""
    folder = tmp_path_factory.mktemp("torchrun")
    data = heart_dataset(folder / "hearts", 10)
    head = yaml.safe_load((data / "dataset.yaml").read_text(encoding="utf-8"))
    del head["tasks"]["diagnosis"]
    (data / "dataset.yaml").write_text(yaml.safe_dump(head, sort_keys=False), encoding="utf-8")
    header, *rows = (data / "cases.csv").read_text(encoding="utf-8").splitlines()
    kept = [n for n, column in enumerate(header.split(",")) if column != "diagnosis"]
    lines = [",".join(row.split(",")[n] for n in kept) for row in (header, *rows)]
    (data / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {"batch": 4, "learning_rate": 0.01, "optimiser": "sgd", "clip": 1e9, "measure_every": 0}
    return data, write_tiny_config(folder / "plan.yaml", **options)


def command(hearts: tuple[Path, Path], run: Path, *more: str) -> list[str]:
    data, config = hearts
    arguments = ["train", str(data), "-o", str(run), "--config", str(config), "--folds", "0", "--device", "cpu"]
    return ["-m", "medmtl.cli.main", *arguments, "--threads", "1", *more]


def finished(*arguments: str) -> str:
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "fold_0" / "checkpoint.safetensors")


def test_two_processes_train_what_one_trains(hearts: tuple[Path, Path], tmp_path: Path) -> None:
    finished(sys.executable, *command(hearts, tmp_path / "one", "--max-steps", "3"))
    said = finished(*TORCHRUN, *command(hearts, tmp_path / "two", "--max-steps", "3"))
    assert said.count("fold_0.safetensors") <= 1
    assert said.count("bundle: 1 network(s)") == 1  # one of them speaks
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    moved = 0.0
    for name, value in one.items():
        if name.startswith("net|") and value.is_floating_point():
            scale = float(value.abs().max().clamp_min(1e-2))
            assert float((two[name] - value).abs().max()) < 0.01 * scale, name  # bfloat16 has three digits
            moved = max(moved, float((value - one[name.replace("net|", "average|")]).abs().max()) / scale)
    assert moved > 0.05  # the steps went further than the two may differ


def test_a_process_that_dies_ends_the_other_in_a_line(hearts: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    finished(*TORCHRUN, *command(hearts, run, "--max-steps", "3"))
    going_on = [*TORCHRUN, *command(hearts, run, "--max-steps", "60", "--resume")]
    with subprocess.Popen(
        going_on, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as job:
        assert job.stderr is not None
        said = []
        for line in job.stderr:
            said.append(line)
            if "from step 3" in line:
                os.kill(second_process(job.pid), signal.SIGKILL)
                break
        said += job.stderr.readlines()
    assert job.returncode != 0
    [refusal] = [line for line in said if line.startswith(f"{Code.PEER_UNREACHABLE} train: ")]
    assert "--resume" in refusal
    assert not [line for line in said if "medmtl" in line and line.lstrip().startswith(("File", "[rank"))]
    assert done_steps(run) < 60
    finished(sys.executable, *command(hearts, run, "--max-steps", "60", "--resume"))
    assert done_steps(run) == 60


def done_steps(run: Path) -> int:
    state = checkpoint_state(run / "fold_0")
    assert state is not None
    return int(state["done"])


def second_process(torchrun: int) -> int:
    """The process that torchrun told to be number 1."""
    for child in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split():
        if b"LOCAL_RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError("torchrun has no second process")
