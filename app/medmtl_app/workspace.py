"""The workspace: a private folder with uploads, results and a worklist that survives a crash."""

import json
import secrets
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

PRIVATE = 0o700
_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
  id TEXT PRIMARY KEY, upload TEXT NOT NULL, number INTEGER NOT NULL, title TEXT NOT NULL,
  state TEXT NOT NULL, phase TEXT NOT NULL DEFAULT '',
  done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
  sample INTEGER NOT NULL DEFAULT 0, series TEXT NOT NULL DEFAULT '', summary TEXT NOT NULL DEFAULT '{}',
  added REAL NOT NULL, started REAL NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0)
"""
_UNFINISHED = (".export-*", "drafts", "reviews/.*.partial")
_CHANGEABLE = frozenset(
    {"title", "state", "phase", "done", "total", "code", "message", "model", "summary", "started", "finished"}
)


class StudyState(StrEnum):
    """Where a study stands."""

    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"
    REVIEWED = "reviewed"  # ready, and a reader has saved a review
    BLOCKED = "blocked"  # readable; no model may answer for it
    FAILED = "failed"
    CANCELLED = "cancelled"


ANSWERED = frozenset({StudyState.READY, StudyState.REVIEWED})
VIEWABLE = ANSWERED | {StudyState.BLOCKED}


@dataclass(frozen=True, kw_only=True)
class Study:
    """A row of the worklist.

    Attributes:
        id: name of its folder, random.
        upload: the upload it came with.
        number: which case of the upload, from 0.
        title: what the worklist calls it.
        state, phase: where it stands, and what a running one is at.
        done, total: windows of the model, 0 where not known.
        code, message: why it is blocked or failed.
        model: the model that was asked for, empty to choose by the study.
        sample: whether it is the sample that comes with the source.
        series: key of the series that was asked for, empty to choose by the study.
        summary: what the worklist shows of the answers.
        added, started, finished: seconds since 1970, 0 where not yet.
    """

    id: str
    upload: str
    number: int
    title: str
    state: StudyState
    phase: str
    done: int
    total: int
    code: str
    message: str
    model: str
    sample: bool
    series: str
    summary: dict[str, Any]
    added: float
    started: float
    finished: float


class Workspace:
    """Folder and worklist; safe to use from several threads.

    Args:
        root: made where it does not stand, readable by its owner alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in (root, root / "uploads", root / "studies"):
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            folder.chmod(PRIVATE)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(root / "worklist.sqlite", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_SCHEMA)
        if "series" not in {row["name"] for row in self._db.execute("PRAGMA table_info(studies)")}:
            self._db.execute("ALTER TABLE studies ADD COLUMN series TEXT NOT NULL DEFAULT ''")  # a workspace of before

    def close(self) -> None:
        """Closes the worklist's file."""
        with self._lock:
            self._db.close()

    def recover(self) -> None:
        """After a crash: what was running waits again; uploads, drafts and exports that never ended are removed."""
        with self._lock:
            self._db.execute("UPDATE studies SET state = 'waiting', phase = '', done = 0 WHERE state = 'running'")
            known = {row["upload"] for row in self._db.execute("SELECT DISTINCT upload FROM studies")}
        for folder in (self.root / "uploads").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        for pattern in _UNFINISHED:
            for folder in self.root.glob(f"studies/*/{pattern}"):
                shutil.rmtree(folder, ignore_errors=True)

    def new_upload(self) -> str:
        """Name of a new, empty upload."""
        name = secrets.token_hex(8)
        (self.root / "uploads" / name).mkdir(mode=PRIVATE)
        return name

    def upload_folder(self, upload: str) -> Path:
        """Where the files of an upload lie."""
        return self.root / "uploads" / upload

    def folder(self, study_id: str) -> Path:
        """Where results and view of a study lie."""
        return self.root / "studies" / study_id

    def add(
        self, upload: str, *, number: int = 0, title: str = "", model: str = "", sample: bool = False, series: str = ""
    ) -> Study:
        """A new waiting study of an upload."""
        study_id = secrets.token_hex(8)
        self.folder(study_id).mkdir(mode=PRIVATE)
        row = (study_id, upload, number, title, StudyState.WAITING, model, int(sample), series, time.time())
        with self._lock:
            columns = "id, upload, number, title, state, model, sample, series, added"
            self._db.execute(f"INSERT INTO studies ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", row)
            return self.study(study_id)

    def studies(self) -> tuple[Study, ...]:
        """All of the worklist, the newest first."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM studies ORDER BY added DESC, number").fetchall()
        return tuple(_study(row) for row in rows)

    def study(self, study_id: str) -> Study:
        """One row.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            row = self._db.execute("SELECT * FROM studies WHERE id = ?", (study_id,)).fetchone()
        if row is None:
            raise KeyError(study_id)
        return _study(row)

    def change(self, study_id: str, values: dict[str, Any]) -> None:
        """Sets columns of a row; a removed one stays removed."""
        if not values or not values.keys() <= _CHANGEABLE:
            raise ValueError(f"cannot be changed: {sorted(values)}")
        stored = {key: json.dumps(value) if key == "summary" else value for key, value in values.items()}
        columns = ", ".join(f"{key} = ?" for key in stored)
        with self._lock:
            self._db.execute(f"UPDATE studies SET {columns} WHERE id = ?", (*stored.values(), study_id))

    def move(self, study_id: str, before: frozenset[StudyState], after: StudyState, values: dict[str, Any]) -> bool:
        """Goes from one of the states `before` to `after`; False where it is in none of them."""
        with self._lock:
            try:
                if self.study(study_id).state not in before:
                    return False
            except KeyError:
                return False
            self.change(study_id, {**values, "state": after})
            return True

    def next_waiting(self) -> Study | None:
        """The study that has waited longest, now running; None where none waits."""
        with self._lock:
            row = self._db.execute(
                "SELECT * FROM studies WHERE state = 'waiting' ORDER BY added, number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            fresh = {"phase": "starting", "done": 0, "total": 0, "code": "", "message": "", "started": time.time()}
            self.change(row["id"], {**fresh, "state": StudyState.RUNNING, "finished": 0})
            return self.study(row["id"])

    def remove(self, study_id: str) -> None:
        """Removes a study, and its upload where no other study is of it."""
        with self._lock:
            study = self.study(study_id)
            self._db.execute("DELETE FROM studies WHERE id = ?", (study_id,))
            left = self._db.execute("SELECT COUNT(*) FROM studies WHERE upload = ?", (study.upload,)).fetchone()[0]
        shutil.rmtree(self.folder(study_id), ignore_errors=True)
        if not left:
            shutil.rmtree(self.upload_folder(study.upload), ignore_errors=True)


def _study(row: sqlite3.Row) -> Study:
    values = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a Row iterates over its values
    values |= {"state": StudyState(values["state"]), "sample": bool(values["sample"])}
    return Study(**{**values, "summary": json.loads(values["summary"])})
