"""Weights from each task's uncertainty: learnt (`kendall`, `liebel-korner`) or in closed form (`uw-so`)."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmtl_training.weighting.base import FactorWeighting, Weighting, shares

_LEAST_LOSS = 1e-3  # its inverse is the largest score of `uw-so`


class LearntVariances(Weighting):
    """One learnt log variance `s` a task.

    Args:
        tasks: names of the network's tasks.
        limits: clamp of `s`.
    """

    def __init__(self, tasks: tuple[str, ...], limits: tuple[float, float]) -> None:
        super().__init__(tasks)
        self.limits = limits
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks})

    @abstractmethod
    def term(self, loss: Tensor, s: Tensor) -> Tensor:
        """One task's part of the total."""

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Loss and regulariser of each labelled task.

        Both parts of an unlabelled task are absent: a zero loss would leave only the regulariser, whose gradient
        drives `s` down, and the task's next real loss would arrive with an ever larger weight.
        """
        return {name: self.term(loss, self.log_variances[name]) for name, loss in losses.items()}

    @torch.no_grad()
    def constrain(self) -> None:
        """Brings every `s` back between the limits."""
        for s in self.log_variances.values():
            s.clamp_(*self.limits)


class KendallWeights(LearntVariances):
    """`exp(-s) * loss + s / 2` (Kendall, Gal and Cipolla, CVPR 2018).

    Least at `s = ln(2 L)`: without the clamp a task whose loss falls to L ends with weight 1 / (2 L).
    """

    def term(self, loss: Tensor, s: Tensor) -> Tensor:
        """`exp(-s) * loss + s / 2`."""
        return torch.exp(-s) * loss + s / 2

    def weights(self) -> dict[str, float]:
        """`exp(-s)`."""
        return {name: float(torch.exp(-s.detach())) for name, s in self.log_variances.items()}


class LiebelKornerWeights(LearntVariances):
    """`loss / (2 v) + ln(1 + v)` with `v = exp(s)`: never negative (Liebel and Koerner, arXiv 1805.06334).

    Least at `v = (L + sqrt(L^2 + 8 L)) / 4`.
    """

    def term(self, loss: Tensor, s: Tensor) -> Tensor:
        """`loss / (2 v) + ln(1 + v)`."""
        return 0.5 * torch.exp(-s) * loss + F.softplus(s)

    def weights(self) -> dict[str, float]:
        """`1 / (2 v)`."""
        return {name: float(0.5 * torch.exp(-s.detach())) for name, s in self.log_variances.items()}


class ClosedFormUncertainty(FactorWeighting):
    """Softmax of inverse losses over a temperature (UW-SO, Kirchdorfer et al., GCPR 2024).

    Args:
        tasks: names of the network's tasks.
        temperature: the larger, the more even the weights.
    """

    def __init__(self, tasks: tuple[str, ...], temperature: float) -> None:
        super().__init__(tasks)
        self.temperature = temperature

    def factors(self, losses: Mapping[str, float]) -> dict[str, float]:
        """They add up to the number of labelled tasks."""
        return shares({name: 1.0 / max(loss, _LEAST_LOSS) / self.temperature for name, loss in losses.items()})
