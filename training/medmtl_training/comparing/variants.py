"""The trainings that a joint one is compared with: same encoder, schedule, folds, seeds, crops and number of steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medmtl_training.config import Config, read_config
from medmtl_training.run import RunRequest

FOLDER = "compare"
"""Folder in a run."""

JOINT = "joint"

FRACTIONS = (0.25, 0.5)
"""Shares of the training patients; all of them are the joint training itself."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One further training.

    Attributes:
        name: of its folder.
        request: what it trains.
        task: the only task of a single-task twin, None otherwise.
        fraction: share of the training patients.
    """

    name: str
    request: RunRequest
    task: str | None = None
    fraction: float = 1.0


def trainings(request: RunRequest) -> int:
    """How many trainings a comparison takes, the joint one included."""
    return 1 + len(variants(request, request.config))


def variants(request: RunRequest, config: Config) -> list[Variant]:
    """The trainings beside `request`, with the steps that stand in `config`.

    Crops are drawn as in the joint training in all of them; a twin only has no head for any other task, so that step by
    step it sees the same crops.
    """
    found = []
    settings = config.settings
    if settings.weighting != "equal":
        even = replace(config, settings=replace(settings, weighting="equal"))
        found.append(Variant(name="equal", request=_beside(request, even, "equal")))
    tasks = [task.name for task in request.dataset.tasks if not task.auxiliary]
    if len(request.dataset.tasks) > 1:
        for task in tasks:
            name = f"only_{task}"
            twin = replace(_beside(request, config, name), only=(task,))
            found.append(Variant(name=name, task=task, request=twin))
    for share in FRACTIONS:
        name = f"fraction_{share:.0%}".rstrip("%")
        part = replace(_beside(request, config, name), fraction=share)
        found.append(Variant(name=name, fraction=share, request=part))
    return found


def trained_config(request: RunRequest) -> Config:
    """The configuration as the joint training fixed it."""
    return replace(request.config, settings=read_config(request.folder / "plan.yaml").settings)


def curves(folder: Path, folds: Sequence[int]) -> list[Path]:
    """`curves.csv` of each fold's network."""
    return [folder / f"fold_{fold}" / "curves.csv" for fold in folds]


def _beside(request: RunRequest, config: Config, name: str) -> RunRequest:
    folder = request.folder / FOLDER / name
    prepared = request.dataset.prepared or request.folder / "prepared"
    model = {key: value for key, value in config.model.items() if key != "ships"}
    return replace(
        request,
        folder=folder,
        dataset=replace(request.dataset, prepared=prepared),
        config=replace(config, model=model),
        max_seconds=None,
        resume=(folder / "run.json").exists(),
        extend_to=config.settings.steps,
        init=None,
    )
