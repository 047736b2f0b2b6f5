"""Two processes with gloo: the gradients and weights of one process with the whole batch."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medmtl.errors import Code, TrainingError
from medmtl_training.batches import BatchMaker
from medmtl_training.build import build_network
from medmtl_training.loop import Trainer
from medmtl_training.ranks import Ranks, join_ranks, leave_ranks
from medmtl_training.settings import TrainSettings
from tests.medmtl_training.test_loop import CPU, KINDS, heart_case, without
from tests.tiny import ROOT, STACK, heart_tasks

STEPS = 2
SETTINGS = TrainSettings(steps=8, batch=3, warm_up=1, learning_rate=0.05, optimiser="sgd", weighting="kendall")


def trained(ranks: Ranks) -> dict[str, Tensor]:
    """Weights and last gradients after a few steps; labels are uneven over the crops of a batch."""
    torch.set_num_threads(1)
    tasks = heart_tasks(**KINDS)
    cases = [without(heart_case(n), ("lesions", "organs", "diagnosis")[n % 3]) for n in range(6)]
    trainer = Trainer(build_network(1, STACK, tasks, 0), tasks, STACK, SETTINGS, replace(CPU, ranks=ranks))
    for module in trainer.net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # each process draws its own
    trainer.dtype = torch.float32
    maker = BatchMaker(cases, tasks, STACK, SETTINGS, ranks)
    for step in range(STEPS):
        trainer.step(maker.make(step))
    found = {f"weight {name}": value.detach().clone() for name, value in trainer.net.state_dict().items()}
    found |= {f"gradient {name}": p.grad.clone() for name, p in trainer.net.named_parameters() if p.grad is not None}
    return found | {f"s {name}": p.detach().clone() for name, p in trainer.weights.named_parameters()}


def in_group(folder: Path, rank: int) -> dict[str, Tensor]:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    try:
        return trained(Ranks(rank=rank, world=2))
    finally:
        leave_ranks()


def second() -> None:
    folder = Path(sys.argv[1])
    save_file(in_group(folder, 1), folder / "second.safetensors")


def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    alone = trained(Ranks())
    code = "from tests.medmtl_training.test_ranks import second; second()"
    paths = f"{ROOT}:{ROOT / 'training'}"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}
    )
    both = in_group(tmp_path, 0)
    assert other.wait(120) == 0
    assert both.keys() == alone.keys()
    for name, value in alone.items():
        scale = float(value.abs().max().clamp_min(1e-3))
        assert float((both[name] - value).abs().max()) < 2e-4 * scale, name
    far = load_file(tmp_path / "second.safetensors")
    assert all(torch.equal(both[name], far[name]) for name in both)


def test_one_process_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_ranks("cpu") == Ranks()
    assert not dist.is_initialized()


def test_a_process_that_cannot_reach_the_others_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("medmtl_training.ranks._PATIENCE", __import__("datetime").timedelta(seconds=1))
    with pytest.raises(TrainingError) as caught:
        join_ranks("cpu")
    assert caught.value.code is Code.PEER_UNREACHABLE


def test_more_processes_than_crops_are_refused() -> None:
    with pytest.raises(TrainingError, match="cannot be shared"):
        BatchMaker([heart_case(0)], heart_tasks(), STACK, replace(SETTINGS, batch=1), Ranks(rank=0, world=2))


def test_combined_gradients_are_refused_with_several_processes() -> None:
    tasks, settings = heart_tasks(), replace(SETTINGS, gradients="mgda")
    with pytest.raises(TrainingError) as caught:
        Trainer(build_network(1, STACK, tasks, 0), tasks, STACK, settings, replace(CPU, ranks=Ranks(rank=0, world=2)))
    assert caught.value.code is Code.BAD_OPTION
