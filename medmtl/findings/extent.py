"""Where structures lie, so that measuring one does not read the whole volume again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medmtl.shapes import Mask, Shape, VoxelArray

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A structure's number of voxels and the smallest box that holds them; an empty box where there are none."""

    voxels: int
    box: Box

    def reaches_edge(self, shape: Shape, axes: tuple[int, ...] = (0, 1, 2)) -> bool:
        """Whether it holds the first or last voxel of one of `axes` of a volume of `shape`."""
        return self.voxels > 0 and any(self.box[n].start == 0 or self.box[n].stop == shape[n] for n in axes)


NOWHERE = Extent(voxels=0, box=(slice(0, 0), slice(0, 0), slice(0, 0)))


def mask_extent(mask: Mask) -> Extent:
    """Of a mask `(i, j, k)`."""
    box = []
    for axis in range(3):
        held = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        if held.size == 0:
            return NOWHERE
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    whole = (box[0], box[1], box[2])
    return Extent(voxels=int(np.count_nonzero(mask[whole])), box=whole)


def label_extents(labels: VoxelArray) -> Mapping[int, Extent]:
    """Label value to its extent, of `(i, j, k)` integers from 0; values that do not occur are left out, and 0."""
    axis = int(np.argmax(np.abs(labels.strides)))  # planes that lie together in memory
    planes = np.moveaxis(labels, axis, 0)
    counts = _counts(planes)
    found = {}
    for value in np.flatnonzero(counts.any(axis=0)):
        held = np.flatnonzero(counts[:, value])
        along = slice(int(held[0]), int(held[-1]) + 1)
        part: list[slice] = [slice(None)] * 3
        part[axis] = along
        inner = mask_extent(labels[tuple(part)] == value)
        box = list(inner.box)
        box[axis] = along
        found[int(value)] = Extent(voxels=inner.voxels, box=(box[0], box[1], box[2]))
    found.pop(0, None)
    return found


def _counts(planes: VoxelArray) -> VoxelArray:
    """`(plane, value)` voxels; the background is not counted."""
    highest = int(planes.max(initial=0))
    rows = np.zeros((len(planes), highest + 1), dtype=np.int64)
    for row, plane in zip(rows, planes, strict=True):
        if plane.any():
            row[:] = np.bincount(plane.ravel(order="K"), minlength=highest + 1)
    rows[:, 0] = 0
    return rows
