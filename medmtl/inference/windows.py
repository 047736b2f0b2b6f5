"""Where windows lie and how much each voxel of one counts."""

from itertools import product
from math import ceil

import numpy as np

from medmtl.shapes import Shape, VoxelArray


def window_starts(shape: Shape, window: Shape, overlap: float) -> list[Shape]:
    """First voxel of each window: the fewest windows with at least `overlap`, spread evenly, none beyond the edge.

    Args:
        shape: of the image; no axis shorter than the window.
        window: voxels of a window.
        overlap: least overlap of neighbours, as a fraction of the window.
    """
    per_axis = []
    for size, extent in zip(shape, window, strict=True):
        if size < extent:
            raise ValueError(f"an axis of {size} voxels holds no window of {extent}")
        step = max(1, int(extent * (1.0 - overlap)))
        count = ceil((size - extent) / step) + 1
        last = size - extent
        per_axis.append([round(last * n / max(1, count - 1)) for n in range(count)])
    return [(i, j, k) for i, j, k in product(*per_axis)]


def gaussian_weight(window: Shape) -> VoxelArray:
    """`(i, j, k)` float32 weight of a window's voxels: a Gaussian of an eighth of the window, never below 1/1000."""
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / max(n / 8.0, 0.5)) ** 2) for n in window]
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return np.maximum(weight / weight.max(), 1e-3).astype(np.float32)


def padding(shape: Shape, window: Shape) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Voxels to add before and after each axis so that a window fits."""
    missing = [max(0, extent - size) for size, extent in zip(shape, window, strict=True)]
    i, j, k = ((n // 2, n - n // 2) for n in missing)
    return (i, j, k)
