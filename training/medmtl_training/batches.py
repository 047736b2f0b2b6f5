"""Which cases a step sees, and their crops as one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medmtl.errors import Code, TrainingError
from medmtl.preparation.plan import Plan
from medmtl.task import Kind, Task
from medmtl_training.crops import Crop, cut_crop
from medmtl_training.prepared import IGNORED, PreparedCase
from medmtl_training.ranks import Ranks
from medmtl_training.schedule import TaskSchedule
from medmtl_training.settings import TrainSettings

_ALONE = Ranks()


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Crops of one step.

    Attributes:
        image: `(batch, channel, i, j, k)` float32.
        inside: `(batch, 1, i, j, k)` float32.
        dense: voxel task to `(batch, i, j, k)` or `(batch, label, i, j, k)` int64; 255 where no label is known.
        annotated: voxel task to `(batch, output)` bool: the labels that were looked for (channel 0 is background
            for exclusive labels).
        case: case-level task to `(batch,)` int64 or float32, `(batch, output)` for multilabel.
        case_known: case-level task to `(batch,)` bool.
        voxel_ml: `(batch,)` float32.
    """

    image: Tensor
    inside: Tensor
    dense: Mapping[str, Tensor]
    annotated: Mapping[str, Tensor]
    case: Mapping[str, Tensor]
    case_known: Mapping[str, Tensor]
    voxel_ml: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        moved = {
            name: {key: value.to(device, non_blocking=True) for key, value in getattr(self, name).items()}
            for name in ("dense", "annotated", "case", "case_known")
        }
        image, inside, ml = (x.to(device, non_blocking=True) for x in (self.image, self.inside, self.voxel_ml))
        return Batch(image=image, inside=inside, voxel_ml=ml, **moved)


class BatchMaker:
    """Batches as a function of the step number.

    Args:
        cases: training cases in memory.
        tasks: of the data set.
        plan: patch and flips.
        settings: seed, shares, schedule and augmentation.
        ranks: this process among all; it cuts its share of each batch and knows what the others cut.

    Raises:
        TrainingError: there are more processes than crops in a batch.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        tasks: tuple[Task, ...],
        plan: Plan,
        settings: TrainSettings,
        ranks: Ranks = _ALONE,
    ) -> None:
        if settings.batch < ranks.world:
            what = f"a batch of {settings.batch} cannot be shared by {ranks.world} processes"
            raise TrainingError(Code.BAD_OPTION, what, "raise batch in the training section, or start fewer")
        self.cases, self.tasks, self.plan, self.settings, self.ranks = cases, tasks, plan, settings, ranks
        self.schedule = TaskSchedule(settings, tasks)
        self.pools: dict[frozenset[str], tuple[list[int], list[list[int]]]] = {}

    def make(self, step: int) -> Batch:
        """The batch of step `step`."""
        every, groups = self._pool(self.schedule.active(step))
        rng = np.random.default_rng([self.settings.seed, step])
        whole = [self._draw(rng, every, groups) for _ in range(self.settings.batch)]
        places = range(self.ranks.rank, self.settings.batch, self.ranks.world)
        drawn = [whole[place] for place in places]
        crops = [
            cut_crop(case, self.plan, self.settings, np.random.default_rng([self.settings.seed, step, 1 + place]))
            for place, case in zip(places, drawn, strict=True)
        ]
        dense, annotated = {}, {}
        for task in (task for task in self.tasks if task.is_voxel):
            maps = [self._dense(task, crop) for crop in crops]
            if any(task.name in case.labels for case in whole):
                dense[task.name] = torch.stack(maps)
                annotated[task.name] = torch.stack([_annotated(task, case) for case in drawn])
        case_labels, known = {}, {}
        for task in (task for task in self.tasks if not task.is_voxel):
            rows = [_case_label(task, case, crop) for case, crop in zip(drawn, crops, strict=True)]
            case_labels[task.name] = torch.stack([value for value, _ in rows])
            known[task.name] = torch.tensor([is_known for _, is_known in rows])
        return Batch(
            image=torch.stack([crop.image for crop in crops]),
            inside=torch.stack([crop.inside for crop in crops]),
            dense=dense,
            annotated=annotated,
            case=case_labels,
            case_known=known,
            voxel_ml=torch.tensor([crop.voxel_ml for crop in crops], dtype=torch.float32),
        )

    def _draw(self, rng: np.random.Generator, every: list[int], groups: list[list[int]]) -> PreparedCase:
        if rng.random() < self.settings.balanced:
            group = groups[rng.integers(len(groups))]
            return self.cases[group[rng.integers(len(group))]]
        return self.cases[every[int(rng.integers(len(every)))]]

    def _pool(self, active: frozenset[str]) -> tuple[list[int], list[list[int]]]:
        """Cases with a label of an active task, all together and by combination of labels; all where none has one."""
        if active not in self.pools:
            labelled = [n for n, case in enumerate(self.cases) if any(_has(case, task) for task in active)]
            every = labelled or list(range(len(self.cases)))
            groups: dict[tuple[str, ...], list[int]] = {}
            for index in every:
                case = self.cases[index]
                values = sorted(case.case_labels.items())
                labels = [f"{task}={value}" for task, value in values if isinstance(value, int)]
                groups.setdefault((*sorted(case.foreground), *labels), []).append(index)
            self.pools[active] = (every, [groups[key] for key in sorted(groups)])
        return self.pools[active]

    def _dense(self, task: Task, crop: Crop) -> Tensor:
        found = crop.labels.get(task.name)
        if found is not None:
            return found.long()
        shape = self.plan.patch if task.kind is Kind.SEGMENTATION else (task.outputs, *self.plan.patch)
        return torch.full(shape, IGNORED, dtype=torch.long)


def _has(case: PreparedCase, task: str) -> bool:
    return task in case.labels or case.case_labels.get(task) is not None


def _annotated(task: Task, case: PreparedCase) -> Tensor:
    names = case.annotated.get(task.name)
    looked_for = [names is None or label.name in names for label in task.labels]
    return torch.tensor([True, *looked_for] if task.kind is Kind.SEGMENTATION else looked_for)


def _case_label(task: Task, case: PreparedCase, crop: Crop) -> tuple[Tensor, bool]:
    value = case.case_labels.get(task.name)
    known = value is not None and crop.complete
    if task.kind is Kind.REGRESSION:
        return torch.tensor(float(value) if value is not None else 0.0), known
    if task.kind is Kind.MULTILABEL:
        row = torch.zeros(task.outputs)
        row[list(value or [])] = 1.0
        return row, known
    return torch.tensor(int(value) if value is not None else 0), known
