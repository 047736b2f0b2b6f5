"""Abdominal CT phantoms: a body, 14 organs and liver lesions, all ellipsoids that never overlap."""

import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.shapes import FloatArray, Shape, Spacing, VoxelArray
from sample_data.solids import Ellipsoid, Phantom, centred_grid, ellipsoid, paint, room, rotation

SIZE_MM = (370.0, 260.0, 324.0)

# name: centre and radii in LPS mm (x to the patient's left, y to the back, z to the head), HU.
# In the order of the labels in abdomen.yaml; pairwise disjoint at this size.
ORGANS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], int]] = {
    "spleen": ((100, 45, 75), (28, 38, 52), 110),
    "kidney_right": ((-62, 60, -25), (26, 27, 52), 180),
    "kidney_left": ((62, 60, -17), (26, 27, 52), 180),
    "gallbladder": ((-50, -62, 3), (15, 16, 24), 10),
    "oesophagus": ((8, 22, 120), (10, 9, 30), 70),
    "liver": ((-75, -15, 75), (70, 75, 62), 105),
    "stomach": ((55, -47, 70), (42, 37, 45), 30),
    "aorta": ((14, 60, 20), (11, 11, 125), 190),
    "inferior_vena_cava": ((-18, 54, 10), (12, 11, 120), 150),
    "portal_splenic_vein": ((14, 22, 28), (44, 8, 8), 165),
    "pancreas": ((15, 8, 0), (55, 14, 14), 85),
    "adrenal_right": ((-42, 62, 48), (8, 9, 14), 80),
    "adrenal_left": ((38, 60, 58), (8, 9, 14), 80),
    "urinary_bladder": ((0, -25, -118), (34, 30, 27), 5),
}
AIR_HU, FAT_HU, MUSCLE_HU, BONE_HU, LESION_HU = -1000, -100, 55, 400, 45
ENDLESS_MM = 4000.0  # the body and the spine leave the grid at both ends


def abdomen(
    *,
    seed: int,
    lesion: bool,
    shape: Shape = (128, 128, 64),
    spacing: Spacing = (3.0, 3.0, 5.0),
    noise_hu: float = 12.0,
) -> Phantom:
    """An abdominal CT in HU with organs and, where asked, one to three liver lesions.

    Sizes, position and pose follow `seed`. The anatomy shrinks as a whole where the grid has no room for a man.
    """
    rng = np.random.default_rng([seed, 1])
    scale = np.diag(rng.uniform(0.88, 1.0, 3)) * room(shape, spacing, SIZE_MM)
    pose = rotation((0.0, 0.0, float(rng.uniform(-4, 4)))) @ scale
    centre = rng.uniform(-60, 60, 3)
    grid = centred_grid(shape, spacing, centre)
    solids = {name: _varied(ellipsoid(at, radii), rng) for name, (at, radii, _) in ORGANS.items()}
    lesions = _lesions(solids["liver"], rng) if lesion else []
    solids = {name: solid.mapped(pose, centre) for name, solid in solids.items()}
    lesions = [solid.mapped(pose, centre) for solid in lesions]

    hu = _body(grid, pose, centre)
    organs = np.zeros(shape, dtype=np.uint8)
    marked = np.zeros(shape, dtype=np.uint8)
    for value, (name, solid) in enumerate(solids.items(), start=1):
        paint(organs, solid, grid, value)
        paint(hu, solid, grid, ORGANS[name][2])
    for solid in lesions:
        paint(marked, solid, grid, 1)
        paint(hu, solid, grid, LESION_HU)
    ml = {f"organs.{name}": solid.ml for name, solid in solids.items()}
    ml["lesions.liver_lesion"] = sum(solid.ml for solid in lesions)
    return Phantom(
        array=_scanned(hu, noise_hu, rng),
        grid=grid,
        modality="CT",
        maps={"lesions": marked, "organs": organs},
        diagnosis="lesion" if lesion else "no_lesion",
        ml=ml,
    )


def _varied(solid: Ellipsoid, rng: np.random.Generator) -> Ellipsoid:
    direction = rng.normal(size=3)
    towards = direction / np.linalg.norm(direction) * rng.uniform(0, 1)
    return solid.shrunk(float(rng.uniform(0.85, 1.0)), towards)


def _lesions(liver: Ellipsoid, rng: np.random.Generator) -> list[Ellipsoid]:
    """One to three ellipsoids inside `liver`, apart from each other."""
    wanted = int(rng.integers(1, 4))
    reaches: list[float] = []
    found: list[Ellipsoid] = []
    inner = float(np.linalg.svd(liver.axes, compute_uv=False).min())
    while len(found) < wanted:
        reach = float(rng.uniform(7, 16))
        unit = rng.uniform(-1, 1, 3)
        if np.linalg.norm(unit) + reach / inner > 1:
            continue  # a ball of this reach would leave the liver
        at = liver.centre + liver.axes @ unit
        clear = all(np.linalg.norm(at - o.centre) > reach + r for o, r in zip(found, reaches, strict=True))
        if clear:
            found.append(ellipsoid((at[0], at[1], at[2]), (reach, reach * rng.uniform(0.7, 1), reach)))
            reaches.append(reach)
    return found


def _body(grid: Grid, pose: FloatArray, centre: FloatArray) -> VoxelArray:
    """`(i, j, k)` float32 HU of the body without organs: skin fat, muscle, inner fat, spine."""
    hu = np.full(grid.shape, AIR_HU, dtype=np.float32)
    for radii, at, value in (
        ((168.0, 118.0), (0.0, 0.0), FAT_HU),
        ((156.0, 106.0), (0.0, 0.0), MUSCLE_HU),
        ((149.0, 99.0), (0.0, 0.0), FAT_HU),
        ((19.0, 17.0), (0.0, 88.0), BONE_HU),
    ):
        solid = ellipsoid((at[0], at[1], 0.0), (radii[0], radii[1], ENDLESS_MM))
        paint(hu, solid.mapped(pose, centre), grid, value)
    return hu


def _scanned(hu: VoxelArray, noise_hu: float, rng: np.random.Generator) -> VoxelArray:
    """HU with noise, rounded, in the range of a scanner."""
    noisy = hu + rng.standard_normal(hu.shape, dtype=np.float32) * np.float32(noise_hu)
    rounded: VoxelArray = np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
    return rounded
