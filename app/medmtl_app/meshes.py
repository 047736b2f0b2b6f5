"""Surfaces of structures as triangles, for the page's 3D view.

Surface nets (Gibson, MICCAI 1998): a vertex per cell that the surface passes through, in the middle of its crossings
with the cell's edges; a quadrilateral per grid edge that it crosses. The grid is made coarser, or finer between thick
slices, so that triangles are even and few.
"""

import gzip
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, VoxelArray

LEVEL = 127.5
CELLS = 220_000
"""Cells of the grid that a surface is drawn on."""
_THICK = 2.0  # slices thicker than this many pixels are joined by distances, which slope where levels would step
_SMOOTH = 0.7  # cells
_CORNERS = np.array(list(product((0, 1), repeat=3)))
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if int(np.abs(_CORNERS[a] - _CORNERS[b]).sum()) == 1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """A closed surface.

    Attributes:
        vertices: `(n, 3)` float32, LPS mm.
        triangles: `(m, 3)` uint32 rows of `vertices`, counter-clockwise seen from outside.
    """

    vertices: VoxelArray
    triangles: VoxelArray

    @property
    def volume_ml(self) -> float:
        """Volume inside, by the divergence theorem."""
        a, b, c = (self.vertices[self.triangles[:, n]].astype(np.float64) for n in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000.0)


def surface(levels: VoxelArray, low: tuple[int, int, int], grid: Grid) -> Mesh | None:
    """The surface where `levels` pass `LEVEL`; None where no voxel is above it.

    Args:
        levels: `(i, j, k)` uint8 of a box of the grid, above `LEVEL` inside the structure.
        low: the box's first voxel in the grid.
        grid: of the whole volume.
    """
    if not (levels > LEVEL).any():
        return None
    padded = np.pad(levels, 1).astype(np.float32) - LEVEL
    spacing = np.array(grid.spacing)
    if spacing.max() > _THICK * spacing.min():
        padded = _distances(padded, int(spacing.argmax()), spacing)
    counts = np.array(padded.shape)
    extent = (counts - 1) * spacing
    step = max(float(spacing.min()), float((extent.prod() / CELLS) ** (1 / 3)))
    wanted = np.maximum(np.rint(extent / step).astype(int) + 1, 4)
    fine = ndimage.zoom(padded, wanted / counts, order=1) if tuple(wanted) != padded.shape else padded
    smooth = ndimage.gaussian_filter(fine, _SMOOTH, mode="nearest")
    field = next(found for found in (smooth, fine, padded) if (found > 0).any())  # what is tiny stays as it is
    vertices, triangles = _nets(field)
    index = vertices * ((counts - 1) / (np.array(field.shape) - 1)) - 1 + np.array(low)
    if np.linalg.det(grid.affine[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    return Mesh(vertices=grid.to_lps(index).astype(np.float32), triangles=triangles.astype(np.uint32))


def write_mesh(path: Path, levels: VoxelArray, low: tuple[int, int, int], grid: Grid) -> dict[str, Any] | None:
    """Writes a surface, gzipped: vertices as little-endian float32, then triangles as uint32.

    Returns:
        Name and counts for `view.json`; None where there is no surface.
    """
    mesh = surface(levels, low, grid)
    if mesh is None:
        return None
    with path.open("wb") as stream, gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
        packed.write(mesh.vertices.astype("<f4").tobytes())
        packed.write(mesh.triangles.astype("<u4").tobytes())
    return {"file": path.name, "vertices": len(mesh.vertices), "triangles": len(mesh.triangles)}


def _distances(field: VoxelArray, axis: int, spacing: FloatArray) -> VoxelArray:
    """Signed distance in mm to the edge within each slice, at most a slice's thickness: slices join by slopes."""
    most = float(spacing[axis])
    within = [float(value) for n, value in enumerate(spacing) if n != axis]
    rows = []
    for plane in np.moveaxis(field > 0, axis, 0):
        if not plane.any():
            rows.append(np.full(plane.shape, -most, dtype=np.float32))
            continue
        inside = ndimage.distance_transform_edt(plane, within)
        outside = ndimage.distance_transform_edt(~plane, within)
        half = 0.5 * min(within)  # the edge runs between voxels
        rows.append(np.clip(np.where(plane, inside - half, half - outside), -most, most).astype(np.float32))
    return np.moveaxis(np.stack(rows), 0, axis)


def _nets(field: VoxelArray) -> tuple[FloatArray, VoxelArray]:
    """Vertices in voxels of `field` and triangles; the rim of `field` is not above zero."""
    inside = field > 0
    size = tuple(count - 1 for count in field.shape)
    held = np.zeros(size, dtype=np.int8)
    for i, j, k in _CORNERS:
        held += inside[i : i + size[0], j : j + size[1], k : k + size[2]]
    cells = np.argwhere((held > 0) & (held < 8))
    number = np.full(size, -1, dtype=np.int64)
    number[tuple(cells.T)] = np.arange(len(cells))
    corners = cells[:, None, :] + _CORNERS[None]
    values = field[corners[..., 0], corners[..., 1], corners[..., 2]].astype(np.float64)
    total, count = np.zeros((len(cells), 3)), np.zeros(len(cells))
    for a, b in _EDGES:
        crossed = (values[:, a] > 0) != (values[:, b] > 0)
        share = np.divide(values[:, a], values[:, a] - values[:, b], out=np.zeros(len(cells)), where=crossed)
        total += crossed[:, None] * (_CORNERS[a] + share[:, None] * (_CORNERS[b] - _CORNERS[a]))
        count += crossed
    vertices = cells + total / count[:, None]
    return vertices, np.concatenate([_faces(inside, number, axis) for axis in range(3)])


def _faces(inside: VoxelArray, number: VoxelArray, axis: int) -> VoxelArray:
    """Two triangles per grid edge along `axis` that the surface crosses, through the four cells around it."""
    step, a, b = np.eye(3, dtype=int)[[axis, (axis + 1) % 3, (axis + 2) % 3]]
    first = np.take(inside, range(inside.shape[axis] - 1), axis)
    second = np.take(inside, range(1, inside.shape[axis]), axis)
    edges = np.argwhere(first != second)
    quads = np.stack([number[tuple((edges - back).T)] for back in (a + b, b, 0 * step, a)], axis=1)
    leaves = first[tuple(edges.T)]
    quads = np.where(leaves[:, None], quads, quads[:, ::-1])
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
