"""What a class rests on: its answer with the sums of one structure left out."""

from collections.abc import Mapping, Sequence

import numpy as np

from medmtl.inference.engine import Engine
from medmtl.preparation.plan import Plan
from medmtl.shapes import FloatArray
from medmtl.task import Task


def guiding_structures(tasks: Sequence[Task], plan: Plan) -> list[str]:
    """ "task.label" of the structures whose maps the case-level heads read, in the order of their sums.

    Args:
        tasks: all tasks of the model.
        plan: of the model.
    """
    guiding = [task for task in tasks if task.is_voxel and (not plan.guides or task.name in plan.guides)]
    return [f"{task.name}.{label.name}" for task in guiding for label in task.labels]


def logits_without(
    engine: Engine, sums: Mapping[int, FloatArray], voxel_ml: float, task: str, structures: Sequence[str]
) -> dict[str, FloatArray]:
    """Structure to the logits `(output,)` of `task` where nothing was read inside that structure.

    Args:
        engine: that gave the sums.
        sums: network to `(map, column)` sums over the case: two maps for each structure, then learnt ones.
        voxel_ml: mL of a working voxel.
        task: name of a case-level task.
        structures: from `guiding_structures`.
    """
    found = {}
    for place, name in enumerate(structures):
        bare = {network: np.array(rows) for network, rows in sums.items()}
        for rows in bare.values():
            rows[[place, place + len(structures)]] = 0.0
        found[name] = engine.case(bare, voxel_ml, [task])[task]
    return found
