"""The tasks' gradients of the shared weights to one: TorchJD's aggregators by name.

TorchJD's UPGrad and CAGrad come with solvers that are under the GPL or large; ours are small and read scipy only.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medmtl.errors import Code, TrainingError

Combine = Callable[[Sequence[Tensor]], list[Tensor]]
"""From `(task, ...)` gradients of each shared weight to one gradient of each."""

_REGULAR = 1e-6  # added to the normalised Gramian's diagonal, so that equal gradients are no singular case
_CAGRAD_RADIUS = 0.4  # c of the paper's experiments


def make_combine(name: str) -> Combine | None:
    """The way of combining called `name`; None for "sum".

    Combined gradients have the scale of a sum over tasks, whatever the method's own: a mean is multiplied by the number
    of tasks, so that shared weights keep pace with the heads.

    Raises:
        TrainingError: `extra-missing`, TorchJD is not installed.
    """
    if name == "sum":
        return None
    try:
        from torchjd import aggregation
    except ImportError:
        what = f"gradients: {name} needs TorchJD, which is not installed"
        raise TrainingError(Code.EXTRA_MISSING, what, "install medmtl with the extra mtl") from None
    if name == "graddrop":
        return _from_matrix(aggregation.GradDrop())
    weightings: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "upgrad": lambda: aggregation.UPGrad(projector=_projector()).gramian_weighting,
        "cagrad": lambda: _cagrad_weights,
        "mgda": lambda: aggregation.MGDA().gramian_weighting,
        "aligned-mtl": lambda: aggregation.AlignedMTL().gramian_weighting,
        "pcgrad": lambda: aggregation.PCGrad().gramian_weighting,
    }
    return _from_gramian(weightings[name](), summed=name == "pcgrad")


def gramian(rows: Sequence[Tensor]) -> Tensor:
    """`(task, task)` inner products over all weights, in float64, of `(task, ...)` gradients of each."""
    flat = [row.detach().flatten(1).double() for row in rows]
    return torch.stack([row @ row.T for row in flat]).sum(dim=0)


def dual_cone_weights(u: Tensor, g: Tensor) -> Tensor:
    """The `w >= u` that makes `w' G w` least: weights of the projection onto the cone where no task gets worse.

    With `G = L L'` this is the non-negative least squares problem `|L' (u + d)|`, `d >= 0` (Quinton and Rey, arXiv
    2406.16232, proposition 1, for the problem).

    Args:
        u: `(task,)`.
        g: `(task, task)` Gramian, positive semi-definite.
    """
    from scipy.optimize import nnls

    size = float(g.diagonal().sum())
    if size <= 0.0 or not math.isfinite(size):
        return u
    even = (g / size + _REGULAR * torch.eye(len(g), dtype=g.dtype)).double().cpu().numpy()
    root = np.linalg.cholesky(even).T
    start = u.double().cpu().numpy()
    further, _ = nnls(root, -root @ start)
    return torch.from_numpy(start + further).to(u)


def _projector() -> Any:
    from torchjd.linalg import DualConeProjector

    class Projector(DualConeProjector):
        def __call__(self, U: Tensor, G: Tensor) -> Tensor:  # noqa: N803 - TorchJD's names
            return torch.stack([dual_cone_weights(u, G) for u in U])

    return Projector()


def _cagrad_weights(g: Tensor) -> Tensor:
    """Weights of CAGrad (Liu, Liu, Jin, Stone and Liu, NeurIPS 2021): its dual over the simplex, by scipy."""
    from scipy.optimize import minimize

    size = float(g.diagonal().mean())
    n = len(g)
    if size <= 0.0 or not math.isfinite(size):
        return torch.ones(n, dtype=g.dtype) / n
    even = (g / size).double().cpu().numpy()
    mean = even.mean(axis=1)
    radius = _CAGRAD_RADIUS * math.sqrt(max(float(even.mean()), 0.0))

    def dual(w: Any) -> float:
        return float(w @ mean + radius * math.sqrt(max(float(w @ even @ w), 0.0) + 1e-12))

    limits = [(0.0, 1.0)] * n
    simplex = {"type": "eq", "fun": lambda w: 1.0 - w.sum()}
    w = minimize(dual, np.full(n, 1.0 / n), bounds=limits, constraints=simplex, method="SLSQP").x
    norm = math.sqrt(max(float(w @ even @ w), 0.0))
    weights = np.full(n, 1.0 / n) + (radius / norm * w if norm > 1e-8 else 0.0)
    return torch.from_numpy(weights / (1.0 + _CAGRAD_RADIUS**2)).to(g)  # as the authors scale it


def _from_gramian(weighting: Callable[[Tensor], Tensor], *, summed: bool) -> Combine:
    def combine(rows: Sequence[Tensor]) -> list[Tensor]:
        weights = weighting(gramian(rows).cpu()) * (1 if summed else len(rows[0]))
        return [torch.tensordot(weights.to(row), row, dims=1) for row in rows]

    return combine


def _from_matrix(aggregator: Callable[[Tensor], Tensor]) -> Combine:
    def combine(rows: Sequence[Tensor]) -> list[Tensor]:
        flat = aggregator(torch.cat([row.flatten(1) for row in rows], dim=1)).nan_to_num(0.0)
        parts = flat.split([row[0].numel() for row in rows])
        return [part.view_as(row[0]) for part, row in zip(parts, rows, strict=True)]

    return combine
