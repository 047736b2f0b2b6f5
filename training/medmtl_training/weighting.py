"""How the tasks' losses become one."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class UncertaintyWeights(nn.Module):
    """One learned log variance `s` a task (Kendall, Gal and Cipolla, CVPR 2018).

    Args:
        tasks: names of the network's tasks.
        limits: clamp of `s`; without it a task whose loss falls to L ends with weight 1 / (2 L).
        learned: False keeps every weight at one (`equal`).
    """

    def __init__(self, tasks: Iterable[str], limits: tuple[float, float], *, learned: bool) -> None:
        super().__init__()
        self.limits = limits
        self.learned = learned
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks})

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of `exp(-s) * loss + s / 2` over the tasks that have a label in this batch.

        An unlabelled task must be absent, not zero: a zero loss leaves only s / 2, whose gradient drives s
        down, and the task's next real loss would arrive with an ever larger weight.
        """
        if not self.learned:
            return torch.stack(list(losses.values())).sum()
        terms = []
        for name, loss in losses.items():
            s = self.log_variances[name]
            terms.append(torch.exp(-s) * loss + s / 2)
        return torch.stack(terms).sum()

    @torch.no_grad()
    def clamp(self) -> None:
        """Brings every `s` back between the limits."""
        for s in self.log_variances.values():
            s.clamp_(*self.limits)

    def weights(self) -> dict[str, float]:
        """Task name to the factor its loss has now."""
        if not self.learned:
            return dict.fromkeys(self.log_variances, 1.0)
        return {name: float(torch.exp(-s.detach())) for name, s in self.log_variances.items()}
