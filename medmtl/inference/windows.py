"""Where windows lie and how much each voxel of one counts."""

from itertools import product
from math import ceil

import numpy as np

from medmtl.geometry.linear import Span
from medmtl.preparation.plan import Plan, Scheme
from medmtl.shapes import ImageArray, Shape, VoxelArray

Box = tuple[Span, Span, Span]
_FLOOR = 1e-3  # of a weight along one axis
_BODY_SHARE, _BODY_MARGIN = 0.01, 4  # of a plane's voxels that are no air; voxels


def axis_starts(size: int, extent: int, overlap: float) -> list[int]:
    """First voxel of each window along one axis: the fewest with at least `overlap`, spread evenly up to the edge.

    Raises:
        ValueError: the axis is shorter than a window.
    """
    if size < extent:
        raise ValueError(f"an axis of {size} voxels holds no window of {extent}")
    step = max(1, int(extent * (1.0 - overlap)))
    count = ceil((size - extent) / step) + 1
    last = size - extent
    return [round(last * n / max(1, count - 1)) for n in range(count)]


def window_starts(shape: Shape, window: Shape, overlap: float) -> list[Shape]:
    """First voxel of each window of an image.

    Args:
        shape: of the image; no axis shorter than the window.
        window: voxels of a window.
        overlap: least overlap of neighbours, as a fraction of the window.
    """
    per_axis = [axis_starts(size, extent, overlap) for size, extent in zip(shape, window, strict=True)]
    return [(i, j, k) for i, j, k in product(*per_axis)]


def axis_weight(extent: int) -> VoxelArray:
    """`(extent,)` float32 weight along one axis: a Gaussian of an eighth of the window, never below 1/1000."""
    weight = np.exp(-0.5 * ((np.arange(extent) - (extent - 1) / 2) / max(extent / 8.0, 0.5)) ** 2)
    return np.maximum(weight / weight.max(), _FLOOR).astype(np.float32)


def axis_shares(starts: list[int], extent: int) -> dict[int, VoxelArray]:
    """Start to `(extent,)` float32 share of that window at each of its voxels; at every voxel shares add up to one.

    Windows lie on a grid, so the share of a voxel is the product of its shares along the axes.
    """
    weight = axis_weight(extent)
    total = np.zeros(starts[-1] + extent, dtype=np.float32)
    for start in starts:
        total[start : start + extent] += weight
    return {start: weight / total[start : start + extent] for start in starts}


def padding(shape: Shape, window: Shape) -> tuple[Span, Span, Span]:
    """Voxels to add before and after each axis so that a window fits."""
    missing = [max(0, extent - size) for size, extent in zip(shape, window, strict=True)]
    i, j, k = ((n // 2, n - n // 2) for n in missing)
    return (i, j, k)


def body_box(image: ImageArray, plan: Plan) -> Box:
    """The part of `(channel, i, j, k)` that windows look at, a window at least where the image holds one.

    In CT the air around the body is left out: planes of which less than a hundredth is above the lower limit. Other
    images have no value that means air, and are looked at whole.
    """
    rule = plan.normalisation[0]
    shape = image.shape[1:]
    if rule.scheme is not Scheme.CLIP or rule.low >= 0:
        return ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    solid = image[0] > (rule.low - rule.mean) / rule.spread + 1e-3
    i, j, k = (_held(solid, axis, plan.patch[axis]) for axis in range(3))
    return (i, j, k)


def _held(solid: VoxelArray, axis: int, least: int) -> Span:
    size = solid.shape[axis]
    share = solid.mean(axis=tuple(n for n in range(3) if n != axis))
    used = np.flatnonzero(share >= _BODY_SHARE)
    if used.size == 0:
        return (0, size)
    held = (max(0, int(used[0]) - _BODY_MARGIN), min(size, int(used[-1]) + 1 + _BODY_MARGIN))
    return widened(held, least, (0, size))


def widened(span: Span, least: int, limits: Span) -> Span:
    """`span` to at least so many voxels on both sides alike, within `limits`; all of these where they hold fewer."""
    first, end = span
    least = min(least, limits[1] - limits[0])
    if end - first < least:
        first = min(max(limits[0], first - (least - (end - first)) // 2), limits[1] - least)
        end = first + least
    return (first, end)
