"""The queue of the node: images received, studies to answer, results to deliver. SIGKILL loses nothing of it.

Holds no identity: studies, series and instances stand in it as hashes of their UIDs.
"""

import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from medmtl.errors import Code, UsageError

FILE = "queue.sqlite"
MAX_STARTS = 3
"""How often a study is begun: one that takes the node down with it must not do so for ever."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
  study TEXT PRIMARY KEY, name TEXT NOT NULL, last REAL NOT NULL, open INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS instances (
  study TEXT NOT NULL, series TEXT NOT NULL, instance TEXT NOT NULL, digest TEXT NOT NULL, calling TEXT NOT NULL,
  PRIMARY KEY (study, instance));
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, name TEXT NOT NULL, rule TEXT NOT NULL,
  content TEXT NOT NULL, images INTEGER NOT NULL, state TEXT NOT NULL, starts INTEGER NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '', supersedes INTEGER,
  added REAL NOT NULL, finished REAL NOT NULL DEFAULT 0, UNIQUE (study, rule, content));
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, destination TEXT NOT NULL, file TEXT NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL,
  code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '', transaction_uid TEXT NOT NULL DEFAULT '',
  UNIQUE (job, destination, file));
"""


class JobState(StrEnum):
    """Where a study stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"  # it cannot be read, or no model may answer
    FAILED = "failed"  # medmtl itself failed
    SUPERSEDED = "superseded"  # more images came before it was begun
    DROPPED = "dropped"


class DeliveryState(StrEnum):
    """Where one object on its way to one destination stands."""

    WAITING = "waiting"
    COMMITTING = "committing"  # taken by the archive, which has not yet committed to keep it
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True)
class Received:
    """An image as the queue knows it: hashes of its UIDs, SHA-256 of its data set, AE title of its sender."""

    study: str
    series: str
    instance: str
    digest: str
    calling: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A study that a rule wants answered.

    Attributes:
        content: hash over its images; the same content is answered once per rule.
        supersedes: the job whose result this one replaces, where more images came in.
    """

    id: int
    study: str
    name: str
    rule: str
    content: str
    images: int
    state: JobState
    starts: int
    code: str
    message: str
    supersedes: int | None
    added: float
    finished: float


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One object for one destination; `file` is relative to the job's folder."""

    id: int
    job: int
    destination: str
    file: str
    state: DeliveryState
    attempts: int
    due: float
    code: str
    message: str
    transaction_uid: str


class Queue:
    """The queue in `folder`; safe for several threads and processes.

    Args:
        folder: made where it does not stand, readable by its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / FILE, check_same_thread=False, isolation_level=None, timeout=30.0)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def recover(self) -> None:
        """After a crash: what was running waits again, unless it has been begun `MAX_STARTS` times."""
        died = f"the node ended {MAX_STARTS} times while it answered this study"
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'failed', code = ?, message = ?, finished = ? "
                "WHERE state = 'running' AND starts >= ?",
                (Code.INTERNAL_ERROR, died, time.time(), MAX_STARTS),
            )
            db.execute("UPDATE jobs SET state = 'waiting' WHERE state = 'running'")

    def receive(self, one: Received, name: str) -> bool:
        """Notes a stored image; False where the very same one had been there. Its study is open again if it is new."""
        with self._transaction() as db:
            known = db.execute(
                "SELECT digest FROM instances WHERE study = ? AND instance = ?", (one.study, one.instance)
            ).fetchone()
            if known is not None and known["digest"] == one.digest:
                return False
            db.execute(
                "INSERT OR REPLACE INTO instances (study, series, instance, digest, calling) VALUES (?,?,?,?,?)",
                (one.study, one.series, one.instance, one.digest, one.calling),
            )
            db.execute(
                "INSERT INTO studies (study, name, last) VALUES (?,?,?) "
                "ON CONFLICT (study) DO UPDATE SET last = excluded.last, open = 1",
                (one.study, name, time.time()),
            )
        return True

    def quiet(self, before: float) -> tuple[tuple[str, str, float], ...]:
        """Study, name and time of the last image of every open study without a new one since `before`."""
        rows = self._rows("SELECT * FROM studies WHERE open = 1 AND last <= ? ORDER BY last", before)
        return tuple((row["study"], row["name"], row["last"]) for row in rows)

    def images(self, study: str) -> tuple[Received, ...]:
        """Every image of a study."""
        rows = self._rows("SELECT * FROM instances WHERE study = ? ORDER BY instance", study)
        return tuple(Received(**dict(row)) for row in rows)

    def holds(self, instance: str) -> bool:
        """Whether an image of this hash is on disk."""
        return bool(self._rows("SELECT 1 FROM instances WHERE instance = ? LIMIT 1", instance))

    def shut(self, study: str, last: float, wanted: Sequence[tuple[str, str, int]]) -> tuple[int, ...]:
        """Ends a study's intake and queues a job per rule that wants it; gives the new jobs.

        Nothing happens where an image came in after `last`. Jobs of the study that were not yet begun and have less
        content are superseded; content that was queued before is not queued again.

        Args:
            study: hash of its UID.
            last: as `quiet` gave it.
            wanted: rule, content and number of images.
        """
        made = []
        with self._transaction() as db:
            row = db.execute("SELECT name FROM studies WHERE study = ? AND last = ?", (study, last)).fetchone()
            if row is None:
                return ()
            db.execute("UPDATE studies SET open = 0 WHERE study = ?", (study,))
            for rule, content, images in wanted:
                found = db.execute(
                    "INSERT OR IGNORE INTO jobs (study, name, rule, content, images, state, added) "
                    "VALUES (?,?,?,?,?,'waiting',?)",
                    (study, row["name"], rule, content, images, time.time()),
                )
                if found.rowcount == 1:
                    made.append(int(found.lastrowid or 0))
                    db.execute(
                        "UPDATE jobs SET state = 'superseded', finished = ? "
                        "WHERE study = ? AND rule = ? AND state = 'waiting' AND id != ?",
                        (time.time(), study, rule, made[-1]),
                    )
        return tuple(made)

    def next_job(self) -> Job | None:
        """The job that has waited longest, now running; None where none waits."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 1").fetchone()
            if row is None:
                return None
            former = db.execute(
                "SELECT MAX(id) AS id FROM jobs WHERE study = ? AND rule = ? AND state = 'done' AND id < ?",
                (row["study"], row["rule"], row["id"]),
            ).fetchone()
            db.execute(
                "UPDATE jobs SET state = 'running', starts = starts + 1, supersedes = ?, code = '', message = '' "
                "WHERE id = ?",
                (former["id"], row["id"]),
            )
            return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone())

    def wait_again(self, job: int) -> None:
        """Puts a running job back, as if it had not been begun: the node is being stopped."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'waiting', starts = starts - 1 WHERE id = ? AND state = 'running'", (job,)
            )

    def end(self, job: int, state: JobState, *, code: str = "", message: str = "") -> None:
        """Ends a running job without results."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, code = ?, message = ?, finished = ? WHERE id = ? AND state = 'running'",
                (state, code, message, time.time(), job),
            )

    def done(self, job: int, parcels: Collection[tuple[str, str]]) -> None:
        """Ends a running job with its deliveries, destination and file, all in one step."""
        now = time.time()
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = 'done', finished = ? WHERE id = ? AND state = 'running'", (now, job))
            db.executemany(
                "INSERT OR IGNORE INTO deliveries (job, destination, file, state, due) VALUES (?,?,?,'waiting',?)",
                [(job, destination, file, now) for destination, file in parcels],
            )

    def due(self, now: float) -> tuple[Parcel, ...]:
        """What is to be sent, or whose commitment is overdue, of one job and one destination, first come first."""
        rows = self._rows(
            "SELECT * FROM deliveries WHERE state IN ('waiting', 'committing') AND due <= ? ORDER BY job, id", now
        )
        parcels = [_parcel(row) for row in rows]
        return tuple(p for p in parcels if (p.job, p.destination) == (parcels[0].job, parcels[0].destination))

    def deliveries(self, job: int) -> tuple[Parcel, ...]:
        """Every delivery of a job."""
        return tuple(_parcel(row) for row in self._rows("SELECT * FROM deliveries WHERE job = ? ORDER BY id", job))

    def deliver(
        self, parcels: Collection[Parcel], state: DeliveryState, *, due: float = 0.0, error: tuple[str, str] = ("", ""),
        transaction_uid: str = "", failed_once: bool = False,
    ) -> None:  # fmt: skip
        """Moves deliveries to `state`; `failed_once` counts an attempt. Dropped ones stay dropped."""
        with self._transaction() as db:
            db.executemany(
                "UPDATE deliveries SET state = ?, due = ?, code = ?, message = ?, transaction_uid = ?, "
                "attempts = attempts + ? WHERE id = ? AND state IN ('waiting', 'committing')",
                [(state, due, *error, transaction_uid, int(failed_once), parcel.id) for parcel in parcels],
            )

    def committing(self, transaction_uid: str) -> tuple[Parcel, ...]:
        """The deliveries that a commitment is awaited for."""
        rows = self._rows(
            "SELECT * FROM deliveries WHERE state = 'committing' AND transaction_uid = ? ORDER BY id", transaction_uid
        )
        return tuple(_parcel(row) for row in rows)

    def job(self, job: int) -> Job:
        """One job.

        Raises:
            UsageError: `unknown-job`.
        """
        for row in self._rows("SELECT * FROM jobs WHERE id = ?", job):
            return _job(row)
        raise UsageError(Code.UNKNOWN_JOB, f"the queue has no entry {job}", "list it with medmtl queue list")

    def jobs(self) -> tuple[Job, ...]:
        """All jobs, the oldest first."""
        return tuple(_job(row) for row in self._rows("SELECT * FROM jobs ORDER BY id"))

    def retry(self, job: int) -> bool:
        """Begins a refused, failed or dropped job anew, or sends again what of it could not be sent; False: nothing."""
        self.job(job)
        with self._transaction() as db:
            begun = db.execute(
                "UPDATE jobs SET state = 'waiting', starts = 0, code = '', message = '' "
                "WHERE id = ? AND state IN ('refused', 'failed', 'dropped')",
                (job,),
            )
            sent = db.execute(
                "UPDATE deliveries SET state = 'waiting', attempts = 0, due = 0, code = '', message = '' "
                "WHERE job = ? AND state IN ('failed', 'waiting', 'dropped')",
                (job,),
            )
        return begun.rowcount + sent.rowcount > 0

    def drop(self, job: int) -> bool:
        """Takes a job that is not done, and what of it is not sent, off the queue; False: nothing of it was on."""
        self.job(job)
        with self._transaction() as db:
            begun = db.execute(
                "UPDATE jobs SET state = 'dropped', finished = ? "
                "WHERE id = ? AND state IN ('waiting', 'running', 'refused', 'failed')",
                (time.time(), job),
            )
            sent = db.execute(
                "UPDATE deliveries SET state = 'dropped' "
                "WHERE job = ? AND state IN ('waiting', 'committing', 'failed')",
                (job,),
            )
        return begun.rowcount + sent.rowcount > 0

    def expired(self, before: float) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Studies and jobs whose files can go: closed, nothing open in them, and untouched since `before`."""
        busy = "SELECT id FROM jobs WHERE state IN ('waiting', 'running') OR finished > ?"
        sending = "SELECT job FROM deliveries WHERE state IN ('waiting', 'committing')"
        jobs = self._rows(f"SELECT id FROM jobs WHERE id NOT IN ({busy}) AND id NOT IN ({sending})", before)
        studies = self._rows(
            "SELECT study FROM studies WHERE open = 0 AND last <= ? "
            f"AND study NOT IN (SELECT study FROM jobs WHERE id IN ({busy}) OR id IN ({sending}))",
            before, before,
        )  # fmt: skip
        return tuple(row["study"] for row in studies), tuple(row["id"] for row in jobs)

    def forget(self, studies: Collection[str]) -> None:
        """Forgets the images of studies whose files went; that they were answered stays known."""
        with self._transaction() as db:
            db.executemany("DELETE FROM instances WHERE study = ?", [(study,) for study in studies])
            db.executemany("DELETE FROM studies WHERE study = ? AND open = 0", [(study,) for study in studies])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()


def _job(row: sqlite3.Row) -> Job:
    values = {one.name: row[one.name] for one in fields(Job)}
    return Job(**{**values, "state": JobState(values["state"])})


def _parcel(row: sqlite3.Row) -> Parcel:
    values = {one.name: row[one.name] for one in fields(Parcel)}
    return Parcel(**{**values, "state": DeliveryState(values["state"])})
