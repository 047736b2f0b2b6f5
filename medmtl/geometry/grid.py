"""`Grid`: where the voxels of a volume lie in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medmtl.shapes import FloatArray, Mask, Shape, Spacing


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Shape and affine of a voxel grid, without voxels.

    Attributes:
        shape: number of voxels along `(i, j, k)`.
        affine: `(4, 4)` float64, voxel index to LPS mm (DICOM patient frame, PS3.3 C.7.6.2.1.1);
            columns may be oblique and need not be orthogonal (gantry tilt). Read-only.
    """

    shape: Shape
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"an affine is 4 x 4, finite and invertible, not {affine.tolist()}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a grid has three axes of one voxel or more, not {self.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @cached_property
    def spacing(self) -> Spacing:
        """Distance in mm between neighbouring voxels along each index axis."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL: the triple product of its edges, so right for sheared grids too."""
        i, j, k = self.affine[:3, :3].T
        return float(abs(np.cross(i, j) @ k) / 1000.0)

    @cached_property
    def shear_deg(self) -> float:
        """Largest angle in degrees by which two axes miss a right angle; 0 for a box."""
        unit = self.affine[:3, :3] / np.asarray(self.spacing)
        cosines = np.abs((unit.T @ unit)[np.triu_indices(3, 1)])
        return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0.0, 1.0))))

    def mask_ml(self, mask: Mask) -> float:
        """Volume of an `(i, j, k)` mask in mL."""
        return int(mask.sum()) * self.voxel_ml

    def to_lps(self, index: FloatArray) -> FloatArray:
        """LPS mm of voxel indices `(..., 3)`, fractions allowed."""
        points: FloatArray = np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points

    def to_index(self, lps: FloatArray) -> FloatArray:
        """Fractional voxel indices of points `(..., 3)` in LPS mm."""
        offset = np.asarray(lps, dtype=np.float64) - self.affine[:3, 3]
        index = np.linalg.solve(self.affine[:3, :3], offset.reshape(-1, 3).T).T
        return np.asarray(index.reshape(offset.shape), dtype=np.float64)

    def extended(self, margins: Sequence[tuple[int, int]]) -> "Grid":
        """The grid with so many more voxels before and after it along each axis."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_lps(np.array([-float(before) for before, _ in margins]))
        i, j, k = (n + before + after for n, (before, after) in zip(self.shape, margins, strict=True))
        return Grid(shape=(i, j, k), affine=affine)

    def same_as(self, other: "Grid", tolerance_mm: float = 0.05) -> bool:
        """Whether both grids have one shape and every corner voxel within `tolerance_mm` of the other's."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T.astype(np.float64)
        return bool(np.abs(self.to_lps(corners) - other.to_lps(corners)).max() <= tolerance_mm)
