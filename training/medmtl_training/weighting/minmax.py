"""`stch`: the worst task counts most."""

from collections.abc import Mapping

import torch
from torch import Tensor

from medmtl_training.weighting.base import FactorWeighting, shares

_LITTLE = 1e-8


class SmoothTchebycheff(FactorWeighting):
    """Gradient of the smooth maximum of relative losses (STCH, Lin et al., ICML 2024).

    `mu * ln(sum(exp(L / (mu * L0))))`, L0 being the mean of a task's first losses, so that tasks of different scale can
    be compared; until then all weigh the same.

    Args:
        tasks: names of the network's tasks.
        smoothness: mu; near zero only the worst task counts, far above one all count alike.
        window: labelled steps of a task that make L0.
    """

    def __init__(self, tasks: tuple[str, ...], smoothness: float, window: int) -> None:
        super().__init__(tasks)
        self.smoothness, self.window = smoothness, window
        self.register_buffer("sums", torch.zeros(len(tasks), 2, dtype=torch.float64))
        self.sums: Tensor

    def factors(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Softmax weights over first losses; with even softmax weights they are 1 / L0, scaled to the mean L0."""
        starts = {name: self._start(name, loss) for name, loss in losses.items()}
        if any(start is None for start in starts.values()):
            return dict.fromkeys(losses, 1.0)
        first = {name: max(float(start or 0.0), _LITTLE) for name, start in starts.items()}
        share = shares({name: loss / first[name] / self.smoothness for name, loss in losses.items()})
        inverse = sum(1.0 / value for value in first.values()) / len(first)
        return {name: share[name] / first[name] / inverse for name in losses}

    def _start(self, name: str, loss: float) -> float | None:
        row = self.sums[self.place(name)]
        if int(row[1]) >= self.window:
            return float(row[0] / row[1])
        row[0] += loss
        row[1] += 1
        return None
