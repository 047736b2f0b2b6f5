"""Weights that do not change: `equal` and `fixed`."""

from collections.abc import Mapping

from torch import Tensor

from medmtl_training.weighting.base import Weighting


class ConstantWeights(Weighting):
    """Each loss times a number.

    Args:
        tasks: names of the network's tasks.
        given: task to its weight; one where nothing is given.
    """

    def __init__(self, tasks: tuple[str, ...], given: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self.given = {name: float(given.get(name, 1.0)) for name in tasks}

    def terms(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each loss times its weight."""
        return {name: loss if self.given[name] == 1.0 else self.given[name] * loss for name, loss in losses.items()}

    def weights(self) -> dict[str, float]:
        """The weights as given."""
        return dict(self.given)
