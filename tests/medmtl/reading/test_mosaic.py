"""Mosaics become the slices they are tiled from, where the protocol and the place of the picture agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medmtl.errors import Code, StudyError
from medmtl.outputs.dicom_source import dicom_obstacle
from medmtl.reading.any_volume import discover, each_series, read_case
from medmtl.reading.mosaic import cut, tile_shape
from medmtl.volume import Volume

NORMAL = b"sSliceArray.asSlice[%d].sPosition.dTra\t = \t"


@pytest.fixture
def pictures(shared: Path) -> list[Any]:
    return [pydicom.dcmread(path) for path in sorted((shared / "dicom/mosaic_siemens_2").iterdir())]


def volumes(folder: Path) -> list[Volume]:
    return [read_case(one)[0] for case in discover(folder) for one in each_series(case)]


def stored(folder: Path, picture: Any, protocol: bytes | None = None) -> Path:
    """The picture alone, with another protocol in its private header."""
    if protocol is not None:
        picture.private_block(0x0029, "SIEMENS CSA HEADER")[0x20].value = protocol + b" " * (len(protocol) % 2)
    folder.mkdir()
    picture.save_as(folder / "picture.dcm")
    return folder


def protocol_of(picture: Any) -> bytes:
    value: bytes = picture.private_block(0x0029, "SIEMENS CSA HEADER")[0x20].value
    return value


def test_each_time_point_is_a_volume_of_its_tiles(shared: Path, pictures: list[Any]) -> None:
    truth = json.loads((shared / "dicom/truth.json").read_text())["mosaic_siemens_2"]
    found = volumes(shared / "dicom/mosaic_siemens_2")
    assert [volume.grid.shape for volume in found] == [(64, 64, 36)] * 2
    for picture, volume in zip(pictures, found, strict=True):
        for k in range(36):
            tile = picture.pixel_array[k // 6 * 64 : k // 6 * 64 + 64, k % 6 * 64 : k % 6 * 64 + 64]
            assert np.array_equal(volume.array[:, :, k], tile.T)
        # the middle of the picture is the middle of its first tile
        spacing = np.array([*truth["spacing_ij"], 0])
        axes = np.stack([truth["dir_i"], truth["dir_j"], truth["normal"]], axis=1)
        middle = np.array(truth["origin"]) + axes @ (spacing * 192)
        assert volume.grid.to_lps(np.array([32.0, 32.0, 0.0])) == pytest.approx(middle, abs=0.1)
        step = volume.grid.to_lps(np.array([32.0, 32.0, 1.0])) - middle
        assert step == pytest.approx(3.6 * np.array(truth["normal"]), abs=0.1)


def test_the_middles_are_those_of_the_protocol(shared: Path, pictures: list[Any]) -> None:
    volume = volumes(shared / "dicom/mosaic_siemens_2")[0]
    text = protocol_of(pictures[0])
    for k in range(36):
        start = text.index(NORMAL % k) + len(NORMAL % k)
        height = float(text[start : text.index(b"\n", start)])
        assert volume.grid.to_lps(np.array([32.0, 32.0, k]))[2] == pytest.approx(height, abs=0.001)


def test_slices_numbered_from_the_other_end_follow_the_picture(tmp_path: Path, pictures: list[Any]) -> None:
    picture = pictures[0]
    text = protocol_of(picture)
    for k in range(36):
        text = text.replace(b"asSlice[%d]." % k, b"asSlice<%d>." % (35 - k))
    text = text.replace(b"asSlice<", b"asSlice[").replace(b">.sPosition", b"].sPosition")
    straight = volumes(stored(tmp_path / "straight", picture))[0]
    turned = volumes(stored(tmp_path / "turned", picture, text))[0]
    assert turned.grid.same_as(straight.grid, 0.01)
    assert np.array_equal(turned.array, straight.array)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"asSlice[7].sPosition.dTra\t = \t-", b"asSlice[7].sPosition.dTra\t = \t"),  # a slice elsewhere
        (b"asSlice[0].sPosition", b"asSlice[0].xPosition"),  # a slice without a place
        (b"### ASCCONV BEGIN", b"### ASCCONV begin"),  # no protocol
        (b"sPosition.dCor\t = \t-", b"sPosition.dCor\t = \t1"),  # all of it elsewhere
    ],
)
def test_private_headers_that_do_not_fit_refuse_it(
    tmp_path: Path, pictures: list[Any], before: bytes, after: bytes
) -> None:
    text = protocol_of(pictures[0])
    assert before in text
    folder = stored(tmp_path / "in", pictures[0], text.replace(before, after))
    with pytest.raises(StudyError) as caught:
        volumes(folder)
    assert caught.value.code == Code.MOSAIC


def test_a_mosaic_without_private_headers_is_refused(tmp_path: Path, pictures: list[Any]) -> None:
    pictures[0].remove_private_tags()
    with pytest.raises(StudyError) as caught:
        volumes(stored(tmp_path / "in", pictures[0]))
    assert caught.value.code == Code.MOSAIC


def test_no_dicom_object_refers_to_tiles(shared: Path) -> None:
    obstacle = dicom_obstacle(volumes(shared / "dicom/mosaic_siemens_2")[0])
    assert obstacle is not None
    assert obstacle.code == Code.NO_DICOM_OUTPUT


def test_tiles_fill_the_smallest_square() -> None:
    assert tile_shape(384, 384, 36) == (64, 64)
    assert tile_shape(384, 384, 26) == (64, 64)
    assert tile_shape(256, 512, 16) == (64, 128)
    with pytest.raises(StudyError):
        tile_shape(384, 384, 17)
    picture = np.arange(6 * 4).reshape(6, 4)
    assert cut(picture, (3, 3, 2)).tolist() == [
        [[0, 1], [4, 5], [8, 9]],
        [[2, 3], [6, 7], [10, 11]],
        [[12, 13], [16, 17], [20, 21]],
    ]
