"""Which tasks a step trains, and how fast it learns."""

from collections.abc import Sequence

from medmtl.errors import Code, TrainingError
from medmtl.task import Task
from medmtl_training.settings import TrainSettings


class TaskSchedule:
    """The tasks of each step, as a function of the step alone.

    Args:
        settings: schedule, groups and number of steps.
        tasks: of the data set.

    Raises:
        TrainingError: a group names a task that is not there.
    """

    def __init__(self, settings: TrainSettings, tasks: Sequence[Task]) -> None:
        self.kind, self.steps, self.starts = settings.schedule, settings.steps, settings.curriculum_starts
        self.every = frozenset(task.name for task in tasks)
        given = [[name for name in group if name in self.every] for group in settings.groups]
        left = [task for task in tasks if not any(task.name in group for group in settings.groups)]
        later = [[task.name] for task in left] if self.kind == "alternating" else _by_kind(left)
        self.groups = [frozenset(group) for group in (*given, *later) if group]

    def active(self, step: int) -> frozenset[str]:
        """Names of the tasks whose losses count in step `step`."""
        if self.kind == "alternating":
            return self.groups[step % len(self.groups)]
        if self.kind == "curriculum":
            joined = [group for place, group in enumerate(self.groups) if step >= self._start(place)]
            return frozenset().union(*joined)
        return self.every

    def _start(self, place: int) -> float:
        if place == 0:
            return 0.0
        return self.starts[min(place, len(self.starts) - 1)] * self.steps


def _by_kind(tasks: Sequence[Task]) -> list[list[str]]:
    """Structures, then what lies inside them, then what is said of the whole case: organs, lesions, diagnosis."""
    return [
        [task.name for task in tasks if task.is_voxel and task.inside is None],
        [task.name for task in tasks if task.is_voxel and task.inside is not None],
        [task.name for task in tasks if not task.is_voxel],
    ]


def rate_factor(step: int, settings: TrainSettings) -> float:
    """Share of the learning rate at `step`: a linear warm-up, then polynomial decay to zero."""
    warm = min(1.0, (step + 1) / max(1, settings.warm_up))
    left = max(0.0, 1.0 - step / settings.steps)
    return float(warm * left**0.9)


def check_tasks(settings: TrainSettings, tasks: Sequence[Task]) -> None:
    """Nothing, where every task that the settings name is one.

    Raises:
        TrainingError: `bad-option`.
    """
    names = {task.name for task in tasks}
    named = {
        "groups": {name for group in settings.groups for name in group},
        "task_rates": set(settings.task_rates),
        "fixed_weights": set(settings.fixed_weights),
    }
    for key, found in named.items():
        if foreign := sorted(found - names):
            what = f"{key} names {foreign[0]}, which is no task of the data set"
            raise TrainingError(Code.BAD_OPTION, what, f"the tasks are {', '.join(sorted(names))}")
