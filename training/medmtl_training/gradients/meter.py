"""How the tasks' gradients of the shared weights stand to each other, and what that says in plain words."""

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from torch import Tensor, nn

from medmtl.errors import Code, TrainingError
from medmtl_training.gradients.backward import norm_of, task_gradients

ALL = "all"
"""The layer that stands for all shared weights together."""

_AGAINST, _TOGETHER = -0.05, 0.05  # mean cosine
_LITTLE = 1e-12
_HEADER = ["step", "layer", "one", "other", "cosine", "norm_one", "norm_other"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One pair of tasks in one layer at one step: cosine of their gradients, and the norm of each."""

    step: int
    layer: str
    one: str
    other: str
    cosine: float
    norms: tuple[float, float]


def look(step: int, losses: Mapping[str, Tensor], shared: Mapping[str, nn.Parameter]) -> list[Look]:
    """Every pair of labelled tasks, over all shared weights and layer by layer; the losses' graph stays."""
    if len(losses) < 2 or not shared:
        return []
    layers: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(shared):
        layers[layer_of(name)].append(index)
        layers[ALL].append(index)
    gradients = task_gradients(losses, list(shared.values()))
    found = []
    for layer in sorted(layers):
        parts = {name: [row[index] for index in layers[layer]] for name, row in gradients.items()}
        norms = {name: norm_of(part) for name, part in parts.items()}
        for one, other in combinations(parts, 2):
            inner = sum(float((a.double() * b.double()).sum()) for a, b in zip(parts[one], parts[other], strict=True))
            cosine = inner / max(norms[one] * norms[other], _LITTLE)
            pair = (norms[one], norms[other])
            found.append(Look(step=step, layer=layer, one=one, other=other, cosine=cosine, norms=pair))
    return found


def layer_of(name: str) -> str:
    """The stage of the encoder that a weight belongs to, `stage 2` say, or the module's name."""
    parts = name.split(".")
    return f"stage {parts[parts.index('stages') + 1]}" if "stages" in parts else parts[0]


class GradientJournal:
    """`gradients.csv`: a row per look, pair and layer.

    Args:
        folder: where it lies.
        done: steps already done; later rows of an interrupted run are dropped.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / "gradients.csv"
        kept = [row for row in read_looks(self.path) if row.step < done]
        self._write("w", [_HEADER, *(_cells(row) for row in kept)])

    def add(self, rows: Sequence[Look]) -> None:
        """Appends the rows of one look."""
        self._write("a", [_cells(row) for row in rows])

    def _write(self, mode: str, rows: list[list[str]]) -> None:
        try:
            with self.path.open(mode, newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            what = f"{self.path.name} cannot be written ({type(error).__name__})"
            todo = "free some disk and resume; the last checkpoint stays"
            raise TrainingError(Code.CANNOT_WRITE, what, todo) from None


def _cells(row: Look) -> list[str]:
    numbers = [f"{value:.5g}" for value in (row.cosine, *row.norms)]
    return [str(row.step), row.layer, row.one, row.other, *numbers]


def read_looks(path: Path) -> list[Look]:
    """The rows of a `gradients.csv`; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Look(
                step=int(row["step"]), layer=row["layer"], one=row["one"], other=row["other"],
                cosine=float(row["cosine"]), norms=(float(row["norm_one"]), float(row["norm_other"])),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two tasks over a training: mean cosine over all shared weights, share of looks below zero, number of looks."""

    one: str
    other: str
    cosine: float
    opposed: float
    looks: int

    @property
    def verdict(self) -> str:
        """ "together", "against each other" or "independent"."""
        if self.cosine > _TOGETHER:
            return "together"
        return "against each other" if self.cosine < _AGAINST else "independent"


def pairs(looks: Sequence[Look], layer: str = ALL) -> list[Pair]:
    """One row per pair of tasks, in the order they first come."""
    grouped: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in looks:
        if row.layer == layer:
            grouped[row.one, row.other].append(row.cosine)
    return [
        Pair(
            one=one, other=other, cosine=statistics.fmean(cosines),
            opposed=sum(value < 0 for value in cosines) / len(cosines), looks=len(cosines),
        )
        for (one, other), cosines in grouped.items()
    ]  # fmt: skip


def in_words(looks: Sequence[Look]) -> Iterator[str]:
    """What the looks say, a sentence a pair; for two that pull against each other, where in the encoder it is worst."""
    for pair in pairs(looks):
        sentence = (
            f"{pair.one} and {pair.other} pull {pair.verdict}" if pair.verdict != "independent"
            else f"{pair.one} and {pair.other} hardly touch each other"
        )  # fmt: skip
        sentence += f": mean cosine {pair.cosine:+.2f}, opposed in {pair.opposed:.0%} of {pair.looks} looks"
        if pair.verdict == "against each other":
            layers = sorted({row.layer for row in looks} - {ALL})
            means = {layer: found.cosine for layer in layers for found in pairs(looks, layer) if _same(found, pair)}
            worst = min(means, key=lambda layer: means[layer])
            sentence += f", most in {worst} ({means[worst]:+.2f}); try gradients: upgrad, or train them apart"
        yield sentence


def _same(one: Pair, other: Pair) -> bool:
    return (one.one, one.other) == (other.one, other.other)
