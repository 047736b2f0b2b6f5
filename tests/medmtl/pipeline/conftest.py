"""A model that reads the truth out of the image, so that everything behind the network has known answers."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.inference.engine import WindowAnswer
from medmtl.pipeline.model import Model
from medmtl.preparation.plan import Normalisation, Scheme
from medmtl.shapes import FloatArray, ImageArray
from medmtl.volume import Volume
from tests.tiny import STACK, heart_tasks, unwritten_bundle

CAVITY, WALL, INFARCT, STRAY, IN_CAVITY, CORE = 1, 2, 3, 4, 5, 6
ORGAN_OF = np.array([0, 1, 2, 2, 0, 1, 2])  # intensity to organ value
LESION_OF = np.array([0, 0, 0, 1, 1, 1, 2])  # intensity to lesion value


@dataclass
class OracleEngine:
    """Intensity 1 is cavity, 2 wall, 3 infarct in the wall, 4 infarct in nothing, 5 infarct in the cavity, 6 core."""

    logits: tuple[float, float] = (0.0, 4.0)
    networks: int = 1
    workers: int = 1

    def describe(self) -> dict[str, Any]:
        return {"name": "oracle", "version": "1", "device": "cpu", "precision": "float32"}

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        values = np.rint(image[0]).astype(int)
        maps = {
            "organs": np.eye(3)[ORGAN_OF[values]],
            "lesions": np.eye(3)[LESION_OF[values]],
            "parts": np.stack([values > 0, values > 1], axis=-1),
        }
        dense = {name: np.moveaxis(maps[name], -1, 0).astype(np.float32) for name in maps if name in asked}
        # two maps for each of six structures, the fourth of which is the wall, and one for the whole
        read = [float((weight * (values == 2)).sum()) if place in (3, 9) else 1.0 for place in range(12)]
        return WindowAnswer(dense=dense, sums=np.array([*read, float(weight.sum())])[:, None], peak=1.0)

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        seen = sums[0][3, 0] > 0.0  # the class is read in the wall
        known = {"diagnosis": np.array(self.logits) * seen, "tissue": np.array([sums[0][-1, 0] * voxel_ml]),
                 "signs": np.array([2.0, -2.0]), "grade": np.array([0.0, 3.0, 0.0])}  # fmt: skip
        return {name: known[name] for name in known if name in asked}


FURTHER = {
    "tissue": {"kind": "regression", "unit": "mL"},
    "signs": {"kind": "multilabel", "classes": ["effusion", "thrombus"]},
    "grade": {"kind": "ordinal", "classes": ["low", "middle", "high"]},
    "parts": {"kind": "regions", "labels": [{"name": "any", "value": 5}, {"name": "wall", "value": 2}]},
}

ORACLE_PLAN = replace(
    STACK,
    spacing=(None, None, None),
    mirror=(),
    normalisation=(Normalisation(scheme=Scheme.CLIP, low=0, high=9, mean=0, spread=1),),
)

Diagnosable = Callable[..., Model]


@pytest.fixture
def oracle(tmp_path: Path) -> Diagnosable:
    """A model behind the oracle; arguments are the class logits and changes of the bundle."""

    def make(logits: tuple[float, float] = (0.0, 4.0), **changes: Any) -> Model:
        wanted = {"sha256": "0" * 64, "tasks": heart_tasks(**FURTHER), "plan": ORACLE_PLAN, **changes}
        return Model(bundle=unwritten_bundle(tmp_path, **wanted), engine=OracleEngine(logits))

    return make


@pytest.fixture
def planted() -> Callable[..., Volume]:
    """A heart of boxes: cavity 4 x 4 x 4 in a wall of 8 x 8 x 4 voxels of 0.768 mL; lesions as asked."""

    def make(modality: str | None = "MR", **lesions: tuple[slice, slice, slice]) -> Volume:
        array = np.zeros((24, 20, 6), np.int16)
        array[6:14, 6:14, 1:5] = WALL
        array[8:12, 8:12, 1:5] = CAVITY
        for value, box in lesions.items():
            array[box] = {"infarct": INFARCT, "stray": STRAY, "in_cavity": IN_CAVITY, "core": CORE}[value]
        affine = np.diag([8.0, 8.0, 12.0, 1.0])
        affine[:3, 3] = [-80.0, -70.0, 12.0]
        grid = Grid(shape=array.shape, affine=affine)
        return Volume(array=array, grid=grid, modality=modality, content_hash="ab" * 32)

    return make
