"""From the tasks' terms to the gradient of every weight."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from medmtl_training.gradients.aggregators import Combine


def plain_backward(terms: Mapping[str, Tensor]) -> None:
    """Gradients of the sum of the terms."""
    torch.stack(list(terms.values())).sum().backward()


def combined_backward(
    terms: Mapping[str, Tensor],
    shared: Sequence[nn.Parameter],
    own: Iterable[nn.Parameter],
    combine: Combine | None,
    limit: float = 0.0,
) -> None:
    """Gradients task by task: those of shared weights combined, those of all others added up.

    One backward pass per task from its term to the weights themselves: levels of the encoder that are read through skip
    connections and through deeper levels are then counted once along each path, as in a plain backward pass. With
    the sum of all rows the result is that of `plain_backward`.

    Args:
        terms: task to scalar.
        shared: weights that several tasks read.
        own: all others; one that no term reads keeps no gradient.
        combine: how the tasks' rows become one, None for their sum.
        limit: largest norm of a task's row over all shared weights, 0 for none.
    """
    own = list(own)
    rows: list[list[Tensor]] = []
    last = len(terms) - 1
    for index, term in enumerate(terms.values()):
        found = torch.autograd.grad(term, [*shared, *own], retain_graph=index < last, allow_unused=True)
        row = [torch.zeros_like(p) if g is None else g for p, g in zip(shared, found, strict=False)]
        rows.append(_limited(row, limit))
        for parameter, gradient in zip(own, found[len(shared) :], strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    stacked = [torch.stack(parts) for parts in zip(*rows, strict=True)]
    combined = [row.sum(dim=0) for row in stacked] if combine is None or len(rows) < 2 else combine(stacked)
    for parameter, gradient in zip(shared, combined, strict=True):
        parameter.grad = gradient


def task_gradients(losses: Mapping[str, Tensor], weights: Sequence[nn.Parameter]) -> dict[str, list[Tensor]]:
    """Task to the gradient of its loss for each weight; the graph stays."""
    found = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        found[name] = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True)]
    return found


def norm_of(gradients: Iterable[Tensor]) -> float:
    """Euclidean norm over all weights."""
    return float(torch.stack([g.detach().double().square().sum() for g in gradients]).sum().sqrt())


def _limited(row: list[Tensor], limit: float) -> list[Tensor]:
    if limit <= 0.0:
        return row
    factor = min(1.0, limit / max(norm_of(row), 1e-12))
    return [factor * gradient for gradient in row]
