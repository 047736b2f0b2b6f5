"""Checkpoints: the whole state of a run in safetensors and JSON, replaced in one step."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from medmtl.errors import Code, TrainingError


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes `checkpoint.safetensors` with `state` in its header, under a temporary name first.

    Raises:
        TrainingError: the disk is full or not writable; the previous checkpoint stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / "checkpoint.safetensors", folder / "checkpoint.tmp"
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(flat, temporary, metadata={"state": json.dumps(state)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        what = f"the checkpoint cannot be written ({type(error).__name__})"
        raise TrainingError(Code.CANNOT_WRITE, what, "free some disk and resume; the last one stays") from None


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the checkpoint in `folder`, None where there is none.

    Raises:
        TrainingError: the file is damaged.
    """
    path = folder / "checkpoint.safetensors"
    state = checkpoint_state(folder)
    if state is None:
        return None
    try:
        return load_file(path), state
    except (SafetensorError, OSError):
        raise _damaged() from None


def checkpoint_state(folder: Path) -> dict[str, Any] | None:
    """The state alone of the checkpoint in `folder`, from its header; None where there is none.

    Raises:
        TrainingError: the file is damaged.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            state: dict[str, Any] = json.loads(json.loads(file.read(size))["__metadata__"]["state"])
            return state
    except (ValueError, KeyError, TypeError, OSError):
        raise _damaged() from None


def _damaged() -> TrainingError:
    return TrainingError(Code.UNREADABLE, "the checkpoint is damaged", "start the fold again")


def flatten(prefix: str, values: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a nested dict, keys joined by '|' behind `prefix`."""
    flat: dict[str, Tensor] = {}
    for key, value in values.items():
        name = f"{prefix}|{key}"
        if isinstance(value, Tensor):
            flat[name] = value
        elif isinstance(value, dict):
            flat |= flatten(name, value)
    return flat


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments of every parameter, by the parameter's place in the optimiser."""
    return flatten("optimiser", {str(key): value for key, value in optimiser.state_dict()["state"].items()})


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts `optimiser_tensors` back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parts = name.split("|")
        if parts[0] == "optimiser":
            state.setdefault(int(parts[1]), {})[parts[2]] = value
    body = optimiser.state_dict()
    body["state"] = state
    optimiser.load_state_dict(body)
