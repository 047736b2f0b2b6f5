"""Volumes for the benchmarks of the engine: an analytic abdomen that fills its grid, in any size."""

import gzip
from pathlib import Path

import nibabel
import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import Shape, VoxelArray
from sample_data.phantoms import phantom

_FIELD_MM = (360.0, 275.0)  # holds the body of the phantom with little air
_BODY_HU = -500


def filled_abdomen(shape: Shape) -> tuple[VoxelArray, Grid, dict[str, VoxelArray]]:
    """Image in HU, grid and truth by task: an abdomen with lesions whose body touches the sides of the grid."""
    wide = (round(shape[0] * 1.3), round(shape[1] * 1.35), shape[2])
    spacing = (_FIELD_MM[0] / wide[0], _FIELD_MM[1] / wide[1], 320.0 / shape[2])
    made = phantom("abdomen", seed=77, lesion=True, shape=wide, spacing=spacing)
    where = []
    for axis, size in enumerate(shape):
        held = np.flatnonzero((made.array > _BODY_HU).any(axis=tuple(n for n in range(3) if n != axis)))
        first = min(max(0, (int(held[0]) + int(held[-1]) + 1 - size) // 2), wide[axis] - size)
        where.append(slice(first, first + size))
    cut = (where[0], where[1], where[2])
    affine = made.grid.affine.copy()
    affine[:3, 3] = affine[:3, :3] @ [part.start for part in cut] + affine[:3, 3]
    maps = {task: np.ascontiguousarray(found[cut]) for task, found in made.maps.items()}
    return np.ascontiguousarray(made.array[cut]), Grid(shape=shape, affine=affine), maps


def body_share(array: VoxelArray) -> float:
    """Part of the voxels that is no air."""
    return float((array > _BODY_HU).mean())


def tiled(edge: int) -> tuple[VoxelArray, Grid]:
    """A cube of `edge` voxels of 3 mm, abdomens of 128 voxels side by side: as much body and network in every part."""
    array, _, _ = filled_abdomen((128, 128, 128))
    count = -(-edge // 128)
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    cube = np.tile(array, (count, count, count))[:edge, :edge, :edge]
    return np.ascontiguousarray(cube), Grid(shape=(edge, edge, edge), affine=affine)


def long_ct(slices: int) -> tuple[VoxelArray, Grid]:
    """512 x 512 x `slices` voxels of 0.75 x 0.75 x 1.5 mm."""
    array, _, _ = filled_abdomen((256, 256, 64))
    large = np.repeat(np.repeat(array, 2, axis=0), 2, axis=1)
    large = np.tile(large, (1, 1, -(-slices // 64)))[:, :, :slices]
    affine = np.diag([-0.75, -0.75, 1.5, 1.0])
    return np.ascontiguousarray(large), Grid(shape=(512, 512, slices), affine=affine)


def write(path: Path, array: VoxelArray, grid: Grid) -> Path:
    """As NIfTI, packed quickly; gives the path."""
    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
    return path
