"""End-diastole and end-systole of a cine: the phases of the largest and the smallest cavity that the model finds."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medmtl.errors import Code, Notice, StudyError
from medmtl.findings.components import keep_largest
from medmtl.findings.extent import Box, mask_extent
from medmtl.inference.engine import Engine, WindowAnswer
from medmtl.inference.predictor import predict
from medmtl.pipeline.model import Model, lighter
from medmtl.preparation.plan import Plan
from medmtl.preparation.prepare import Prepared, prepare
from medmtl.reading.phases import Cine
from medmtl.shapes import FloatArray, ImageArray, Mask, Spacing
from medmtl.task import Kind, Task
from medmtl.volume import Volume

LEFT_VENTRICLE = "87878005"
"""SNOMED CT code of the cavity whose size tells the phases apart."""

_MOST_LOOKS = 40  # phases looked at before the neighbours of the extremes are
_MARGIN_MM = 25.0  # round the heart of the first phase that was looked at
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

    Each phase is given to the first network as every channel, without mirrored passes and after the first one only
    round the heart; of more than 40 phases every n-th, then the neighbours of the extremes.

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
    looker = _Looker(cine, model, cavities)
    found = looker.found
    looker.look(range(0, count, step))
    for best in (_largest(found), _smallest(found)) if step > 1 else ():
        looker.look(range(max(0, best - step + 1), min(count, best + step)))
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


class _Looker:
    """Cavity volumes of phases, each looked at once; after the first only round the heart that was found there."""

    def __init__(self, cine: Cine, model: Model, cavities: list[tuple[Task, int]]) -> None:
        self._frames, self._cavities = cine.frames, cavities
        self._tasks = tuple(task for task, _ in cavities)
        self._plan, self._engine = lighter(model.bundle).plan, _FirstNetwork(model.engine)
        self._box: Box | None = None
        self.found: dict[int, float] = {}

    def look(self, indices: Collection[int]) -> None:
        """mL of the cavity in these phases, into `found`."""
        for index in indices:
            if index not in self.found:
                self.found[index] = self._ml(_prepared(self._frames[index], self._plan))

    def _ml(self, prepared: Prepared) -> float:
        if self._box is not None:
            prepared = _cropped(prepared, self._box)
        dense = predict(prepared, self._plan, self._engine, self._tasks).dense
        maps = [keep_largest(dense[task.name].argmax(axis=0).astype(np.uint8)) for task in self._tasks]
        if self._box is None:
            self._box = _round(np.any(maps, axis=0), prepared.grid.spacing)
        sizes = [np.count_nonzero(found == value) for found, (_, value) in zip(maps, self._cavities, strict=True)]
        return float(np.mean(sizes)) * prepared.grid.voxel_ml


def _round(mask: Mask, spacing: Spacing) -> Box | None:
    """The box of a mask with a margin, all of the axis across the slices; None where it is empty."""
    extent = mask_extent(mask)
    if extent.voxels == 0:
        return None
    box = [slice(0, mask.shape[2])] * 3
    for axis in range(2):
        margin = int(np.ceil(_MARGIN_MM / spacing[axis]))
        part = extent.box[axis]
        box[axis] = slice(max(0, part.start - margin), min(mask.shape[axis], part.stop + margin))
    return (box[0], box[1], box[2])


def _cropped(prepared: Prepared, box: Box) -> Prepared:
    """The image in a box; for volumes alone, since its grid no longer leads back to the source."""
    image = prepared.image[(slice(None), *box)]
    margins = [(-part.start, part.stop - size) for part, size in zip(box, prepared.grid.shape, strict=True)]
    return replace(prepared, image=image, grid=prepared.grid.extended(margins))


def _prepared(frame: Volume, plan: Plan) -> Prepared:
    """One phase as every channel; brought to the network once where all channels are scaled alike."""
    count = len(plan.normalisation)
    if len(set(plan.normalisation)) > 1:
        return prepare((frame,) * count, plan)
    prepared = prepare((frame,), replace(plan, normalisation=plan.normalisation[:1]))
    return replace(prepared, image=np.repeat(prepared.image, count, axis=0))


def _largest(found: Mapping[int, float]) -> int:
    return min(found, key=lambda index: (-found[index], index))


def _smallest(found: Mapping[int, float]) -> int:
    return min(found, key=lambda index: (found[index], index))
