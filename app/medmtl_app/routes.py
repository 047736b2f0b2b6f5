"""HTTP routes of the page: its own code, the worklist, one study, its voxels and its export.

All but the code need the session's token; voxels and exports need the session's grant for the study, too. What is
not allowed and what does not exist answer alike: 404.
"""

import functools
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from medmtl.bundle.catalogue import bundle_folders
from medmtl.errors import MedmtlError
from medmtl_app.jobs import Jobs
from medmtl_app.pacs import Pacs
from medmtl_app.responses import PRIVATE, gone, refusal
from medmtl_app.review_routes import ReviewRoutes
from medmtl_app.reviews import Reviews
from medmtl_app.sample import sample_path, take_sample
from medmtl_app.sessions import Sessions
from medmtl_app.stored_study import view_path
from medmtl_app.study_page import study_page
from medmtl_app.uploads import Uploads
from medmtl_app.workspace import VIEWABLE, Study, StudyState, Workspace

COMPONENT = Path(__file__).resolve().parent / "component"
_SERIES_KEY = re.compile(r"[0-9a-f]{16}")
TOKEN_HEADER = "x-medmtl-token"
_KINDS = {".js": "text/javascript", ".css": "text/css"}
Handler = Callable[["Api", Request, str], Awaitable[Response]]


class Api:
    """What the routes work on."""

    def __init__(self, workspace: Workspace, jobs: Jobs, sessions: Sessions, pacs: str = "") -> None:
        self.workspace, self.jobs, self.sessions = workspace, jobs, sessions
        self.uploads = Uploads(workspace, jobs)
        self.reviews = ReviewRoutes(Reviews(workspace), self.granted, sessions.reader)
        self.pacs = Pacs(pacs, workspace, jobs, self.reviews.reviews, self.granted)

    def routes(self) -> list[Route]:
        """All routes, for `st.App`."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/medmtl/worklist", _worklist),
            ("GET", "/medmtl/studies/{study}", _open),
            ("POST", "/medmtl/studies/{study}/cancel", _cancel),
            ("POST", "/medmtl/studies/{study}/run", _run),
            ("DELETE", "/medmtl/studies/{study}", _remove),
            ("GET", "/medmtl/voxels/{grant}/{name}", _voxels),
            ("GET", "/medmtl/person/{grant}", _person),
            ("GET", "/medmtl/thumbs/{study}", _thumb),
            ("GET", "/medmtl/series/{grant}", _series),
            ("POST", "/medmtl/series/{grant}", _open_series),
            ("GET", "/medmtl/export/{grant}", lambda api, *call: api.reviews.export(*call)),
            ("PUT", "/medmtl/drawn/{grant}/{name}", lambda api, *call: api.reviews.put_map(*call)),
            ("POST", "/medmtl/islands/{grant}", lambda api, *call: api.reviews.islands(*call)),
            ("POST", "/medmtl/reviews/{grant}", lambda api, *call: api.reviews.save(*call)),
            ("POST", "/medmtl/sample", _sample),
            ("POST", "/medmtl/pacs/find", lambda api, *call: api.pacs.find(*call)),
            ("POST", "/medmtl/pacs/fetch", lambda api, *call: api.pacs.fetch(*call)),
            ("POST", "/medmtl/pacs/send/{grant}", lambda api, *call: api.pacs.send(*call)),
            ("POST", "/medmtl/uploads", _begin_upload),
            ("PUT", "/medmtl/uploads/{upload}/files", _put_file),
            ("POST", "/medmtl/uploads/{upload}/finish", _finish_upload),
        ]
        guarded = [Route(path, functools.partial(self._guarded, call), methods=[verb]) for verb, path, call in table]
        return [Route("/medmtl/ui/{name}", _component, methods=["GET"]), *guarded]

    async def _guarded(self, handler: Handler, request: Request) -> Response:
        session = self.sessions.session_of(request.headers.get(TOKEN_HEADER, ""))
        if session is None:
            return gone()
        try:
            return await handler(self, request, session)
        except KeyError:
            return gone()

    def granted(self, request: Request, session: str) -> Study:
        """The study that the grant in the path stands for.

        Raises:
            KeyError: this session holds no such grant.
        """
        study_id = self.sessions.study_of(session, request.path_params["grant"])
        if study_id is None:
            raise KeyError("grant")
        return self.workspace.study(study_id)


async def _component(request: Request) -> Response:
    name = request.path_params["name"]
    known = {path.name: path for path in COMPONENT.iterdir() if path.suffix in _KINDS}
    if name not in known:
        return gone()
    kind = _KINDS[known[name].suffix]
    return FileResponse(known[name], media_type=kind, headers={"Cache-Control": "no-cache"})


async def _worklist(api: Api, request: Request, session: str) -> Response:
    rows = [worklist_row(study) for study in await run_in_threadpool(api.workspace.studies)]
    body = {"studies": rows, "sample": sample_path() is not None, "models": _models(), "cores": os.cpu_count()}
    body["pacs"] = api.pacs.names
    return JSONResponse(body, headers=PRIVATE)


def worklist_row(study: Study) -> dict[str, Any]:
    """What the worklist shows of a study."""
    keys = (
        "id",
        "upload",
        "title",
        "state",
        "phase",
        "done",
        "total",
        "code",
        "message",
        "sample",
        "number",
        "series",
        "summary",
        "started",
    )
    return {key: getattr(study, key) for key in keys}


def _models() -> list[str]:
    return sorted(bundle_folders())


async def _open(api: Api, request: Request, session: str) -> Response:
    study = api.workspace.study(request.path_params["study"])
    row = worklist_row(study)
    if study.state not in VIEWABLE:
        return JSONResponse({"study": row, "page": None, "grant": None}, headers=PRIVATE)
    try:
        page = await run_in_threadpool(study_page, study, api.workspace.folder(study.id), _version(request))
    except OSError:
        return gone()
    return JSONResponse({"study": row, "page": page, "grant": api.sessions.grant(session, study.id)}, headers=PRIVATE)


def _version(request: Request) -> int | None:
    """The version that is asked for; None for the newest."""
    asked = request.query_params.get("version", "")
    return int(asked) if asked.isdigit() and len(asked) < 9 else None


async def _cancel(api: Api, request: Request, session: str) -> Response:
    await run_in_threadpool(api.jobs.cancel, request.path_params["study"])
    return JSONResponse({}, headers=PRIVATE)


async def _run(api: Api, request: Request, session: str) -> Response:
    model = await _text(request, "model")
    if model not in ("", *_models()):
        return refusal(400, "no-such-model")
    moved = await run_in_threadpool(api.jobs.again, request.path_params["study"], model)
    return JSONResponse({}, headers=PRIVATE) if moved else refusal(409, "busy")


async def _remove(api: Api, request: Request, session: str) -> Response:
    study = api.workspace.study(request.path_params["study"])
    if study.state is StudyState.RUNNING:
        return refusal(409, "busy")
    await run_in_threadpool(api.workspace.remove, study.id)
    return JSONResponse({}, headers=PRIVATE)


async def _voxels(api: Api, request: Request, session: str) -> Response:
    name = request.path_params["name"]
    path = view_path(api.workspace.folder(api.granted(request, session).id), name)
    if path is None:
        return gone()
    # a response that names its encoding is not packed again, which would take seconds
    packed = {"Content-Encoding": "gzip" if name.endswith(".gz") else "identity"}
    return FileResponse(path, media_type="application/octet-stream", headers={**PRIVATE, **packed})


async def _person(api: Api, request: Request, session: str) -> Response:
    """What is shown on request alone; never written to the worklist."""
    path = api.workspace.folder(api.granted(request, session).id) / "view" / "person.json"
    found = json.loads(path.read_bytes()) if path.is_file() else {}
    return JSONResponse(found, headers=PRIVATE)


async def _thumb(api: Api, request: Request, session: str) -> Response:
    path = api.workspace.folder(api.workspace.study(request.path_params["study"]).id) / "view" / "thumb.png"
    return FileResponse(path, media_type="image/png", headers=PRIVATE) if path.is_file() else gone()


async def _series(api: Api, request: Request, session: str) -> Response:
    """The series of the open study."""
    try:
        rows = await run_in_threadpool(api.reviews.reviews.series, api.granted(request, session))
    except MedmtlError as error:
        return refusal(500, str(error.code))
    return JSONResponse({"series": rows}, headers=PRIVATE)


async def _open_series(api: Api, request: Request, session: str) -> Response:
    """A row of the worklist for another series of the open study; the one that is there already where there is one."""
    study, key = api.granted(request, session), await _text(request, "series")
    if not _SERIES_KEY.fullmatch(key):
        return refusal(400, "bad-option")
    for other in await run_in_threadpool(api.workspace.studies):
        if (other.upload, other.number, other.series) == (study.upload, study.number, key):
            return JSONResponse({"study": other.id}, headers=PRIVATE)
    added = await run_in_threadpool(
        functools.partial(api.workspace.add, study.upload, number=study.number, title=study.title, series=key)
    )
    api.jobs.wake()
    return JSONResponse({"study": added.id}, headers=PRIVATE)


async def _sample(api: Api, request: Request, session: str) -> Response:
    study = await run_in_threadpool(take_sample, api.workspace)
    if study is None:
        return gone()
    api.jobs.wake()
    return JSONResponse({"study": study.id}, headers=PRIVATE)


async def _begin_upload(api: Api, request: Request, session: str) -> Response:
    return JSONResponse({"upload": await run_in_threadpool(api.uploads.begin, session)}, headers=PRIVATE)


async def _put_file(api: Api, request: Request, session: str) -> Response:
    name = request.query_params.get("path", "")
    refused = await api.uploads.put(session, request.path_params["upload"], name, request)
    return JSONResponse({}, headers=PRIVATE) if refused is None else refusal(*refused)


async def _finish_upload(api: Api, request: Request, session: str) -> Response:
    study = await run_in_threadpool(api.uploads.finish, session, request.path_params["upload"])
    return JSONResponse({"study": study.id}, headers=PRIVATE)


async def _text(request: Request, key: str) -> str:
    try:
        return str(json.loads(await request.body() or b"{}").get(key, ""))
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        return ""
