"""Maps of structures from one grid to another."""

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.geometry.resample import resample_labels_onto
from medmtl.shapes import VoxelArray


def resample_masks_onto(masks: VoxelArray, source: Grid, target: Grid) -> VoxelArray:
    """Label values `(i, j, k)` or masks `(label, i, j, k)` on `source` at the voxels of `target`, LPS mm.

    As they are where both grids are one; a structure's voxels are those where its share is the largest.
    """
    if target.same_as(source):
        return masks
    if masks.ndim == 4:
        return np.stack([resample_labels_onto(one, source, target).astype(np.bool_) for one in masks])
    return resample_labels_onto(masks, source, target)
