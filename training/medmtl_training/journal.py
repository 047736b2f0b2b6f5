"""What a training says while it runs: curves and gradients as CSV and TensorBoard, a line with the time left."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmtl.errors import Code, TrainingError
from medmtl_training.gradients.meter import ALL, GradientJournal, Look

log = logging.getLogger(__name__)

EVERY = 25  # steps between rows


class Journal:
    """Means of losses and task weights over the last steps, and looks at the tasks' gradients.

    Args:
        folder: where `curves.csv`, `gradients.csv` and TensorBoard's events go.
        tasks: names of the tasks, in the order of the columns.
        steps: of the whole run.
        done: steps already done; later rows of an interrupted run are dropped.

    Raises:
        TrainingError: `cannot-write`, here and in every later call.
    """

    def __init__(self, folder: Path, tasks: Sequence[str], steps: int, done: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.tasks, self.steps = folder / "curves.csv", tuple(tasks), steps
        self.sums: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        rows = rows_up_to(self.path, done)
        header = ["step", "seconds_per_step"]
        header += [f"loss_{task}" for task in self.tasks] + [f"weight_{task}" for task in self.tasks]
        write_rows(self.path, "w", [header, *rows])
        self.gradients = GradientJournal(folder, done)
        self.board = _tensorboard(folder)

    def step(self, step: int, losses: dict[str, float], weights: dict[str, float], seconds: float) -> None:
        """Collects one step and writes a row now and then."""
        for task, value in losses.items():
            self.sums.setdefault(task, []).append(value)
        self.seconds.append(seconds)
        if step % EVERY and step != self.steps:
            return
        mean = {task: sum(values) / len(values) for task, values in self.sums.items()}
        pace = sum(self.seconds) / len(self.seconds)
        row: list[Any] = [step, f"{pace:.4f}"]
        row += [f"{mean[task]:.5f}" if task in mean else "" for task in self.tasks]
        row += [f"{weights[task]:.4f}" for task in self.tasks]
        write_rows(self.path, "a", [row])
        if self.board is not None:
            for task, value in mean.items():
                self.board.add_scalar(f"loss/{task}", value, step)
                self.board.add_scalar(f"weight/{task}", weights[task], step)
        left = (self.steps - step) * pace / 60
        shown = ", ".join(f"{task} {value:.3f}" for task, value in mean.items())
        log.info("step %d of %d, %.2f s a step, %.0f min left; loss: %s", step, self.steps, pace, left, shown)
        self.sums.clear()
        self.seconds.clear()

    def look(self, looks: Sequence[Look]) -> None:
        """Writes how the tasks' gradients of the shared weights stand to each other."""
        self.gradients.add(looks)
        if self.board is None:
            return
        for row in looks:
            self.board.add_scalar(f"cosine {row.one} {row.other}/{row.layer}", row.cosine, row.step)
            if row.layer == ALL:
                for task, norm in zip((row.one, row.other), row.norms, strict=True):
                    self.board.add_scalar(f"gradient/{task}", norm, row.step)

    def close(self) -> None:
        """Writes out what TensorBoard's writer still holds."""
        if self.board is not None:
            self.board.close()


class _Silent:
    """Says nothing: what the processes beside the first one say."""

    def step(self, step: int, losses: dict[str, float], weights: dict[str, float], seconds: float) -> None:
        """Nothing."""

    def look(self, looks: Sequence[Look]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


SILENT = _Silent()


def write_rows(path: Path, mode: str, rows: Sequence[Sequence[Any]]) -> None:
    """Writes ("w") or adds ("a") rows of a CSV.

    Raises:
        TrainingError: `cannot-write`.
    """
    try:
        with path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        what = f"{path.name} cannot be written ({type(error).__name__})"
        raise TrainingError(Code.CANNOT_WRITE, what, "free some disk and resume; the last checkpoint stays") from None


def rows_up_to(path: Path, done: int) -> list[list[str]]:
    """The rows of a CSV below its header whose first column is no step after `done`."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [row for row in rows if row and int(row[0]) <= done]


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:  # a bare PyTorch has none
        return None
    return SummaryWriter(str(folder / "tensorboard"))
