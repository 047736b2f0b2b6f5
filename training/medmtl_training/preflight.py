"""What a training will take, said before it starts: hours, memory, disk; and whether the disk has it."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medmtl.errors import Code, TrainingError
from medmtl_training.cases import Dataset
from medmtl_training.config import Config
from medmtl_training.costs import StepCosts, prepared_bytes, run_bytes, step_costs

if TYPE_CHECKING:
    from medmtl.geometry.grid import Grid

_RESERVE = 1.05  # of the disk, for curves, predictions and reports


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What training takes.

    Attributes:
        costs: of a step.
        networks: that are trained one after the other.
        steps: of all of them, None where `--max-time` fixes them once real steps are timed.
        max_seconds: wall time of everything, None without `--max-time`.
        prepared_bytes: disk of the prepared arrays; 0 where they are there already.
        run_bytes: disk of checkpoints and bundle.
        on_cpu: whether a CPU trains.
    """

    costs: StepCosts
    networks: int
    steps: int | None
    max_seconds: float | None
    prepared_bytes: int
    run_bytes: int
    on_cpu: bool

    @property
    def disk_bytes(self) -> int:
        """All of the disk that the run takes."""
        return int(_RESERVE * (self.prepared_bytes + self.run_bytes))

    def lines(self) -> Iterator[str]:
        """What to say before anything long starts."""
        if self.steps is None:
            seconds = 0.0 if self.max_seconds is None else self.max_seconds
            yield f"time: {duration(seconds)} for {self.networks} network(s), steps fixed once they are timed"
        elif self.steps == 0:
            yield "time: every network is trained; what is left are held-out answers and figures"
        elif self.on_cpu:
            seconds = self.steps * self.costs.cpu_seconds
            yield (
                f"time: about {duration(seconds)} on two recent CPU cores for {self.networks} network(s) with "
                f"{self.steps} steps to go, plus reading and held-out answers; --max-time sets another length"
            )
        else:
            yield f"time: {self.networks} network(s), {self.steps} steps to go; curves.csv has the pace once it runs"
        yield (
            f"memory: about {self.costs.memory_bytes / 2**30:.1f} GiB for a step, and the prepared cases; "
            f"disk: {self.disk_bytes / 2**30:.2f} GiB"
        )


def preflight(
    dataset: Dataset, config: Config, left: Sequence[int] | int, max_seconds: float | None, *, on_cpu: bool
) -> Preflight:
    """Counts operations of a step and reads the headers of the images; trains nothing.

    Args:
        dataset: the cases.
        config: plan and settings.
        left: steps that each network has to take, as a run that goes on knows them; or the number of networks.
        max_seconds: of `--max-time`, which has a say only before the number of steps is fixed.
        on_cpu: whether a CPU trains.
    """
    costs = step_costs(config.plan, dataset.tasks, len(dataset.channels), config.settings.batch)
    if isinstance(left, int):
        networks, steps = left, None if max_seconds is not None else left * config.settings.steps
    else:
        networks, steps = sum(1 for one in left if one > 0), sum(left)
    return Preflight(
        costs=costs,
        networks=networks,
        steps=steps,
        max_seconds=max_seconds,
        prepared_bytes=0 if dataset.prepared is not None else _prepared_bytes(dataset, config),
        run_bytes=run_bytes(costs, networks),
        on_cpu=on_cpu,
    )


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Nothing, where `folder` (or the first of its parents that is there) has `needed` bytes left.

    Raises:
        TrainingError: `cannot-write`.
    """
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        what = f"the disk has {free / 2**30:.1f} GiB left, {needed / 2**30:.1f} GiB are needed"
        raise TrainingError(Code.CANNOT_WRITE, what, "make room, or name a folder on another disk")


def duration(seconds: float) -> str:
    """Seconds in words for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _prepared_bytes(dataset: Dataset, config: Config) -> int:
    from medmtl.geometry.orientation import slices_last, to_lps
    from medmtl.preparation.plan import Orientation

    geometries = []
    for case in dataset.cases:
        grid = _grid(case.images[0])
        if grid is not None:
            turn = to_lps(grid) if config.plan.orientation is Orientation.LPS else slices_last(grid)
            turned = turn.grid(grid)
            geometries.append((turned.shape, turned.spacing))
    return prepared_bytes(geometries, config.plan, dataset.tasks, len(dataset.channels))


def _grid(path: Path) -> "Grid | None":
    """The grid in the header of a NIfTI; None where it says none, which preparing will refuse by name."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    from medmtl.geometry.affine import swap_ras_lps
    from medmtl.geometry.grid import Grid

    try:
        image = nibabel.load(path)
        i, j, k = image.shape[:3]
        return Grid(shape=(int(i), int(j), int(k)), affine=swap_ras_lps(image.affine))
    except (ImageFileError, OSError, EOFError, ValueError):
        return None
