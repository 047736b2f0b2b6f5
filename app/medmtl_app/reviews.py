"""Reviews of studies: what the page needs to make one, and saving it as a new version."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from medmtl.cli.main import ALLOCATOR
from medmtl.errors import Code, MedmtlError, UsageError
from medmtl.outputs.sentences import LANGUAGES, title_of
from medmtl.outputs.write_case import DEFAULT_FORMATS, DICOM_FORMATS, FORMATS
from medmtl.pipeline.stored import Rules
from medmtl.task import Kind
from medmtl_app.stored_study import RULES, case_folder, newest_version, read_json
from medmtl_app.version_view import absent_labels
from medmtl_app.workspace import ANSWERED, PRIVATE, Study, StudyState, Workspace

MAX_READER, MAX_COMMENT = 80, 2000
_WORDS = ("lesions", "structures", "classes")


class Reviews:
    """Saves versions, one at a time, and keeps the maps that are drawn until they are saved."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()

    def draft_path(self, session: str, study_id: str, name: str) -> Path:
        """Where a session's drawn map of a study waits to be saved."""
        folder = self._drafts(session, study_id)
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        return folder / f"{name}.raw.gz"

    def save(self, session: str, study: Study, body: Mapping[str, Any]) -> int:
        """Saves a review as a new version and gives its number.

        Args:
            session: whose drafts are meant.
            study: a reviewable one.
            body: `reader`, `comment`, `based_on`, `lesions`, `structures`, `classes`, `drawn` (names of maps).

        Raises:
            UsageError: `bad-option`, what was sent is no review of this study.
            MedmtlError: it could not be saved.
        """
        folder = self.workspace.folder(study.id)
        request = _checked(body, newest_version(folder))
        request["drafts"] = {name: str(self._draft(session, study.id, name)) for name in request.pop("drawn")}
        with self._lock:
            version = newest_version(folder) + 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            told = run_job({**request, **self._place(study), "do": "save", "version": version, "time": now})
        shutil.rmtree(self._drafts(session, study.id), ignore_errors=True)
        summary = {**study.summary, "lesions": told["lesions"], "reader": request["reader"], "version": version}
        self.workspace.move(study.id, ANSWERED, StudyState.REVIEWED, {"summary": summary})
        return version

    def export(self, study: Study, version: int, formats: Iterable[str]) -> Path:
        """A new folder with a version in the asked formats; the caller removes it.

        Raises:
            UsageError: `bad-option`, a format that there is not.
            MedmtlError: the files could not be written.
        """
        wanted = sorted(set(formats))
        if not wanted or not set(wanted) <= FORMATS:
            raise UsageError(Code.BAD_OPTION, "an unknown format was asked for", "choose again")
        target = self.workspace.folder(study.id) / f".export-{secrets.token_hex(4)}"
        target.mkdir(mode=PRIVATE)
        try:
            run_job(
                {**self._place(study), "do": "export", "version": version, "formats": wanted, "target": str(target)}
            )
        except MedmtlError:
            shutil.rmtree(target, ignore_errors=True)
            raise
        return target

    def series(self, study: Study) -> list[dict[str, Any]]:
        """What `listed` says of the study.

        Raises:
            MedmtlError: its files can no longer be read.
        """
        rows: list[dict[str, Any]] = run_job({**self._place(study), "do": "series"})["series"]
        return rows

    def _place(self, study: Study) -> dict[str, Any]:
        upload = self.workspace.upload_folder(study.upload)
        return {"study": str(self.workspace.folder(study.id)), "upload": str(upload), "number": study.number}

    def _drafts(self, session: str, study_id: str) -> Path:
        return self.workspace.folder(study_id) / "drafts" / sha256(session.encode()).hexdigest()[:16]

    def _draft(self, session: str, study_id: str, name: str) -> Path:
        known = {path.name: path for path in self._drafts(session, study_id).glob("*.raw.gz")}
        if f"{name}.raw.gz" not in known:
            raise UsageError(Code.BAD_OPTION, "a drawn map was not sent", "save again")
        return known[f"{name}.raw.gz"]


def run_job(request: Mapping[str, Any], module: str = "medmtl_app.review_job") -> dict[str, Any]:
    """What the process of a job says that reads its request from stdin.

    Raises:
        MedmtlError: it refused, or ended early.
    """
    done = subprocess.run(
        [sys.executable, "-m", module], input=json.dumps(request), text=True, check=False,
        capture_output=True, env={**os.environ, **ALLOCATOR},
    )  # fmt: skip
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        log = Path(request["study"]) / "review.err"
        log.write_text(done.stderr, encoding="utf-8")
        raise MedmtlError(Code.INTERNAL_ERROR, "the job ended early", "try again and report it") from None
    if not told["ok"]:
        raise MedmtlError(Code(told["code"]), told["message"], "try again")
    return told


def review_page(folder: Path, version: int, findings: Mapping[str, Any], view: dict[str, Any]) -> dict[str, Any]:
    """Words of a version, all versions there are, structures that may be drawn, and formats that may be exported.

    Raises:
        OSError: there is no such version.
    """
    rules = Rules.from_mapping(read_json(folder / RULES))
    said = read_json(case_folder(folder, version) / "review.json") if version else {}
    rows = [read_json(case_folder(folder, n) / "review.json") for n in range(1, newest_version(folder) + 1)]
    from_dicom = "series_uids" in findings["input"]
    lesions = {str(row["id"]): _word(row) for row in said.get("lesions", [])}
    return {
        "version": version,
        "versions": [{key: row[key] for key in ("version", "reader", "time", "based_on")} for row in rows],
        "comment": said.get("comment", ""),
        "lesions": lesions,
        "structures": {path: _word(row) for path, row in said.get("structures", {}).items()},
        "classes": {name: _word(row) for name, row in said.get("classes", {}).items()},
        "drawn_lesions": said.get("lesions"),
        "absent": _titled(absent_labels(view, rules.tasks), findings),
        "regions": [task.name for task in rules.tasks if task.kind is Kind.REGIONS],
        "minimum_lesion_ml": rules.minimum_lesion_ml,
        "formats": [
            {"name": name, "chosen": name in DEFAULT_FORMATS}
            for name in sorted(FORMATS, key=lambda name: (name not in DEFAULT_FORMATS, name))
            if from_dicom or name not in DICOM_FORMATS
        ],
    }


def _titled(rows: list[dict[str, Any]], findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked = [row for row in rows if row["task"] in findings["tasks"]]
    return [
        {
            **row,
            "title": {language: title_of(findings, f"{row['task']}.{row['name']}", language) for language in LANGUAGES},
        }
        for row in asked
    ]


def _word(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("decision", "comment", "class") if key in row}


def _checked(body: Mapping[str, Any], newest: int) -> dict[str, Any]:
    """The parts of a review that come from the browser, each of the right shape."""
    reader, comment = str(body.get("reader", "")).strip(), str(body.get("comment", "")).strip()
    based_on, drawn = body.get("based_on"), body.get("drawn", [])
    words = {key: body.get(key, {}) for key in _WORDS}
    sound = (
        0 < len(reader) <= MAX_READER
        and len(comment) <= MAX_COMMENT
        and isinstance(based_on, int)
        and 0 <= based_on <= newest
        and isinstance(drawn, list)
        and all(
            isinstance(rows, dict) and all(isinstance(row, dict) for row in rows.values()) for rows in words.values()
        )
        and all(key.isdigit() for key in words["lesions"])
    )
    if not sound:
        raise UsageError(Code.BAD_OPTION, "this is no review of the study", "save again")
    return {"reader": reader, "comment": comment, "based_on": based_on, "drawn": [str(name) for name in drawn], **words}
