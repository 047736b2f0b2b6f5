import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medmtl.outputs.contours import filled, outlines
from medmtl.shapes import FloatArray, Mask


def area(polygon: FloatArray) -> float:
    following = np.roll(polygon, -1, axis=0)
    return float((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum() / 2)


def winding(polygon: FloatArray, shape: tuple[int, int]) -> Mask:
    """Pixels round which the outline turns, by summed angles: another rule and another method than `filled`."""
    centres = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), axis=-1).reshape(-1, 2)
    here = polygon[None] - centres[:, None]
    there = np.roll(here, -1, axis=1)
    cross = here[..., 0] * there[..., 1] - here[..., 1] * there[..., 0]
    turned = np.arctan2(cross, (here * there).sum(axis=-1)).sum(axis=1) / (2 * np.pi)
    assert np.allclose(turned, np.rint(turned), atol=1e-6)
    assert set(np.rint(turned)) <= {0, 1}
    return np.asarray(np.rint(turned) == 1).reshape(shape)


@given(st.integers(0, 10_000), st.integers(1, 24), st.integers(1, 24), st.floats(0.05, 0.95), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_centre_stays_on_its_side(seed: int, rows: int, columns: int, share: float, smooth: bool) -> None:
    noise = np.random.default_rng(seed).random((rows, columns))
    mask = ndimage.gaussian_filter(noise, 1.5) > 0.5 if smooth else noise < share
    found = outlines(mask)
    assert len(found) == ndimage.label(mask)[1]
    assert np.array_equal(filled(found, mask.shape), mask)
    together = np.zeros(mask.shape, dtype=int)
    for polygon in found:
        together += winding(polygon, mask.shape)
    assert np.array_equal(together, mask.astype(int))  # pieces neither overlap nor fill holes, islands included


def test_a_disc_is_smooth_and_keeps_its_area() -> None:
    i, j = np.mgrid[:70, :64]
    mask = (i - 33.2) ** 2 + (j - 30.7) ** 2 < 22**2
    (polygon,) = outlines(mask)
    assert area(polygon) == pytest.approx(mask.sum(), rel=1e-3)
    radius = np.hypot(polygon[:, 0] - 33.2, polygon[:, 1] - 30.7)
    assert np.abs(radius - 22).max() < 0.5
    steps = np.roll(polygon, -1, axis=0) - polygon
    turn = np.degrees(np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))))
    assert np.abs(turn).max() < 30  # pixel borders turn by 90 degrees


def test_a_ring_with_an_island_is_two_outlines_with_one_keyhole() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[4:24, 6:26] = True
    mask[8:20, 10:22] = False
    mask[12:15, 14:18] = True
    found = outlines(mask)
    assert len(found) == 2
    assert sum(area(polygon) for polygon in found) == pytest.approx(mask.sum(), rel=0.01)
    repeated = [len(polygon) - len(np.unique(polygon, axis=0)) for polygon in found]
    assert sorted(repeated) == [0, 2]  # the two ends of the channel


def test_small_and_empty_masks() -> None:
    assert outlines(np.zeros((5, 4), dtype=bool)) == ()
    one = np.zeros((5, 4), dtype=bool)
    one[0, 3] = True
    (polygon,) = outlines(one)
    assert sorted(map(tuple, polygon.tolist())) == [(-0.5, 2.5), (-0.5, 3.5), (0.5, 2.5), (0.5, 3.5)]
