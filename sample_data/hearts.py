"""Short-axis heart phantoms: half-ellipsoids with an infarct sector in the wall, as late gadolinium MR shows them."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, LabelMap, Mask, Shape, Spacing, VoxelArray
from sample_data.solids import Phantom, centred_grid, ellipsoid, paint, room, rotation

SIZE_MM = (130.0, 130.0, 100.0)

# arbitrary units of a 12-bit MR image
AIR, LUNG, MUSCLE, FAT, BLOOD, NULLED_WALL, INFARCT, NO_REFLOW = 15, 70, 330, 950, 640, 150, 1050, 170


@dataclass(frozen=True, kw_only=True)
class Sector:
    """A part of the wall, reaching from the cavity outwards.

    Attributes:
        start_deg: angle round the long axis where it begins.
        width_deg: its angle.
        depth: share of the wall it takes, 1 is transmural.
        reach_mm: from and to, distance from the base plane along the long axis; ends within the cavity's length.
    """

    start_deg: float
    width_deg: float
    depth: float
    reach_mm: tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Heart:
    """A left ventricle: two half-ellipsoids on one base plane.

    Attributes:
        base: `(3,)` LPS mm, centre of the base plane.
        frame: `(3, 3)` unit vectors as columns: two across, the third from base to apex.
        radius_mm: of the cavity at the base.
        length_mm: of the cavity.
        wall_mm: thickness of the myocardium.
        infarct: part of the wall, None in a normal heart.
        no_reflow: part of the infarct, None without.
    """

    base: FloatArray
    frame: FloatArray
    radius_mm: float
    length_mm: float
    wall_mm: float
    infarct: Sector | None
    no_reflow: Sector | None

    def ml(self) -> dict[str, float]:
        """Analytic mL by "task.label"; the myocardium includes the infarct, the infarct not its no-reflow core."""
        cavity = 2 / 3 * np.pi * self.radius_mm**2 * self.length_mm / 1000
        whole = 2 / 3 * np.pi * (self.radius_mm + self.wall_mm) ** 2 * (self.length_mm + self.wall_mm) / 1000
        core = self._sector_ml(self.no_reflow)
        return {
            "organs.lv_cavity": float(cavity),
            "organs.myocardium": float(whole - cavity),
            "lesions.infarct": self._sector_ml(self.infarct) - core,
            "lesions.no_reflow": core,
        }

    def _sector_ml(self, sector: Sector | None) -> float:
        if sector is None:
            return 0.0
        low, high = sector.reach_mm

        def area_integral(grown_mm: float) -> float:
            radius, length = self.radius_mm + grown_mm, self.length_mm + grown_mm
            return float(radius**2 * ((high - low) - (high**3 - low**3) / (3 * length**2)))

        shell = area_integral(sector.depth * self.wall_mm) - area_integral(0.0)
        return float(np.radians(sector.width_deg) / 2 * shell / 1000)

    def labels(self, grid: Grid) -> tuple[LabelMap, LabelMap]:
        """`(i, j, k)` organ and lesion values of the voxel centres."""
        organs = np.zeros(grid.shape, dtype=np.uint8)
        lesions = np.zeros(grid.shape, dtype=np.uint8)
        i, j = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
        for k in range(grid.shape[2]):
            index = np.stack([i, j, np.full_like(i, k)], axis=-1).astype(np.float64)
            points = (grid.to_lps(index) - self.base) @ self.frame
            across, along = np.hypot(points[..., 0], points[..., 1]), points[..., 2]
            angle_deg = np.degrees(np.arctan2(points[..., 1], points[..., 0]))
            organs[:, :, k][self._within(across, along, self.wall_mm)] = 2
            organs[:, :, k][self._within(across, along, 0.0)] = 1
            for value, sector in ((1, self.infarct), (2, self.no_reflow)):
                if sector is None:
                    continue
                mask = self._within(across, along, sector.depth * self.wall_mm) & (organs[:, :, k] == 2)
                mask &= (angle_deg - sector.start_deg) % 360 < sector.width_deg
                mask &= (along >= sector.reach_mm[0]) & (along < sector.reach_mm[1])
                lesions[:, :, k][mask] = value
        return organs, lesions

    def _within(self, across: FloatArray, along: FloatArray, grown_mm: float) -> Mask:
        radial = (across / (self.radius_mm + grown_mm)) ** 2 + (along / (self.length_mm + grown_mm)) ** 2
        inside: Mask = (along >= 0) & (radial <= 1)
        return inside


def heart(
    *,
    seed: int,
    infarction: bool,
    shape: Shape = (128, 128, 10),
    spacing: Spacing = (1.5, 1.5, 10.0),
    noise: float = 30.0,
) -> Phantom:
    """A short-axis stack with apex first and base last, and an infarct where asked.

    Sizes, position and pose follow `seed`; half of the infarcts have a no-reflow core. The anatomy shrinks as a whole
    where the grid has no room for it.
    """
    rng = np.random.default_rng([seed, 2])
    scale = room(shape, spacing, SIZE_MM)
    tilt = rotation((float(rng.uniform(-6, 6)), float(rng.uniform(-6, 6)), float(rng.uniform(-180, 180))))
    middle = rng.uniform(-50, 50, 3)
    stack = rotation((float(rng.uniform(-8, 8)), float(rng.uniform(-8, 8)), 0.0))
    grid = centred_grid(shape, spacing, middle, stack)
    subject = _heart(rng, scale, stack @ tilt @ np.diag([1.0, -1.0, -1.0]), middle, infarction)
    organs, lesions = subject.labels(grid)
    image = _surroundings(subject, grid, stack, scale)
    for mask, value in (
        (organs == 1, BLOOD),
        (organs == 2, NULLED_WALL),
        (lesions == 1, INFARCT),
        (lesions == 2, NO_REFLOW),
    ):
        image[mask] = value
    return Phantom(
        array=_scanned(image, noise, rng),
        grid=grid,
        modality="MR",
        maps={"lesions": lesions, "organs": organs},
        diagnosis="infarction" if infarction else "normal",
        ml=subject.ml(),
    )


def _heart(rng: np.random.Generator, scale: float, frame: FloatArray, middle: FloatArray, infarction: bool) -> Heart:
    """A heart whose middle lies near `middle`; `frame` columns as in `Heart`."""
    radius, length, wall = rng.uniform((19, 64, 8), (27, 76, 11)) * scale
    shift = rng.uniform((-12, -12, -1.5), (12, 12, 1.5)) * scale
    base = middle + frame @ (shift - np.array([0, 0, (length + wall) / 2]))
    start, width = rng.uniform(-180, 180), rng.uniform(50, 130)
    low = rng.uniform(0.05, 0.3) * length
    high = low + rng.uniform(0.4, 0.6) * length
    depth = rng.uniform(0.6, 1.0)
    infarct = core = None
    if infarction:
        infarct = Sector(start_deg=start, width_deg=width, depth=depth, reach_mm=(low, high))
        if rng.random() < 0.5:
            inset = (high - low) / 4
            core = Sector(
                start_deg=start + width / 4, width_deg=width / 2, depth=depth / 2, reach_mm=(low + inset, high - inset)
            )
    return Heart(
        base=base, frame=frame, radius_mm=radius, length_mm=length, wall_mm=wall, infarct=infarct, no_reflow=core
    )


def _surroundings(subject: Heart, grid: Grid, stack: FloatArray, scale: float) -> VoxelArray:
    """`(i, j, k)` float32 image without the left ventricle: chest wall, lung, right ventricle, liver."""
    image = np.full(grid.shape, AIR, dtype=np.float32)
    heart_middle = subject.base + subject.frame[:, 2] * (subject.length_mm + subject.wall_mm) / 2
    across = subject.frame[:, 0] * (subject.radius_mm + subject.wall_mm + 14 * scale)
    for centre, radii, value in (
        (heart_middle, (112, 96, 4000), FAT),
        (heart_middle, (100, 84, 4000), MUSCLE),
        (heart_middle, (84, 68, 4000), LUNG),
        (heart_middle + stack @ np.array([-40.0, 48.0, -30.0]) * scale, (48, 26, 60), MUSCLE),
        (heart_middle + across, (24, 24, 38), BLOOD),
    ):
        solid = ellipsoid((0, 0, 0), (radii[0] * scale, radii[1] * scale, radii[2] * scale))
        paint(image, solid.mapped(stack, centre), grid, value)
    return image


def _scanned(image: VoxelArray, noise: float, rng: np.random.Generator) -> VoxelArray:
    """The image blurred in plane, shaded by the coil, with Rician noise, as 12-bit integers."""
    blurred = ndimage.gaussian_filter(image, (0.6, 0.6, 0.0))
    ramps = [np.linspace(-1, 1, n, dtype=np.float32) * rng.uniform(-0.15, 0.15) for n in image.shape[:2]]
    shaded = blurred * (1 + ramps[0][:, None, None] + ramps[1][None, :, None])
    real, imaginary = (rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise) for _ in range(2))
    magnitude: VoxelArray = np.hypot(shaded + real, imaginary)
    return np.clip(np.rint(magnitude), 0, 4095).astype(np.int16)
