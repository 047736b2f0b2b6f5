from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import AxisTurn
from medmtl.inference import label_maps
from medmtl.inference.label_maps import LabelMap
from medmtl.inference.predictor import Sweep
from medmtl.preparation.prepare import Prepared
from medmtl.shapes import ProbabilityArray
from medmtl.task import Task, tasks_from_mapping

ORGANS, PARTS = tasks_from_mapping(
    {
        "organs": {"kind": "segmentation", "labels": ["one", "two", "three", "four"]},
        "parts": {"kind": "regions", "labels": ["a", "b"]},
    }
)
WORKING = (13, 10, 17)
BOX = ((2, 11), (0, 10), (3, 17))
TURNS = [
    AxisTurn(order=(0, 1, 2), flipped=(False, False, False)),
    AxisTurn(order=(2, 0, 1), flipped=(True, False, True)),
]
SOURCES = [(13, 10, 17), (31, 19, 12), (9, 10, 40)]


def case(source: tuple[int, int, int], turn: AxisTurn) -> Prepared:
    """A case whose working axes have `source` voxels at full resolution."""
    full = [0, 0, 0]
    for new, old in enumerate(turn.order):
        full[old] = source[new]
    grid = Grid(shape=WORKING, affine=np.eye(4))
    place = Grid(shape=(full[0], full[1], full[2]), affine=np.eye(4))
    return Prepared(image=np.zeros((1, *WORKING), np.float32), grid=grid, source=place, turn=turn)


def probabilities(task: Task, seed: int) -> ProbabilityArray:
    """Smooth structures in the box, background outside."""
    rng = np.random.default_rng(seed)
    values = np.stack([ndimage.gaussian_filter(rng.normal(size=WORKING), 1.6) for _ in range(task.outputs)])
    if task is PARTS:
        found = 1 / (1 + np.exp(-40 * values))
    else:
        found = np.exp(25 * values)
        found /= found.sum(axis=0)
    outside = np.ones(WORKING, bool)
    outside[tuple(slice(*span) for span in BOX)] = False
    found[:, outside] = 0.0
    if task is ORGANS:
        found[0, outside] = 1.0
    return found.astype(np.float32)


def fed(task: Task, prepared: Prepared, found: ProbabilityArray, axis: int, cuts: list[int]) -> LabelMap:
    margins = ((0, 0), (0, 0), (0, 0))
    sweep = Sweep(box=BOX, axis=axis, margins=margins, starts=([0], [0], [0]))
    sink = LabelMap(task, prepared, sweep, foreground=True, probabilities=True)
    inside = found[(slice(None), *(slice(*span) for span in BOX))]
    ends = [n for n in cuts if n < inside.shape[1 + axis]] + [inside.shape[1 + axis]]
    for first, end in zip([0, *ends], ends, strict=False):
        part = [slice(None)] * 4
        part[1 + axis] = slice(first, end)
        sink(BOX[axis][0] + first, inside[tuple(part)])
    sink.finish()
    return sink


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("scratch", [1, 1 << 22])
def test_slabs_give_the_label_map_of_whole_arrays(
    source: tuple[int, int, int], turn: AxisTurn, axis: int, scratch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_maps, "_SCRATCH_VALUES", scratch)
    prepared = case(source, turn)
    for seed in range(2):
        found = probabilities(ORGANS, seed)
        sink = fed(ORGANS, prepared, found, axis, [1, 2, 6])
        whole = np.stack([prepared.back(channel) for channel in found])
        labels = whole.argmax(axis=0)
        assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
        assert np.array_equal(sink.mask, labels)
        assert np.array_equal(sink.probabilities, whole)
        assert sink.foreground is not None
        assert np.allclose(sink.foreground, np.where(labels > 0, 1 - whole[0], 0), atol=1e-3)
        parts = probabilities(PARTS, seed)
        sink = fed(PARTS, prepared, parts, axis, [4])
        whole = np.stack([prepared.back(channel) for channel in parts])
        assert np.array_equal(sink.mask, whole >= 0.5)
        assert sink.mask.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("axis", [0, 2])
def test_what_only_continues_the_scan_is_cut_off(axis: int) -> None:
    prepared = case((19, 19, 12), TURNS[0])
    wider = replace(prepared, margins=((1, 4), (0, 0), (5, 5)))
    found = probabilities(ORGANS, 1)
    sink = fed(ORGANS, wider, found, axis, [2, 3, 9])
    whole = np.stack([wider.back(channel) for channel in found])
    assert np.array_equal(sink.probabilities, whole)
    assert np.array_equal(sink.mask, whole.argmax(axis=0))
    assert sink.mask.any()


def test_what_is_not_wanted_is_not_held() -> None:
    sweep = Sweep(box=BOX, axis=2, margins=((0, 0), (0, 0), (0, 0)), starts=([0], [0], [0]))
    sink = LabelMap(ORGANS, case((31, 19, 12), TURNS[0]), sweep)
    assert sink.foreground is None
    assert sink.probabilities is None
    assert sink.mask.nbytes == 31 * 19 * 12


def test_a_tilted_series_gets_its_labels_on_its_own_voxels() -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.4  # each slice lies a little further back
    prepared = case(WORKING, TURNS[0])
    tilted = replace(prepared, source=Grid(shape=(13, 8, 17), affine=affine), box=prepared.source)
    found = probabilities(ORGANS, 1)
    sink = fed(ORGANS, tilted, found, 2, [5])
    assert sink.mask.shape == (13, 8, 17)
    whole = np.stack([tilted.back(channel) for channel in found])
    inside = whole.sum(axis=0) > 0.999  # beside the upright grid there is nothing
    assert float((sink.mask == whole.argmax(axis=0))[inside].mean()) > 0.9
    assert sink.probabilities is not None
    assert np.abs(sink.probabilities - whole)[:, inside].max() < 1e-5
