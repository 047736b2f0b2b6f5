"""What runs the network: one small interface, with OpenVINO or torch behind it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medmtl.errors import Code, UsageError
from medmtl.shapes import FloatArray, ImageArray, ProbabilityArray


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowAnswer:
    """Answers for one window.

    Attributes:
        dense: voxel task to probabilities `(output, i, j, k)`.
        sums: `(map, column)` float64 to be added over windows, None where no case-level task was asked.
        peak: highest probability of any structure at the coarse level, 0 without sums.
    """

    dense: Mapping[str, ProbabilityArray]
    sums: FloatArray | None
    peak: float


class Engine(Protocol):
    """Runs the networks of one model on windows; the same input gives the same bytes.

    Attributes:
        networks: how many there are, one or an ensemble.
        workers: how many windows it runs side by side.
    """

    networks: int
    workers: int

    def describe(self) -> dict[str, Any]:
        """Name, version, device and precision, for every result."""

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        """Answers of one network for a window.

        Args:
            image: `(channel, i, j, k)`.
            weight: `(i, j, k)` share of each voxel for case-level tasks.
            asked: names of tasks.
            network: which one, from 0.
        """

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        """Logits of the asked case-level tasks from each network's sums over windows, averaged over networks."""


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(wanted: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        UsageError: `no-device` where CUDA is asked for and there is none.
    """
    found = wanted != "cpu" and _cuda_works()
    if wanted == "cuda" and not found:
        raise UsageError(Code.NO_DEVICE, "there is no CUDA device", "use --device cpu")
    return "cuda" if found else "cpu"


def _cuda_works() -> bool:
    if os.name == "posix" and not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return False  # no driver; torch takes a second to say the same
    import torch

    return torch.cuda.is_available()
