"""Planes become the affine of PS3.3 C.7.6.2, or a named refusal."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.errors import Code, StudyError
from medmtl.reading.dicom_geometry import Planes, check_planes, places, stack


def planes(positions: Any, orientation: Any = (1, 0, 0, 0, 1, 0), spacing: Any = (2.0, 3.0)) -> Planes:
    count = len(positions)
    return Planes(
        positions=np.array(positions, dtype=float),
        orientations=np.tile(np.array(orientation, dtype=float), (count, 1)),
        pixel_spacings=np.tile(np.array(spacing, dtype=float), (count, 1)),
        rows=101,
        columns=51,
    )


def along_z(*heights: float) -> list[list[float]]:
    return [[-10.0, -20.0, height] for height in heights]


def refusal(of: Planes) -> Code:
    with pytest.raises(StudyError) as caught:
        stack(of)
    return caught.value.code


def test_the_affine_of_a_plain_stack() -> None:
    found = stack(planes(along_z(10, 0, 5)))
    assert found.order == (1, 2, 0)
    expected = [[3, 0, 0, -10], [0, 2, 0, -20], [0, 0, 5, 0], [0, 0, 0, 1]]
    assert np.array_equal(found.affine, expected)
    assert found.deviation_mm == 0


@given(st.tuples(*[st.floats(-3.1, 3.1)] * 3), st.floats(0.4, 12), st.permutations(range(7)))
def test_every_corner_of_oblique_stacks_lies_at_its_header_position(angles: Any, step: float, order: Any) -> None:
    a, b, c = angles
    turn = (
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    )
    orientation = np.concatenate([turn[:, 0], turn[:, 1]])
    given_planes = planes([turn[:, 2] * step * index + [5, -7, 11] for index in order], orientation, (0.7, 0.9))
    check_planes(given_planes)
    found = stack(given_planes)
    assert np.linalg.det(found.affine[:3, :3]) > 0
    corners = given_planes.corners()[list(found.order)]
    for k in range(7):
        for corner, (i, j) in zip(corners[k], [(0, 0), (50, 0), (0, 100), (50, 100)], strict=True):
            assert found.affine @ [i, j, k, 1] == pytest.approx([*corner, 1], abs=1e-6)


def test_steps_that_add_up_are_uneven_and_jitter_is_not() -> None:
    jitter = [0, 5.008, 9.992, 15.008, 19.992, 25]
    found = stack(planes(along_z(*jitter)))
    assert found.deviation_mm < 0.05
    assert found.places == ()
    creeping = np.cumsum([0] + [5 + 0.01 * index for index in range(20)])  # every step within 0.2 mm of the mean
    assert_places(planes(along_z(*creeping)))


def assert_places(given_planes: Planes) -> Any:
    """Every corner of every slice lies on the even planes' affine at the slice's place."""
    found = stack(given_planes)
    corners = given_planes.corners()[list(found.order)]
    assert (found.places[0], found.places[-1]) == (0.0, pytest.approx(found.depth - 1))
    for place, there in zip(found.places, corners, strict=True):
        for corner, (i, j) in zip(there, [(0, 0), (50, 0), (0, 100), (50, 100)], strict=True):
            assert found.affine @ [i, j, place, 1] == pytest.approx([*corner, 1], abs=1e-6)
    return found


def test_uneven_slices_get_places_between_even_planes() -> None:
    found = assert_places(planes(along_z(0, 3, 6, 11, 16)))
    assert found.depth == 7  # 16 mm in steps of 3 mm at most
    assert found.affine[2, 2] == pytest.approx(16 / 6)
    assert found.places == pytest.approx((0, 1.125, 2.25, 4.125, 6))
    leaning = assert_places(planes([[0, 0.3 * z, z] for z in (0, 4.22, 8.44, 9.58, 16.96, 24.34)]))
    assert leaning.tilt_deg == pytest.approx(np.degrees(np.arctan(0.3)))
    assert np.diff(leaning.places).min() > 0.99  # no two slices share a plane


def test_uneven_slices_off_one_line_are_refused() -> None:
    assert refusal(planes([[0, 0, 0], [0.2, 0, 3], [0, 0, 6], [0, 0, 11], [0, 0, 16]])) == Code.UNEVEN_SLICES


@pytest.mark.parametrize(
    ("heights", "code"),
    [
        ((0, 5, 15, 20), Code.MISSING_SLICE),
        ((0, 5, 20, 25), Code.MISSING_SLICE),
        ((0, 5.2, 10, 19.3, 24, 29), Code.MISSING_SLICE),
        ((0, 5, 8, 11, 23), Code.MISSING_SLICE),
        ((0, 0.1, 5.23, 10.3, 14), Code.UNEVEN_SLICES),
        ((0, 3, 6, 6.11, 9, 12, 15), Code.UNEVEN_SLICES),
        ((0,), Code.SINGLE_SLICE),
    ],
)
def test_gaps_have_names(heights: tuple[float, ...], code: Code) -> None:
    assert refusal(planes(along_z(*heights))) == code


def test_a_drift_is_a_tilt_from_a_twentieth_of_a_millimetre_on() -> None:
    straight = stack(planes([[0.015 * k, 0, 5 * k] for k in range(4)]))
    assert straight.deviation_mm < 1e-9
    assert straight.tilt_deg == 0.0
    tilted = stack(planes([[0, 5 * np.tan(np.radians(18.5)) * k, 5 * k] for k in range(4)]))
    assert tilted.tilt_deg == pytest.approx(18.5)
    assert tilted.deviation_mm < 1e-9


def test_two_slices_at_one_height_side_by_side_are_refused() -> None:
    assert refusal(planes([[0, 0, 0], [200, 0, 0], [0, 0, 5], [200, 0, 5]])) == Code.UNEVEN_SLICES


@pytest.mark.parametrize(
    ("orientation", "code"),
    [
        ((2, 0, 0, 0, 2, 0), Code.BAD_GEOMETRY),
        ((0, 0, 0, 0, 0, 0), Code.BAD_GEOMETRY),
        ((1, 0, 0, 0.3, 0.954, 0), Code.BAD_GEOMETRY),
    ],
)
def test_directions_must_be_perpendicular_unit_vectors(orientation: Any, code: Code) -> None:
    with pytest.raises(StudyError) as caught:
        check_planes(planes(along_z(0, 5), orientation))
    assert caught.value.code == code


def test_planes_at_one_place_are_found_together() -> None:
    assert places(planes(along_z(5, 0, 5.005, 10, 0))) == ((1, 4), (0, 2), (3,))
