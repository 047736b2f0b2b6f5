"""Connected components of masks, 26 neighbours."""

import cc3d
import numpy as np

from medmtl.findings.extent import mask_extent
from medmtl.shapes import Mask, VoxelArray


def components(mask: Mask, minimum_voxels: int = 1) -> tuple[VoxelArray, int]:
    """`(i, j, k)` integers 1..n, the largest component first, and n; smaller ones are left out.

    Components of one size keep the order of their first voxel, so that the same mask gives the same numbers.
    """
    found, count = cc3d.connected_components(mask.astype(np.uint8), connectivity=26, return_N=True)
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    kept = [n for n in range(1, count + 1) if sizes[n] >= minimum_voxels]
    kept.sort(key=lambda n: (-int(sizes[n]), n))
    lookup = np.zeros(count + 1, dtype=np.int32)
    lookup[kept] = np.arange(1, len(kept) + 1)
    return lookup[found], len(kept)


def keep_largest(labels: VoxelArray) -> VoxelArray:
    """Only the largest connected piece of all labels together, of a label map or of masks `(label, i, j, k)`."""
    union = np.asarray(labels > 0 if labels.ndim == 3 else labels.any(axis=0))
    box = mask_extent(union).box
    pieces, count = components(union[box])
    if count < 2:
        return labels
    kept = labels.copy(order="K")
    np.multiply(kept[(..., *box)], pieces == 1, out=kept[(..., *box)])
    return kept


def touches_edge(mask: Mask, axes: tuple[int, ...] = (0, 1, 2)) -> bool:
    """Whether the mask reaches the first or last voxel of one of `axes`."""
    return any(bool(mask.take(index, axis=axis).any()) for axis in axes for index in (0, -1))
