"""What every way of weighting the tasks' losses looks like to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """How the losses of the tasks that have a label in a batch become one.

    A task without a label is absent from every mapping, never zero: what a weighting does to the other tasks is then
    what it would do if the network had no such task, and nothing of the absent task's own state moves.

    What is learnt by the optimiser are parameters, everything else that a resumed run needs is a buffer.

    Attributes:
        tasks: names of the network's tasks.
        reads_norms: whether `see_norms` wants the gradient norms before each step.
        looks_twice: whether `see_again` wants the losses of the same batch after each step.
    """

    reads_norms = False
    looks_twice = False

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.tasks = tasks

    @abstractmethod
    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to its part of the total, whose gradient is that of the whole objective."""

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """Task name to the factor its loss has now, or had last."""

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum of the terms."""
        return torch.stack(list(self.terms(losses).values())).sum()

    def constrain(self) -> None:
        """Brings what is learnt back between its limits, after a step of the optimiser."""
        return

    def see_norms(self, norms: Mapping[str, float], losses: Mapping[str, float]) -> None:
        """Takes the norm of each unweighted loss's gradient at the last shared layer, and the losses."""
        return

    def see_again(self, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """Takes the losses of one batch before and after a step."""
        return


class FactorWeighting(Weighting):
    """A weighting whose factors are no function that gradients flow through."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.register_buffer("last", torch.ones(len(tasks)))
        self.last: Tensor

    @abstractmethod
    def factors(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Task name to the factor of its loss in this step."""

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each loss times its factor."""
        factors = self.factors({name: float(loss.detach()) for name, loss in losses.items()})
        with torch.no_grad():
            for name, factor in factors.items():
                self.last[self.place(name)] = factor
        return {name: factors[name] * loss for name, loss in losses.items()}

    def weights(self) -> dict[str, float]:
        """The factor each task had in the last step that had a label for it."""
        return dict(zip(self.tasks, self.last.tolist(), strict=True))

    def place(self, name: str) -> int:
        """Index of a task in the buffers."""
        return self.tasks.index(name)


def shares(scores: Mapping[str, float]) -> dict[str, float]:
    """Softmax of the scores, times their number: a weight of one each where all scores are equal."""
    values = torch.softmax(torch.tensor(list(scores.values()), dtype=torch.float64), dim=0) * len(scores)
    return dict(zip(scores, values.tolist(), strict=True))
