"""End-diastole and end-systole of a cine: the phases of the largest and the smallest cavity that the model finds."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from medmtl.errors import Code, Notice, StudyError
from medmtl.findings.components import keep_largest
from medmtl.inference.engine import Engine, WindowAnswer
from medmtl.inference.predictor import predict
from medmtl.pipeline.model import Model, lighter
from medmtl.preparation.prepare import prepare
from medmtl.reading.phases import Cine
from medmtl.shapes import FloatArray, ImageArray
from medmtl.task import Kind, Task

LEFT_VENTRICLE = "87878005"
"""SNOMED CT code of the cavity whose size tells the phases apart."""

_MOST_LOOKS = 40  # phases looked at before the neighbours of the extremes are
_LEAST_ML = 5.0  # of the largest cavity, for a heart to be there
_LEAST_CHANGE = 0.05  # of the largest cavity, for it to beat


class _FirstNetwork:
    """The first network of an engine, as an engine."""

    networks = 1

    def __init__(self, engine: Engine) -> None:
        self._engine, self.workers = engine, engine.workers

    def describe(self) -> dict[str, Any]:
        return self._engine.describe()

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        return self._engine.run(image, weight, asked, network)

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        return self._engine.case(sums, voxel_ml, asked)


def choose_phases(cine: Cine, model: Model) -> tuple[tuple[int, int], tuple[Notice, ...]]:
    """Index of end-diastole and of end-systole, and what was done to find them; the earlier of equal phases.

    Each phase is given to the first network as every channel, without mirrored passes; of more than 40 phases every
    n-th, then the neighbours of the extremes.

    Raises:
        StudyError: `channel-missing`, the model outlines no left ventricle; `four-dimensional`, no beating heart was
            found, so that this is no cine for the model.
    """
    cavities = _cavities(model)
    if not cavities:
        what = f"the model {model.bundle.name} outlines no left ventricle to tell the phases of a cine by"
        raise StudyError(Code.CHANNEL_MISSING, what, "name two of its volumes with --series")
    count = len(cine.frames)
    step = -(-count // _MOST_LOOKS)
    found: dict[int, float] = {}
    _look(range(0, count, step), cine, (model, cavities), found)
    for best in {_largest(found), _smallest(found)} if step > 1 else ():
        near = range(max(0, best - step + 1), min(count, best + step))
        _look([index for index in near if index not in found], cine, (model, cavities), found)
    first, second = _largest(found), _smallest(found)
    large, small = found[first], found[second]
    if large < _LEAST_ML or large - small < _LEAST_CHANGE * large:
        what = f"no beating heart was found in its {count} volumes (cavity {small:.0f} to {large:.0f} mL)"
        raise StudyError(Code.FOUR_DIMENSIONAL, what, "name end-diastole and end-systole with --series")
    text = (
        f"end-diastole is {cine.named(first)} and end-systole {cine.named(second)}, those of the largest and the "
        f"smallest left ventricular cavity that one network found in {len(found)} phases"
    )
    return (first, second), (Notice(code=Code.PHASES_CHOSEN, text=text),)


def _cavities(model: Model) -> list[tuple[Task, int]]:
    """Tasks that outline the left ventricle, and its value there."""
    return [
        (task, label.value)
        for task in model.bundle.tasks
        for label in task.labels
        if task.kind is Kind.SEGMENTATION and label.code is not None and label.code.value == LEFT_VENTRICLE
    ]


def _look(
    indices: Collection[int], cine: Cine, using: tuple[Model, list[tuple[Task, int]]], found: dict[int, float]
) -> None:
    model, cavities = using
    tasks = tuple(task for task, _ in cavities)
    plan, engine = lighter(model.bundle).plan, _FirstNetwork(model.engine)
    for index in indices:
        frame = cine.frames[index]
        prepared = prepare((frame,) * len(model.bundle.channels), plan)
        dense = predict(prepared, plan, engine, tasks).dense
        voxels = [_voxels(dense[task.name], value) for task, value in cavities]
        found[index] = float(np.mean(voxels)) * prepared.grid.voxel_ml


def _voxels(probabilities: Any, value: int) -> int:
    """Voxels of one label in the largest piece of all."""
    labels = keep_largest(probabilities.argmax(axis=0).astype(np.uint8))
    return int(np.count_nonzero(labels == value))


def _largest(found: Mapping[int, float]) -> int:
    return min(found, key=lambda index: (-found[index], index))


def _smallest(found: Mapping[int, float]) -> int:
    return min(found, key=lambda index: (found[index], index))
