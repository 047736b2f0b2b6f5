"""HTTP routes of reviewing: drawn maps in, islands out, versions saved, results exported. All need a grant."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from medmtl.errors import MedmtlError, UsageError
from medmtl_app.corrections import pack, unpack, without_islands
from medmtl_app.responses import PRIVATE, gone, refusal
from medmtl_app.reviews import Reviews
from medmtl_app.stored_study import newest_version, view_of
from medmtl_app.study_page import export_zip
from medmtl_app.uploads import safe_path
from medmtl_app.workspace import ANSWERED, Study

_MAX_REVIEW = 1 << 20
_SPARE = 1 << 16  # what gzip may add to a map that cannot be packed
Granted = Callable[[Request, str], Study]


class ReviewRoutes:
    """What the routes work on.

    Args:
        reviews: saves and exports.
        granted: the study that a request's grant stands for; raises KeyError without one.
        signed_in: name of the reader of a session, empty where nobody has to sign in.
    """

    def __init__(self, reviews: Reviews, granted: Granted, signed_in: Callable[[str], str]) -> None:
        self.reviews = reviews
        self._granted, self._signed_in = granted, signed_in

    async def put_map(self, request: Request, session: str) -> Response:
        """Keeps one drawn map until its review is saved."""
        study = self._answered(request, session)
        name = request.path_params["name"]
        if str(safe_path(name)) != name:
            return gone()
        data = await _body(request, self._voxels(study) + _SPARE)
        if data is None:
            return refusal(413, "too-large")
        path = self.reviews.draft_path(session, study.id, name)
        await run_in_threadpool(path.write_bytes, data)
        return JSONResponse({}, headers=PRIVATE)

    async def islands(self, request: Request, session: str) -> Response:
        """One structure's mask in its box, without its islands; both gzipped uint8, i fastest."""
        study = self._answered(request, session)
        try:
            shape = tuple(int(part) for part in request.query_params["shape"].split(","))
            least = int(request.query_params["least"])
        except (KeyError, ValueError):
            return refusal(400, "bad-option")
        most = self._voxels(study)
        if len(shape) != 3 or min(shape) < 1 or int(np.prod(shape, dtype=np.int64)) > most or least < 0:
            return refusal(400, "bad-option")
        data = await _body(request, most + _SPARE)
        try:
            kept = await run_in_threadpool(_kept, data or b"", shape, least)
        except UsageError as error:
            return refusal(400, str(error.code))
        return Response(kept, media_type="application/octet-stream", headers={**PRIVATE, "Content-Encoding": "gzip"})

    async def save(self, request: Request, session: str) -> Response:
        """Saves a review as a new version."""
        study = self._answered(request, session)
        body = await _body(request, _MAX_REVIEW)
        try:
            said: Any = json.loads(body or b"null")
            said = said if isinstance(said, dict) else {}
            if reader := self._signed_in(session):
                said["reader"] = reader  # nobody signs for another
            version = await run_in_threadpool(self.reviews.save, session, study, said)
        except (json.JSONDecodeError, UnicodeDecodeError):
            return refusal(400, "bad-option")
        except MedmtlError as error:
            return refusal(400 if isinstance(error, UsageError) else 500, str(error.code))
        return JSONResponse({"version": version}, headers=PRIVATE)

    async def export(self, request: Request, session: str) -> Response:
        """A version in the asked formats as a zip."""
        study = self._answered(request, session)
        folder = self.reviews.workspace.folder(study.id)
        version = request.query_params.get("version", str(newest_version(folder)))
        formats = [name for name in request.query_params.get("formats", "").split(",") if name]
        if not version.isdigit() or not int(version) <= newest_version(folder):
            return gone()
        try:
            target = await run_in_threadpool(self.reviews.export, study, int(version), formats)
        except MedmtlError as error:
            return refusal(400 if isinstance(error, UsageError) else 500, str(error.code))
        pieces = iterate_in_threadpool(_zip_and_remove(target))
        return StreamingResponse(pieces, media_type="application/zip", headers=PRIVATE)

    def _answered(self, request: Request, session: str) -> Study:
        study = self._granted(request, session)
        if study.state not in ANSWERED:
            raise KeyError(study.id)
        return study

    def _voxels(self, study: Study) -> int:
        return int(np.prod(view_of(self.reviews.workspace.folder(study.id), 0)["shape"], dtype=np.int64))


async def _body(request: Request, most: int) -> bytes | None:
    """The request's body, None where it is longer than `most` bytes."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > most:
            return None
    return bytes(held)


def _kept(data: bytes, shape: tuple[int, ...], least: int) -> bytes:
    mask = unpack(data, int(np.prod(shape))).reshape(shape, order="F") > 0
    return pack(without_islands(mask, least))


def _zip_and_remove(target: Path) -> Iterator[bytes]:
    try:
        yield from export_zip(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
