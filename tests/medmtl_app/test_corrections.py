"""Maps from the browser are taken only where they fit, and islands go as asked."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.errors import Code, UsageError
from medmtl.geometry.orientation import AxisTurn
from medmtl.task import tasks_from_mapping
from medmtl_app.corrections import pack, unpack, with_drawn, without_islands

SHAPE = (5, 4, 3)
TURN = AxisTurn(order=(2, 0, 1), flipped=(True, False, True))
TASKS = tasks_from_mapping(
    {
        "organs": {"kind": "segmentation", "labels": ["liver", "spleen"]},
        "zones": {"kind": "regions", "labels": ["inner", "outer"]},
        "diagnosis": {"kind": "classification", "classes": ["a", "b"]},
    }
)
MASKS = {"organs": np.zeros(SHAPE, np.uint8), "zones": np.zeros((2, *SHAPE), np.bool_)}


def sent(folder: Path, array: Any) -> Path:
    path = folder / "map.raw.gz"
    path.write_bytes(gzip.compress(np.asarray(array, np.uint8).tobytes(order="F")))
    return path


def test_a_map_comes_back_on_the_volumes_axes(tmp_path: Path) -> None:
    organs = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    found = with_drawn(MASKS, TASKS, {"organs": sent(tmp_path, TURN.apply(organs))}, TURN)
    assert np.array_equal(found["organs"], organs)
    assert found["zones"] is MASKS["zones"]


def test_a_region_is_drawn_alone(tmp_path: Path) -> None:
    outer = np.random.default_rng(2).integers(0, 2, SHAPE)
    found = with_drawn(MASKS, TASKS, {"zones.outer": sent(tmp_path, TURN.apply(outer))}, TURN)["zones"]
    assert np.array_equal(found[1], outer > 0)
    assert not found[0].any()
    assert not MASKS["zones"].any(), "the former version has changed"


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("organs", np.full((3, 5, 4), 3)),  # no such label
        ("organs", np.zeros((3, 5, 3))),  # another size
        ("organs", np.zeros((3, 5, 5))),
        ("organs.liver", np.zeros((3, 5, 4))),
        ("zones", np.zeros((3, 5, 4))),
        ("zones.middle", np.zeros((3, 5, 4))),
        ("zones.inner", np.full((3, 5, 4), 2)),
        ("diagnosis", np.zeros((3, 5, 4))),
        ("lungs", np.zeros((3, 5, 4))),
    ],
)
def test_a_map_that_does_not_fit_is_refused(name: str, array: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        with_drawn(MASKS, TASKS, {name: sent(tmp_path, array)}, TURN)
    assert refused.value.code is Code.BAD_OPTION


def test_what_is_no_gzip_is_refused_and_no_bomb_goes_off() -> None:
    for data in (b"", b"nothing", gzip.compress(bytes(1 << 24))):
        with pytest.raises(UsageError):
            unpack(data, 60)


def test_islands() -> None:
    mask = np.zeros((9, 9, 9), np.bool_)
    mask[0:3, 0:3, 0:3] = mask[5:7, 5:7, 5:7] = mask[8, 0, 8] = True
    largest = without_islands(mask, 0)
    assert largest.sum() == 27
    assert without_islands(mask, 8).sum() == 27 + 8
    assert np.array_equal(without_islands(mask, 1), mask)
    assert not without_islands(np.zeros_like(mask), 0).any()
    back = unpack(pack(largest), largest.size).reshape(largest.shape, order="F")
    assert np.array_equal(back > 0, largest)
