"""Solids whose volume has a closed form, and the phantom they are painted into."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, LabelMap, Mask, Shape, Spacing, VoxelArray
from medmtl.volume import Volume

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """A synthetic case.

    Attributes:
        array: `(i, j, k)` int16, HU for CT, arbitrary units from 0 for MR.
        grid: where the voxels lie, LPS mm.
        modality: "CT" or "MR".
        maps: voxel task name to `(i, j, k)` label values.
        diagnosis: name of the class.
        ml: "task.label" to analytic millilitres of the whole structure; a host includes its lesions. Voxel counts
            come within a few percent of it where voxels are small against the structure.
    """

    array: VoxelArray
    grid: Grid
    modality: str
    maps: Mapping[str, LabelMap]
    diagnosis: str
    ml: Mapping[str, float]

    def volume(self) -> Volume:
        """The image as the library reads it."""
        digest = hashlib.sha256(self.array.tobytes() + self.grid.affine.tobytes()).hexdigest()
        return Volume(array=self.array.copy(), grid=self.grid, modality=self.modality, content_hash=digest)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ellipsoid:
    """All points `centre + axes @ u` with `|u| <= 1`.

    Attributes:
        centre: `(3,)` LPS mm.
        axes: `(3, 3)` mm, semi-axes as columns.
    """

    centre: FloatArray
    axes: FloatArray

    @cached_property
    def ml(self) -> float:
        """Volume in mL."""
        return float(4 / 3 * np.pi * abs(np.linalg.det(self.axes)) / 1000)

    def mapped(self, linear: FloatArray, shift: FloatArray) -> "Ellipsoid":
        """The solid after `x -> linear @ x + shift`; solids that are disjoint stay disjoint."""
        return Ellipsoid(centre=linear @ self.centre + shift, axes=linear @ self.axes)

    def shrunk(self, factor: float, towards: FloatArray) -> "Ellipsoid":
        """A smaller solid inside this one; `towards` (in the unit ball) says where in it."""
        return Ellipsoid(centre=self.centre + (1 - factor) * self.axes @ towards, axes=factor * self.axes)

    def voxels(self, grid: Grid) -> tuple[Box, Mask]:
        """The part of `grid` the solid may touch and the mask of voxel centres inside it."""
        linear = np.linalg.inv(grid.affine[:3, :3]) @ self.axes
        middle = grid.to_index(self.centre)
        reach = np.linalg.norm(linear, axis=1)
        low = np.clip(np.floor(middle - reach), 0, grid.shape).astype(int)
        high = np.maximum(np.clip(np.ceil(middle + reach) + 1, 0, grid.shape).astype(int), low)
        to_unit = np.linalg.inv(linear)
        i = np.arange(low[0], high[0])[:, None] - middle[0]
        j = np.arange(low[1], high[1])[None, :] - middle[1]
        mask = np.zeros(tuple(high - low), dtype=bool)
        for k in range(mask.shape[2]):  # by slice, so that a 512 x 512 x 300 body needs no gigabytes
            unit = to_unit[:, :2, None, None]
            radial = (unit[:, 0] * i + unit[:, 1] * j + (to_unit[:, 2] * (low[2] + k - middle[2]))[:, None, None]) ** 2
            mask[:, :, k] = radial.sum(axis=0) <= 1
        box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        return box, mask


def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Ellipsoid:
    """An ellipsoid along the patient's axes; `centre` and `radii` in mm."""
    return Ellipsoid(centre=np.array(centre), axes=np.diag(radii))


def paint(target: VoxelArray, solid: Ellipsoid, grid: Grid, value: float) -> None:
    """Set the voxels of `target` inside `solid` to `value`."""
    box, mask = solid.voxels(grid)
    target[box][mask] = value


def centred_grid(shape: Shape, spacing: Spacing, centre: FloatArray, axes: FloatArray | None = None) -> Grid:
    """A grid whose middle lies at `centre` (LPS mm); `axes` are unit vectors as columns, the patient's by default."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if axes is None else axes) * np.asarray(spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape=shape, affine=affine)


def rotation(angles_deg: tuple[float, float, float]) -> FloatArray:
    """`(3, 3)` rotation about x, then y, then z."""
    total = np.eye(3)
    for axis, angle in enumerate(np.radians(angles_deg)):
        turn = np.eye(3)
        first, second = [a for a in range(3) if a != axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        total = turn @ total
    return total


def room(shape: Shape, spacing: Spacing, needed_mm: tuple[float, float, float]) -> float:
    """Factor, at most 1, by which an anatomy of size `needed_mm` shrinks to lie inside a grid."""
    extent = np.asarray(shape) * np.asarray(spacing)
    return float(min(1.0, (extent / np.asarray(needed_mm)).min()))
