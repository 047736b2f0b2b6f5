from dataclasses import replace

import numpy as np
import pytest

from medmtl.errors import Code, StudyError
from medmtl.geometry.grid import Grid
from medmtl.preparation.plan import Normalisation, Orientation, Plan, Scheme
from medmtl.preparation.prepare import prepare
from medmtl.volume import Volume
from tests.tiny import CUBE, STACK

AS_SCANNED = replace(STACK, spacing=(None, None, None))


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (2.0, 3.0, 8.0)) -> Volume:
    grid = Grid(shape=array.shape, affine=np.diag([*spacing, 1.0]))
    return Volume(array=array, grid=grid, modality="MR", content_hash="0" * 64)


def noise(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(300, 40, shape).astype(np.float32)


@pytest.mark.parametrize("spacing", [(2.0, 3.0, 8.0), (8.0, 3.0, 2.0), (2.0, 8.0, 3.0)])
def test_what_is_not_resampled_comes_back_bit_for_bit(spacing: tuple[float, float, float]) -> None:
    prepared = prepare((volume(noise((5, 6, 7)), spacing),), AS_SCANNED)
    probability = np.random.default_rng(1).random(prepared.grid.shape).astype(np.float32)
    back = prepared.back(probability)
    assert back.shape == (5, 6, 7)
    assert np.array_equal(prepared.turn.apply(back), probability)
    labels = np.random.default_rng(2).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    assert np.array_equal(prepared.turn.undo(prepared.labels(labels)), labels)


@pytest.mark.parametrize("plan", [STACK, replace(CUBE, spacing=(1.5, 1.5, 4.0))])
def test_a_structure_is_where_it_was_after_the_way_there_and_back(plan: Plan) -> None:
    labels = np.zeros((40, 36, 12), np.uint8)
    labels[6:22, 20:32, 3:8] = 1
    affine = np.array([[0, -1.4, 0, 30.0], [0, 0, -7.0, 5.0], [1.3, 0, 0, -80.0], [0, 0, 0, 1]])
    study = Volume(
        array=noise(labels.shape), grid=Grid(shape=labels.shape, affine=affine), modality="MR", content_hash=""
    )
    prepared = prepare((study,), replace(plan, spacing=tuple(s and s / 3 for s in plan.spacing)))  # type: ignore[arg-type]
    there = prepared.labels(labels)
    assert there.shape == prepared.grid.shape == prepared.image.shape[1:]
    centre = prepared.grid.to_lps(np.argwhere(there == 1).mean(axis=0))
    assert np.allclose(centre, study.grid.to_lps(np.argwhere(labels == 1).mean(axis=0)), atol=0.5)
    back = prepared.back((there == 1).astype(np.float32)) >= 0.5
    assert float((back & (labels == 1)).sum() * 2 / (back.sum() + (labels == 1).sum())) > 0.9


def test_lps_plan_turns_the_image_upright() -> None:
    array = noise((4, 4, 4))
    array[0, 0, 0] = 5000.0  # the first voxel of a RAS array lies right and in front
    study = Volume(
        array=array, grid=Grid(shape=(4, 4, 4), affine=np.diag([-6.0, -6.0, 6.0, 1.0])), modality="MR", content_hash=""
    )
    rule = Normalisation(scheme=Scheme.ZSCORE, low=0.0, high=100.0)
    prepared = prepare((study,), replace(CUBE, normalisation=(rule,)))
    assert np.unravel_index(prepared.image[0].argmax(), (4, 4, 4)) == (3, 3, 0)


def test_normalised_voxels_have_mean_zero_and_spread_one_whatever_the_scale() -> None:
    plain = prepare((volume(noise((9, 9, 9))),), AS_SCANNED).image
    scaled = prepare((volume(noise((9, 9, 9)) * 7.5 - 100),), AS_SCANNED).image
    assert abs(float(plain.mean())) < 1e-5
    assert float(plain.std()) == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(plain, scaled, atol=1e-4)


def test_padding_counts_nowhere_and_is_zero() -> None:
    array = noise((10, 10, 10))
    alone = prepare((volume(array[3:]),), AS_SCANNED).image[0]
    padded = array.copy()
    padded[:3] = 0.0
    image = prepare((volume(padded),), AS_SCANNED).image[0]
    assert np.array_equal(image[:3], np.zeros((3, 10, 10)))
    assert np.allclose(image[3:], alone, atol=1e-5)


def test_a_single_dark_voxel_is_no_padding() -> None:
    array = noise((10, 10, 10))
    array[0, 0, 0] = 0.0
    assert prepare((volume(array),), AS_SCANNED).image[0, 0, 0, 0] < -1.0


def test_hu_are_clipped_and_scaled_the_same_in_every_study() -> None:
    rule = Normalisation(scheme=Scheme.CLIP, low=-100.0, high=200.0, mean=50.0, spread=10.0)
    array = np.array([-2000, -100, 50, 60, 200, 3000], np.int16).reshape(1, 2, 3)
    image = prepare((volume(array),), replace(AS_SCANNED, normalisation=(rule,))).image
    assert image.ravel().tolist() == [-15.0, -15.0, 0.0, 1.0, 15.0, 15.0]
    assert image.dtype == np.float32


@pytest.mark.parametrize("levels", [(7,), (0, 7)])
def test_an_image_of_one_value_is_refused(levels: tuple[int, ...]) -> None:
    array = np.full((6, 6, 6), levels[-1], np.int16)
    array[: len(levels) - 1] = levels[0]  # padding beside one value
    with pytest.raises(StudyError) as caught:
        prepare((volume(array),), STACK)
    assert caught.value.code is Code.CONSTANT_IMAGE


def test_channels_on_different_grids_are_refused() -> None:
    plan = replace(STACK, normalisation=STACK.normalisation * 2)
    one = volume(noise((6, 6, 6)))
    assert prepare((one, volume(noise((6, 6, 6), 1))), plan).image.shape[0] == 2
    with pytest.raises(StudyError) as caught:
        prepare((one, volume(noise((6, 6, 6)), (2.0, 3.0, 8.1))), plan)
    assert caught.value.code is Code.GRID_MISMATCH


def test_the_slice_axis_of_a_stack_is_never_resampled() -> None:
    study = volume(noise((30, 30, 5)), (2.0, 2.0, 10.0))
    prepared = prepare((study,), STACK)
    assert prepared.grid.shape == (10, 10, 5)
    assert Orientation.ACQUIRED is STACK.orientation


def test_padding_by_edges_continues_the_image_and_comes_off_again() -> None:
    plan = replace(AS_SCANNED, edge_padding=True, patch=(48, 32, 8))
    given = volume(noise((40, 36, 5)), (2.0, 2.0, 8.0))
    prepared, bare = prepare((given,), plan), prepare((given,), replace(plan, edge_padding=False))
    assert prepared.margins == ((4, 4), (0, 0), (1, 2))
    assert prepared.image.shape == (1, 48, 36, 8)
    inner = prepared.image[:, 4:-4, :, 1:-2]
    assert np.array_equal(inner, bare.image)
    assert np.array_equal(prepared.image[:, 0], prepared.image[:, 4])
    assert np.array_equal(prepared.image[..., -1], prepared.image[..., -3])
    assert prepared.grid.to_lps(np.array([4.0, 0.0, 1.0])) == pytest.approx(bare.grid.to_lps(np.zeros(3)))
    assert np.array_equal(prepared.back(prepared.image[0]), bare.back(bare.image[0]))
    labels = np.ones((40, 36, 5), np.uint8)
    there = prepared.labels(labels)
    assert there.shape == (48, 36, 8)
    assert (there == 1).sum() == labels.size
    assert (there == 255).sum() == there.size - labels.size


@pytest.mark.parametrize("degrees", [18.5, -16.5])
@pytest.mark.parametrize("plan", [STACK, CUBE])
def test_a_tilted_study_is_prepared_upright_and_comes_back_on_its_slices(plan: Plan, degrees: float) -> None:
    """A ball in the patient looks like a ball to the network, and lies where it lay when it is back."""
    turn = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, 0] = [1.5, 0, 0]
    affine[:3, 1] = [0, 1.5 * np.cos(turn), -1.5 * np.sin(turn)]
    affine[:3, 2] = [0, 0, 3.0]
    affine[:3, 3] = [-60, -40, 700]
    grid = Grid(shape=(64, 60, 24), affine=affine)
    points = grid.to_lps(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).astype(float))
    middle = grid.to_lps(np.array([32.0, 30.0, 12.0]))
    ball = (np.linalg.norm(points - middle, axis=-1) < 22).astype(np.uint8)
    study = Volume(array=noise(grid.shape) * (1 + ball), grid=grid, modality="MR", content_hash="")
    fine = replace(plan, spacing=tuple(s and s / 4 for s in plan.spacing))  # type: ignore[arg-type]
    prepared = prepare((study,), fine)
    assert prepared.grid.shear_deg < 0.01
    assert prepared.image.shape[1:] == prepared.grid.shape
    there = np.argwhere(prepared.labels(ball) == 1)
    placed = prepared.grid.to_lps(there.astype(float))
    assert np.abs(placed.mean(axis=0) - middle).max() < 0.3
    assert np.linalg.norm(placed - middle, axis=1).max() < 22 + 3.0  # a sheared ball would reach 26.9 mm
    bright = prepared.grid.to_lps(np.argwhere(prepared.image[0] > 2.0).astype(float))
    assert np.linalg.norm(bright.mean(axis=0) - middle) < 1.5
    back = prepared.back((prepared.labels(ball) == 1).astype(np.float32))
    assert back.shape == grid.shape
    found = back >= 0.5
    assert float((found & (ball == 1)).sum() * 2 / (found.sum() + ball.sum())) > 0.95
