"""Linear interpolation between grids of one extent, axis by axis.

A value depends on its source values alone, never on what is computed along with it: a volume taken slab by slab has the
same bits as one taken whole, whatever the size of the slabs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from medmtl.shapes import Shape, VoxelArray

Span = tuple[int, int]
"""First index and the one after the last."""

_SCRATCH_VALUES = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """For each new index along an axis: two old indices and the weight of each. Edges are continued.

    Attributes:
        have, wanted: voxels along the axis, old and new.
        lower, upper: `(wanted,)` old indices, neighbours or the same.
        first, second: `(wanted,)` float32 weights, none negative, so that interpolation keeps an order of values.
    """

    have: int
    wanted: int
    lower: npt.NDArray[np.int64]
    upper: npt.NDArray[np.int64]
    first: npt.NDArray[np.float32]
    second: npt.NDArray[np.float32]

    def reach(self, span: Span) -> Span:
        """Old indices that the new indices of `span` are made of."""
        return int(self.lower[span[0]]), int(self.upper[span[1] - 1]) + 1

    def touched(self, span: Span) -> Span:
        """New indices that something of the old indices of `span` goes into; may be empty."""
        held = (self.upper >= span[0]) & (self.lower < span[1])
        where = np.flatnonzero(held)
        return (int(where[0]), int(where[-1]) + 1) if where.size else (0, 0)


@lru_cache(maxsize=64)
def steps(have: int, wanted: int) -> Steps:
    """From `have` voxels to `wanted` voxels over the same extent, outer edges on outer edges."""
    place = np.clip((np.arange(wanted) + 0.5) * (have / wanted) - 0.5, 0.0, have - 1.0)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, have - 1)
    second = (place - lower).astype(np.float32)
    first = np.float32(1.0) - second
    return Steps(have=have, wanted=wanted, lower=lower, upper=upper, first=first, second=second)


def along(array: VoxelArray, axis: int, step: Steps, span: Span, start: int = 0) -> VoxelArray:
    """Values at the new indices of `span` along `axis`, float32.

    Args:
        array: float32, whose first index along `axis` is the old index `start`; holds all that `span` reaches.
        axis: which one.
        step: from `steps`.
        span: of new indices.
        start: see `array`.
    """
    new = slice(*span)
    if step.have == step.wanted:
        where = [slice(None)] * array.ndim
        where[axis] = slice(span[0] - start, span[1] - start)
        return array[tuple(where)]
    wide = [1] * array.ndim
    wide[axis] = -1
    out: VoxelArray = np.take(array, step.lower[new] - start, axis=axis)
    out *= step.first[new].reshape(wide)
    other = np.take(array, step.upper[new] - start, axis=axis)
    other *= step.second[new].reshape(wide)
    out += other
    return out


def resample_linear(
    array: VoxelArray, shape: Shape, take: Callable[[VoxelArray], VoxelArray] | None = None
) -> VoxelArray:
    """Values of `(i, j, k)` on `shape` voxels over the same extent, float32; edges are continued.

    Args:
        array: of any numbers; only a slab of it is taken as float32 at a time.
        shape: of the new array.
        take: what is done to float32 values, one by one, before they are interpolated.
    """
    axis = int(np.argmax(np.abs(array.strides)))  # slabs that lie together in memory
    ways = [steps(have, wanted) for have, wanted in zip(array.shape, shape, strict=True)]
    out = np.empty(shape, dtype=np.float32)
    plane = max(1, array.size // array.shape[axis], out.size // shape[axis])
    thick = max(1, _SCRATCH_VALUES // plane)
    for first in range(0, shape[axis], thick):
        span = (first, min(first + thick, shape[axis]))
        low, high = ways[axis].reach(span)
        part = [slice(None)] * 3
        part[axis] = slice(low, high)
        values: VoxelArray = np.ascontiguousarray(array[tuple(part)], dtype=np.float32)
        values = values if take is None else take(values)
        for n in range(3):
            values = along(values, n, ways[n], span if n == axis else (0, shape[n]), low if n == axis else 0)
        part[axis] = slice(*span)
        out[tuple(part)] = values
    return out
