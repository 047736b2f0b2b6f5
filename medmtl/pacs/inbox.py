"""Images on disk: whole files or none, under names that are hashes. Nothing outside the workspace is touched."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medmtl.outputs.files import fsync_folder
from medmtl.pacs.queue import Received

PRIVATE = 0o700


def default_workspace() -> Path:
    """`$MEDMTL_WORKSPACE`, or `medmtl/workspace` below the user's data folder."""
    if given := os.environ.get("MEDMTL_WORKSPACE"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "medmtl" / "workspace"


def hashed(uid: str) -> str:
    """What stands for a UID in names, queue and logs: 32 hex digits of its SHA-256."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def content_of(images: Sequence[Received]) -> str:
    """Hash over images: the same instances with the same bytes, the same content."""
    lines = sorted(f"{one.instance} {one.digest}" for one in images)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """The folders of the node below its workspace: `incoming/STUDY/INSTANCE.dcm`, `jobs/ID/`."""

    root: Path

    def prepare(self) -> None:
        """Makes the folders, and removes what a killed run left half written."""
        for folder in (self.root, self.root / "incoming", self.root / "jobs"):
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            folder.chmod(PRIVATE)
        for partial in self.root.glob("incoming/*/.*.partial"):
            partial.unlink(missing_ok=True)

    def file(self, study: str, instance: str) -> Path:
        """Where an image lies."""
        return self.root / "incoming" / study / f"{instance}.dcm"

    def job(self, number: int) -> Path:
        """The folder of a job: `input/`, `result/`."""
        return self.root / "jobs" / str(number)

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.root).free

    def store(self, one: Received, data: bytes) -> None:
        """Puts an image on disk; it is there when this returns, also after a power cut.

        Raises:
            OSError: it could not be written; nothing is left of it.
        """
        path = self.file(one.study, one.instance)
        path.parent.mkdir(mode=PRIVATE, exist_ok=True)
        partial = path.with_name(f".{one.instance}.{uuid.uuid4().hex}.partial")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)

    def discard(self, one: Received, *, known: bool) -> None:
        """Removes an image that the queue could not note, unless it was `known` before."""
        if not known:
            self.file(one.study, one.instance).unlink(missing_ok=True)

    def freeze(self, number: int, images: Sequence[Received]) -> Path:
        """The input folder of a job, made anew: links to its images, which later ones of the same name do not change.

        Raises:
            OSError: an image is gone.
        """
        folder = self.job(number)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "input").mkdir(mode=PRIVATE, parents=True)
        for one in images:
            os.link(self.file(one.study, one.instance), folder / "input" / f"{one.instance}.dcm")
        return folder / "input"

    def remove_input(self, number: int) -> None:
        """Removes a job's links."""
        shutil.rmtree(self.job(number) / "input", ignore_errors=True)

    def remove(self, studies: Sequence[str], jobs: Sequence[int]) -> int:
        """Removes images and results; gives the number of folders that went."""
        folders = [self.root / "incoming" / study for study in studies] + [self.job(number) for number in jobs]
        there = [folder for folder in folders if folder.exists()]
        for folder in there:
            shutil.rmtree(folder, ignore_errors=True)
        return len(there)
