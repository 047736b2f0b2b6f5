"""A case without identity: its name, the images that its results refer to, and the proof that nothing was left."""

import csv
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom

from medmtl.errors import Code, OutputError, StudyError
from medmtl.outputs import sentences
from medmtl.outputs.deidentify import METHOD, Pseudonyms, Removed, deidentified
from medmtl.outputs.dicom_check import part10_bytes
from medmtl.outputs.files import cannot_write, json_bytes, write_atomic
from medmtl.outputs.identity_search import search
from medmtl.reading.case_input import CaseInput
from medmtl.reading.dicom_values import PARSE_FAULTS
from medmtl.reading.quiet_pydicom import quiet_pydicom
from medmtl.volume import Volume

IMAGES, REPORT = "images", "deidentified.json"
KEY_BYTES = 32
_WORDED = frozenset({".py", ".j2", ".json"})


def site_key() -> bytes:
    """The secret that pseudonyms are made with, in the file `$MEDMTL_DEIDENTIFY_KEY` or in the user's data folder.

    It is made at first use, for the owner alone. Who has it and an identity can tell the pseudonym, nobody else can.

    Raises:
        OutputError: `cannot-write`.
    """
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = Path(os.environ.get("MEDMTL_DEIDENTIFY_KEY") or data / "medmtl" / "deidentify.key")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise cannot_write(error) from error
    if len(key) < KEY_BYTES:
        what = "the key of pseudonyms is shorter than 32 bytes"
        raise OutputError(Code.CANNOT_WRITE, what, "remove its file, and a new one is made")
    return key


def renamed(cases: Sequence[CaseInput], pseudonyms: Pseudonyms) -> tuple[CaseInput, ...]:
    """The cases under names that say nothing: those of NIfTI files may be names of patients."""
    return tuple(replace(case, name=f"anon-{pseudonyms.word('case', case.name)[:8]}") for case in cases)


def link(path: Path, cases: Sequence[CaseInput], anonymous_cases: Sequence[CaseInput]) -> None:
    """Adds a CSV row per case to `path`, mode 0600: anonymous name, name, source, Study Instance UID (0020,000D).

    Raises:
        OutputError: `cannot-write`.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a", newline="", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            rows = csv.writer(file)
            if file.tell() == 0:
                rows.writerow(("case", "name", "source", "study_instance_uid"))
            for case, anonymous_case in zip(cases, anonymous_cases, strict=True):
                rows.writerow((anonymous_case.name, case.name, str(case.source), case.study_uid or ""))
    except OSError as error:
        raise cannot_write(error) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class AnonymousCase:
    """The volumes of a case, referring to de-identified copies, and how its results are finished.

    Attributes:
        channels: the volumes; their voxels are those of the originals.
        copies: folder of the copies.
        removed: what they were left without.
    """

    channels: tuple[Volume, ...]
    copies: Path
    removed: Removed

    def finish(self, folder: Path, findings: dict[str, Any]) -> list[str]:
        """Adds the images and a report to a result folder, and searches all of it; gives the names of what it added.

        Raises:
            OutputError: `identity-left`.
        """
        names = []
        for path in sorted(self.copies.iterdir()):
            (folder / IMAGES).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / IMAGES / path.name)
            names.append(f"{IMAGES}/{path.name}")
        own_words = _wording() + str([findings["model"], findings["tasks"], findings["checks"]])
        searched = search(folder, self.removed.texts, own_words)
        report = {
            "method": METHOD,
            "images": len(names),
            "removed": dict(sorted(self.removed.elements.items())),
            "texts_searched_for": len(self.removed.texts),
            "files_searched": searched,
            "found": 0,
        }
        write_atomic(folder / REPORT, json_bytes(report))
        return [*names, REPORT]


@contextmanager
def anonymous(channels: tuple[Volume, ...], pseudonyms: Pseudonyms) -> Iterator[AnonymousCase]:
    """A case whose DICOM outputs will refer to de-identified copies of its images, which go at the end.

    Raises:
        StudyError: `burned-in`.
    """
    removed = Removed()
    folder = Path(tempfile.mkdtemp(prefix="medmtl-"))
    copies: dict[str, str] = {}  # the phases of an enhanced cine share one file
    try:
        yield AnonymousCase(
            channels=tuple(_copied(volume, pseudonyms, removed, (folder, copies)) for volume in channels),
            copies=folder,
            removed=removed,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copied(volume: Volume, pseudonyms: Pseudonyms, removed: Removed, target: tuple[Path, dict[str, str]]) -> Volume:
    source = volume.dicom
    if source is None:
        return volume
    folder, copies = target
    for original in (name for name in dict.fromkeys(source.instances) if name not in copies):
        path = folder / f"{len(list(folder.iterdir())) + 1:04d}.dcm"
        try:
            with quiet_pydicom():
                copy = deidentified(pydicom.dcmread(original, force=True), pseudonyms, removed)
                path.write_bytes(part10_bytes(copy))
        except PARSE_FAULTS as fault:
            what = "a header cannot be read in full, so nobody knows what identities it holds"
            raise StudyError(Code.UNREADABLE, what, "export the series again") from fault
        copies[original] = str(path)
    study, series, frame = map(pseudonyms.uid, (source.study_uid, source.series_uid, source.frame_of_reference_uid))
    anonymous_source = replace(
        source,
        study_uid=study,
        series_uid=series,
        frame_of_reference_uid=frame,
        instances=tuple(copies[original] for original in source.instances),
        instance_uids=tuple(pseudonyms.uid(uid) for uid in source.instance_uids),
        description="",
    )
    # masks go out on the channel as it was acquired, which names its series too
    acquired = None if volume.acquired is None else replace(volume.acquired, dicom=anonymous_source)
    return replace(volume, dicom=anonymous_source, acquired=acquired)


def _wording() -> str:
    """The texts that results are made of: sentences, titles, code meanings, our own name."""
    folder = Path(sentences.__file__).parent
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.suffix in _WORDED)
