import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.geometry.grid import Grid
from medmtl.outputs.picture_plane import letters, native_axis, plane_across


def grid_of(order: list[int], signs: list[int], spacing: tuple[float, float, float] = (1.0, 1.0, 5.0)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (lps, sign, step) in enumerate(zip(order, signs, spacing, strict=True)):
        affine[lps, axis] = sign * step
    return Grid(shape=(6, 7, 8), affine=affine)


@given(st.permutations([0, 1, 2]), st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3), st.integers(0, 2))
def test_any_storage_order_is_shown_the_radiological_way(order: list[int], signs: list[int], axis: int) -> None:
    grid = grid_of(order, signs)
    plane = plane_across(grid, axis)
    expected = {
        2: ("axial", ("R", "L", "A", "P")),
        1: ("coronal", ("R", "L", "H", "F")),
        0: ("sagittal", ("A", "P", "H", "F")),
    }
    assert (plane.name, plane.letters) == expected[order[axis]]
    # the pixels agree with the letters: paint each voxel with its LPS place and look along the screen
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1).astype(float)
    places = grid.to_lps(index)
    for lps in range(3):
        cut = np.asarray(plane.cut(places[..., lps], 2))
        assert cut.shape == (grid.shape[plane.down], grid.shape[plane.across])
        for letter, step in ((plane.letters[1], cut[:, -1] - cut[:, 0]), (plane.letters[3], cut[-1] - cut[0])):
            end, sign = {"L": (0, 1), "P": (1, 1), "H": (2, 1), "F": (2, -1)}[letter]
            assert (np.sign(step) == (sign if end == lps else 0)).all()


def test_oblique_directions_get_more_letters() -> None:
    assert letters(np.array([0.8, -0.6, 0.0])) == "LA"
    assert letters(np.array([-0.1, 0.05, -0.99])) == "F"


@pytest.mark.parametrize(("spacing", "axis"), [((1.0, 1.0, 5.0), 2), ((5.0, 1.0, 1.0), 0), ((1.0, 1.0, 1.0), 2)])
def test_slices_are_shown_as_they_were_taken(spacing: tuple[float, float, float], axis: int) -> None:
    assert native_axis(grid_of([0, 1, 2], [1, 1, 1], spacing)) == axis
