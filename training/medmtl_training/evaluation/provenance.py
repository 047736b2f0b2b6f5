"""Which part of a model may answer for a case: only one that was not trained on it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmtl.errors import Code, DatasetError
from medmtl_training.cases import Case

_CHUNK = 1 << 20
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of a model: a fold of a run, or the single network of a bundle.

    Attributes:
        name: what it is called in the model.
        seen: SHA-256 (hex) of the image files it was trained on.
    """

    name: str
    seen: frozenset[str]


def image_hashes(case: Case) -> tuple[str, ...]:
    """SHA-256 (hex) of the bytes of each image file of a case."""
    return tuple(file_hash(path) for path in case.images)


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of the bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def unseen_members(hashes: Mapping[str, Iterable[str]], members: Sequence[Member]) -> dict[str, tuple[str, ...]]:
    """Case name to the members that were not trained on any of its images.

    Args:
        hashes: case name to the SHA-256 of its images.
        members: of the model.

    Raises:
        DatasetError: `seen-in-training` where every member was trained on a case.
    """
    allowed = {
        case: tuple(member.name for member in members if member.seen.isdisjoint(images))
        for case, images in hashes.items()
    }
    seen = sorted(case for case, names in allowed.items() if not names)
    if seen:
        shown = ", ".join(seen[:_NAMED]) + (" ..." if len(seen) > _NAMED else "")
        raise DatasetError(
            Code.SEEN_IN_TRAINING,
            f"{len(seen)} of {len(allowed)} cases were in the training of every fold of the model ({shown})",
            "evaluate the run with its folds, leave the cases out with --folds, or take other cases",
        )
    return allowed
