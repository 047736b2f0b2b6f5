import numpy as np
import pytest

from medmtl_training.evaluation.surface import surface_elements, surface_scores


def sphere(radius: float, centre: tuple[float, float, float], shape: tuple[int, int, int] = (48, 48, 48)) -> np.ndarray:
    grid = np.indices(shape)
    return sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) <= radius**2


IDENTITY = np.eye(4)
MIDDLE = (24.0, 24.0, 24.0)


def test_area_and_centres_of_a_box() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[1:4, 2:4, 0:1] = True  # 3 x 2 x 1 voxels, one face on the border of the grid
    spacing = np.array([2.0, 3.0, 10.0])
    centres, areas = surface_elements(mask, np.diag([*spacing, 1.0]))
    a, b, c = np.array([3, 2, 1]) * spacing
    assert areas.sum() == pytest.approx(2 * (a * b + a * c + b * c))
    assert centres.min(axis=0) == pytest.approx((np.array([1, 2, 0]) - 0.5) * spacing)
    assert centres.max(axis=0) == pytest.approx((np.array([4, 4, 1]) - 0.5) * spacing)


def test_equal_masks_lie_on_each_other() -> None:
    scores = surface_scores(sphere(9, MIDDLE), sphere(9, MIDDLE), IDENTITY, 0.0)
    assert (scores.hd95_mm, scores.nsd) == (0.0, 1.0)


@pytest.mark.parametrize("gap", [2, 5])
def test_concentric_spheres_are_their_radii_apart(gap: int) -> None:
    spacing = 0.8
    affine = np.diag([spacing, spacing, spacing, 1.0])
    scores = surface_scores(sphere(10 + gap, MIDDLE), sphere(10, MIDDLE), affine, gap * spacing + spacing)
    assert scores.hd95_mm == pytest.approx(gap * spacing, abs=spacing)
    assert scores.nsd == pytest.approx(1.0, abs=0.02)
    far = surface_scores(sphere(10 + gap, MIDDLE), sphere(10, MIDDLE), affine, (gap - 1) * spacing)
    assert far.nsd == pytest.approx(0.0, abs=0.1)


def test_shifted_sphere_has_the_analytic_surface_dice() -> None:
    radius, shift, tolerance = 17.0, 7.0, 3.0
    cosines = np.linspace(-1, 1, 20001)  # uniform on a sphere (Archimedes)
    distance = np.abs(np.sqrt(radius**2 + shift**2 + 2 * radius * shift * cosines) - radius)
    scores = surface_scores(sphere(radius, (20.0, 24.0, 24.0)), sphere(radius, (27.0, 24.0, 24.0)), IDENTITY, tolerance)
    assert scores.nsd == pytest.approx((distance <= tolerance).mean(), abs=0.04)
    assert scores.hd95_mm == pytest.approx(np.percentile(distance, 95), abs=0.6)


def test_shifted_slab_is_the_shift_apart() -> None:
    truth = np.zeros((30, 30, 12), dtype=bool)
    truth[2:28, 2:28, 2:5] = True
    affine = np.diag([1.0, 1.0, 8.0, 1.0])
    scores = surface_scores(np.roll(truth, 2, axis=2), truth, affine, 1.0)
    assert scores.hd95_mm == pytest.approx(16.0)
    side = 26.0
    walls, caps = 4 * side * 3 * 8.0, 2 * side**2
    # a wall's third slice is the other's first; caps and the two walls beside it lie 8 mm and more away
    assert scores.nsd == pytest.approx((walls / 3) / (walls + caps), abs=1e-9)


def test_a_rotated_grid_gives_the_same_distances() -> None:
    angle = 0.4
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scale = np.diag([1.0, 1.5, 3.0, 1.0])
    first, second = sphere(9, MIDDLE), sphere(8, (25.0, 24.0, 22.0))
    straight = surface_scores(first, second, scale, 2.0)
    turned = surface_scores(first, second, turn @ scale, 2.0)
    assert turned.hd95_mm == pytest.approx(straight.hd95_mm)
    assert turned.nsd == pytest.approx(straight.nsd)


@pytest.mark.filterwarnings("ignore")  # the oracle's own warnings are not ours
def test_agrees_with_monai_on_isotropic_spheres() -> None:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    spacing = 0.9
    affine = np.diag([spacing, spacing, spacing, 1.0])
    truth = sphere(12, MIDDLE)
    cases = (
        (sphere(12, (27.0, 24.0, 24.0)), 1.5),
        (sphere(15, MIDDLE), 3.4),  # a tolerance on the gap itself would compare two staircases
        (sphere(9, (24.0, 28.0, 23.0)), 2.5),
    )
    for found, tolerance in cases:
        ours = surface_scores(found, truth, affine, tolerance)
        one = [torch.from_numpy(mask)[None, None].float() for mask in (found, truth)]
        hd95 = compute_hausdorff_distance(*one, include_background=True, percentile=95, spacing=spacing)
        nsd = compute_surface_dice(*one, class_thresholds=[tolerance], include_background=True, spacing=spacing)
        assert ours.hd95_mm == pytest.approx(float(hd95), abs=spacing)
        assert ours.nsd == pytest.approx(float(nsd), abs=0.08)


def test_empty_masks() -> None:
    nothing, something = np.zeros((48, 48, 48), dtype=bool), sphere(5, MIDDLE)
    missed = surface_scores(nothing, something, IDENTITY, 2.0)
    assert (missed.hd95_mm, missed.nsd) == (None, 0.0)
    for found in (nothing, something):
        absent = surface_scores(found, nothing, IDENTITY, 2.0)
        assert (absent.hd95_mm, absent.nsd) == (None, None)
