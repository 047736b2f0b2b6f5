"""Uploads: files streamed to disk as they come, never held in memory."""

import re
import shutil
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from medmtl_app.jobs import Jobs
from medmtl_app.workspace import Study, Workspace

MAX_BYTES = 32 << 30
MAX_FILES = 50_000
_SPARE_BYTES = 512 << 20
_UNSAFE = re.compile(r"[^\w.\-]+")


class Uploads:
    """Uploads that have begun and not ended, each of one browser session."""

    def __init__(self, workspace: Workspace, jobs: Jobs) -> None:
        self.workspace, self.jobs = workspace, jobs
        self._open: dict[str, str] = {}  # upload to session
        self._sizes: dict[str, tuple[int, int]] = {}  # files, bytes

    def begin(self, session: str) -> str:
        """Name of a new upload."""
        upload = self.workspace.new_upload()
        self._open[upload], self._sizes[upload] = session, (0, 0)
        return upload

    async def put(self, session: str, upload: str, name: str, request: Request) -> tuple[int, str] | None:
        """Writes one file of an upload; status and reason where it is refused.

        Args:
            session: who sends it.
            upload: from `begin`.
            name: the file's path as the browser has it; only its letters, digits, dots and dashes are kept.
            request: whose body is the file.

        Raises:
            KeyError: no such upload of this session.
        """
        self._check(session, upload)
        folder = self.workspace.upload_folder(upload)
        files, size = self._sizes[upload]
        if files >= MAX_FILES:
            return 413, "too-many-files"
        self._sizes[upload] = (files + 1, size)
        target = free_name(folder, safe_path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(folder).free - _SPARE_BYTES
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("xb") as sink:
                async for chunk in request.stream():
                    count, size = self._sizes[upload]
                    self._sizes[upload] = (count, size + len(chunk))
                    if size + len(chunk) > MAX_BYTES:
                        return 413, "too-large"
                    room -= len(chunk)
                    if room < 0:
                        return 507, "disk-full"
                    await run_in_threadpool(sink.write, chunk)
            partial.rename(target)
        except ClientDisconnect:
            return 400, "cut-short"
        finally:
            partial.unlink(missing_ok=True)
        return None

    def finish(self, session: str, upload: str) -> Study:
        """The upload as a waiting study.

        Raises:
            KeyError: no such upload of this session.
        """
        self._check(session, upload)
        del self._open[upload], self._sizes[upload]
        names = [path.name for path in self.workspace.upload_folder(upload).rglob("*") if path.is_file()]
        title = names[0] if len(names) == 1 else ""
        study = self.workspace.add(upload, title=title)
        self.jobs.wake()
        return study

    def _check(self, session: str, upload: str) -> None:
        if self._open.get(upload) != session:
            raise KeyError(upload)


def safe_path(name: str) -> Path:
    """A relative path that stays where it is put: no parents, no hidden names, no odd characters."""
    parts = [_UNSAFE.sub("_", part)[-120:].lstrip(".") for part in name.replace("\\", "/").split("/")]
    kept = [part for part in parts if part][-8:]
    return Path(*kept) if kept else Path("file")


def free_name(folder: Path, path: Path) -> Path:
    """`path` in `folder`, numbered in front where it is taken."""
    target, number = folder / path, 1
    while target.exists():
        number += 1
        target = folder / path.parent / f"{number}-{path.name}"
    return target
