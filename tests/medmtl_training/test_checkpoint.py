import json
import os
import resource
import struct
from pathlib import Path

import pytest
import torch

from medmtl.errors import Code, TrainingError
from medmtl_training.checkpoint import load_checkpoint, optimiser_tensors, restore_optimiser, save_checkpoint

STATE = {"done": 7, "scaler": {}, "text": "äöü 梗死"}


def tensors(value: float, size: int = 64) -> dict[str, torch.Tensor]:
    return {"net|weight": torch.full((size, size), value), "net|step": torch.tensor(3.0)}


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    turned = tensors(1.0)
    turned["net|turned"] = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    save_checkpoint(tmp_path / "run", turned, STATE)
    found = load_checkpoint(tmp_path / "run")
    assert found is not None
    assert found[1] == STATE
    assert all(torch.equal(found[0][name], value) for name, value in turned.items())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.safetensors"]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tensors(1.0), STATE)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))  # the kernel refuses what is longer
    try:
        with pytest.raises(TrainingError) as caught:
            save_checkpoint(tmp_path, tensors(2.0), {**STATE, "done": 8})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.code is Code.CANNOT_WRITE
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["done"] == 7
    assert float(found[0]["net|weight"][0, 0]) == 1.0
    assert os.listdir(tmp_path) == ["checkpoint.safetensors"]


def test_a_crash_before_the_rename_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, tensors(1.0), STATE)

    def pulled_plug(self: Path, target: Path) -> Path:
        raise SystemExit

    monkeypatch.setattr(Path, "replace", pulled_plug)
    with pytest.raises(SystemExit):
        save_checkpoint(tmp_path, tensors(2.0), {**STATE, "done": 8})
    monkeypatch.undo()
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["done"] == 7
    save_checkpoint(tmp_path, tensors(3.0), {**STATE, "done": 9})  # over what the crash left
    assert load_checkpoint(tmp_path)[1]["done"] == 9  # type: ignore[index]


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"\x00" * 3, struct.pack("<Q", 2**63) + b"{", struct.pack("<Q", 2**40) + b"{",
        struct.pack("<Q", 4) + b"junk",
        struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 34) + json.dumps({"__metadata__": {"state": "nojs"}}).encode().ljust(34),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(damage)
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(tmp_path)
    assert caught.value.code is Code.UNREADABLE


def test_moments_of_the_optimiser_come_back_exactly() -> None:
    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
        return net, torch.optim.AdamW([{"params": net.parameters(), "factor": 5.0}], lr=0.01)

    def step(net: torch.nn.Module, optimiser: torch.optim.Optimizer, *, last: bool) -> None:
        optimiser.zero_grad()
        (net if last else net[0])(torch.ones(1, 3)).square().sum().backward()  # type: ignore[index]
        optimiser.step()

    net, optimiser = made()
    step(net, optimiser, last=False)  # the second layer has no moments yet
    other, restored = made()
    other.load_state_dict(net.state_dict())
    restore_optimiser(restored, {name: value.clone() for name, value in optimiser_tensors(optimiser).items()})
    assert restored.param_groups[0]["factor"] == 5.0
    for last in (True, False, True):
        step(net, optimiser, last=last)
        step(other, restored, last=last)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
