"""Weights from how fast each loss falls: `dwa`, `gradnorm`, `famo`."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from medmtl_training.weighting.base import FactorWeighting, shares

_LITTLE = 1e-8
_LEAST_LOSS = 1e-6


class DynamicAverage(FactorWeighting):
    """Softmax of how much of each loss was left after the last window (DWA, Liu, Johns and Davison, CVPR 2019).

    Args:
        tasks: names of the network's tasks.
        temperature: the larger, the more even the weights; 2 in the paper.
        window: labelled steps of a task that make one mean, an epoch in the paper.
    """

    def __init__(self, tasks: tuple[str, ...], temperature: float, window: int) -> None:
        super().__init__(tasks)
        self.temperature, self.window = temperature, window
        # columns: sum and number of the running window, mean of the last one and of the one before
        self.register_buffer("seen", torch.zeros(len(tasks), 4, dtype=torch.float64))
        self.seen: Tensor

    def factors(self, losses: Mapping[str, float]) -> dict[str, float]:
        """They add up to the number of labelled tasks; even until two windows have passed."""
        scores = {name: self._ratio(self.seen[self.place(name)]) / self.temperature for name in losses}
        for name, loss in losses.items():
            row = self.seen[self.place(name)]
            row[0] += loss
            row[1] += 1
            if int(row[1]) >= self.window:
                row[3] = row[2]
                row[2] = row[0] / row[1]
                row[:2] = 0.0
        return shares(scores)

    @staticmethod
    def _ratio(row: Tensor) -> float:
        last, before = float(row[2]), float(row[3])
        return last / before if before > 0 else 1.0


class GradientNorms(FactorWeighting):
    """Weights at which tasks that lag behind have the larger gradients (GradNorm, Chen et al., ICML 2018).

    Each step moves the logarithm of a weight towards the one at which the norm of its weighted gradient is
    `mean * r ** alpha`, r being the task's share of its first loss relative to the mean share.

    Args:
        tasks: names of the network's tasks.
        alpha: how strongly slow tasks are favoured; 1.5 in the paper.
        rate: of the moves.
    """

    reads_norms = True

    def __init__(self, tasks: tuple[str, ...], alpha: float, rate: float) -> None:
        super().__init__(tasks)
        self.alpha, self.rate = alpha, rate
        self.register_buffer("first", torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("factor", torch.ones(len(tasks), dtype=torch.float64))
        self.first: Tensor
        self.factor: Tensor

    def factors(self, losses: Mapping[str, float]) -> dict[str, float]:
        """The weights of the labelled tasks."""
        return {name: float(self.factor[self.place(name)]) for name in losses}

    def see_norms(self, norms: Mapping[str, float], losses: Mapping[str, float]) -> None:
        """Moves the weights of the labelled tasks; their sum stays."""
        places = [self.place(name) for name in losses]
        for name, place in zip(losses, places, strict=True):
            if float(self.first[place]) == 0.0:
                self.first[place] = max(losses[name], _LITTLE)
        share = {name: losses[name] / float(self.first[self.place(name)]) for name in losses}
        mean_share = sum(share.values()) / len(share)
        weighted = {name: float(self.factor[self.place(name)]) * norms[name] for name in losses}
        mean = sum(weighted.values()) / len(weighted)
        kept = float(self.factor[places].sum())
        for name, place in zip(losses, places, strict=True):
            target = mean * (share[name] / max(mean_share, _LITTLE)) ** self.alpha
            self.factor[place] *= math.exp(-self.rate * math.log((weighted[name] + _LITTLE) / (target + _LITTLE)))
        self.factor[places] *= kept / float(self.factor[places].sum())


class FastAdaptive(FactorWeighting):
    """Weights that let all losses fall at one relative pace (FAMO, Liu, Feng, Stone and Liu, NeurIPS 2023).

    The objective is the mean of log losses under weights `z`; `z` rises for tasks whose loss fell less in the step.

    Args:
        tasks: names of the network's tasks.
        rate: of the weights' logits; 0.025 in the paper.
        decay: of the logits towards even weights; 0.001 in the paper.
    """

    looks_twice = True

    def __init__(self, tasks: tuple[str, ...], rate: float, decay: float) -> None:
        super().__init__(tasks)
        self.rate, self.decay = rate, decay
        self.register_buffer("logits", torch.zeros(len(tasks), dtype=torch.float64))
        self.logits: Tensor

    def factors(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Weights over losses; they add up to the number of labelled tasks."""
        z = shares({name: float(self.logits[self.place(name)]) for name in losses})
        raw = {name: z[name] / max(loss, _LEAST_LOSS) for name, loss in losses.items()}
        scale = len(raw) / sum(raw.values())
        return {name: scale * value for name, value in raw.items()}

    def see_again(self, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """Moves the logits of the labelled tasks against the gain in log loss of the step."""
        places = [self.place(name) for name in before]
        z = torch.softmax(self.logits[places], dim=0)
        gains = [math.log(max(before[n], _LEAST_LOSS)) - math.log(max(after[n], _LEAST_LOSS)) for n in before]
        gain = torch.tensor(gains, dtype=torch.float64)
        slope = z * (gain - (z * gain).sum())
        self.logits[places] -= self.rate * (slope + self.decay * self.logits[places])
