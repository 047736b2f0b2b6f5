"""Answers for the cases of a data set, each by a network that was not trained on it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medmtl.bundle.bundle import Bundle
from medmtl.bundle.catalogue import find_bundle
from medmtl.errors import Code, TrainingError
from medmtl.pipeline.batch import BatchOptions, Models, run_batch
from medmtl.pipeline.guards import PASSABLE
from medmtl.reading.any_volume import CaseInput, InputKind
from medmtl_training.cases import Dataset
from medmtl_training.evaluation.provenance import Member, image_hashes, unseen_members
from medmtl_training.publish import only_network

CROSS_VALIDATION = "cross_validation"
"""Folder in a run: the networks of its folds, where the bundle has one network of all cases."""

_FORMATS = frozenset({"nii", "json", "csv"})


def predict_heldout(
    model: str, dataset: Dataset, out: Path, images: Mapping[str, tuple[Path, ...]] | None = None
) -> Path:
    """Writes answers to `out` as `medmtl predict` does and returns it.

    Args:
        model: a name, a bundle or a run.
        dataset: whose cases are answered.
        out: folder to write to.
        images: of each case to be answered in place of its own, to see what a change of them does: case-level tasks
            alone, by the network that did not see the case, and past the guards of geometry.

    On the data set that the networks come from, a case is answered by the network of its own fold, as in any
    cross-validation; on other data, or where a fold has no network, all that did not see the case answer together.

    Raises:
        DatasetError: `seen-in-training`: no network of the model may answer a case.
        TrainingError: a case that is in the data set cannot be answered.
    """
    proving = Path(model) / CROSS_VALIDATION
    return answer_unseen(find_bundle(str(proving) if proving.is_dir() else model), dataset, out, images)


def answer_unseen(
    bundle: Bundle, dataset: Dataset, out: Path, images: Mapping[str, tuple[Path, ...]] | None = None
) -> Path:
    """As `predict_heldout`, for a bundle in hand."""
    rows: list[dict[str, Any]] = list(bundle.training["networks"])
    members = [Member(name=row["weights"], seen=frozenset(row["images_sha256"])) for row in rows]
    allowed = unseen_members({case.name: image_hashes(case) for case in dataset.cases}, members)
    own = _networks_of_folds(rows) if any(len(names) < len(members) for names in allowed.values()) else {}
    options = BatchOptions(formats=_FORMATS)
    if images is not None:
        tasks = tuple(task.name for task in bundle.tasks if not task.is_voxel)
        options = BatchOptions(formats=_FORMATS, tasks=tasks, allowed=PASSABLE)
    groups: dict[tuple[str, ...], list[CaseInput]] = {}
    for case in dataset.cases:
        paths = case.images if images is None else images[case.name]
        given = CaseInput(name=case.name, kind=InputKind.NIFTI, paths=paths, source=paths[0])
        names = allowed[case.name]
        groups.setdefault((own[case.fold],) if own.get(case.fold) in names else names, []).append(given)
    for names, cases in sorted(groups.items()):
        part = only_network(bundle, names[0])
        for name in names[1:]:
            part = replace(part, weights=(*part.weights, *only_network(bundle, name).weights))
        for outcome in run_batch(tuple(cases), Models(part, "auto"), options, out, _silent):
            if outcome.error is not None:
                what = f"case {outcome.line.case} cannot be answered: {outcome.error.what}"
                raise TrainingError(Code.UNREADABLE, what, outcome.error.todo)
    return out


def _networks_of_folds(rows: list[dict[str, Any]]) -> dict[int | None, str]:
    """Fold number to the weights' name of the network that was trained without it."""
    names = [str(row["weights"]) for row in rows]
    return {int(found[1]): name for name in names if (found := re.match(r"fold_(\d+)\.", name))}


def _silent(case: CaseInput) -> None:
    return None
