"""The PACS that `medmtl app --pacs` names: studies come into the worklist from it, and results go to it."""

import json
import shutil
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from medmtl.errors import MedmtlError
from medmtl.pacs.inbox import hashed
from medmtl_app.jobs import Jobs
from medmtl_app.responses import PRIVATE, gone, refusal
from medmtl_app.reviews import Reviews, run_job
from medmtl_app.workspace import ANSWERED, Study, Workspace

MODULE = "medmtl_app.pacs_job"
ASKED = {"accession": "AccessionNumber", "patient": "PatientID", "date": "StudyDate"}


class Pacs:
    """Handlers of its routes; all of them answer 404 where no PACS is named.

    Args:
        told: as `--pacs` was given, empty for none.
        workspace: where studies come to.
        jobs: that answer them.
        reviews: that write what is sent.
        granted: the study that a request's grant stands for; raises KeyError without one.

    Raises:
        UsageError: what was given names no node.
    """

    def __init__(
        self, told: str, workspace: Workspace, jobs: Jobs, reviews: Reviews, granted: Callable[[Request, str], Study]
    ) -> None:
        self._told, self._workspace, self._jobs, self._reviews = told, workspace, jobs, reviews
        self._granted = granted
        self._found: dict[str, tuple[str, dict[str, str]]] = {}  # session to the node asked last, and key to study
        self.names: tuple[str, ...] = tuple(self._ask(do="names")["names"]) if told else ()

    async def find(self, request: Request, session: str) -> Response:
        """Studies of a node by accession number, patient ID or date; their UIDs stay here."""
        body = await _json(request)
        node, wanted = str(body.get("node", "")), {tag: str(body.get(key, "")) for key, tag in ASKED.items()}
        if node not in self.names:
            return gone()
        if not any(wanted.values()):
            return refusal(400, "bad-option")
        try:
            found = await run_in_threadpool(self._ask, do="find", node=node, wanted=wanted)
        except MedmtlError as error:
            return refusal(502, str(error.code))
        self._found[session] = node, {hashed(uid): uid for uid in found["studies"]}
        rows = [{"key": hashed(uid), "series": series} for uid, series in found["studies"].items()]
        return JSONResponse({"studies": rows}, headers=PRIVATE)

    async def fetch(self, request: Request, session: str) -> Response:
        """One of the studies that this session found last, as an upload of its own."""
        node, known = self._found.get(session, ("", {}))
        uid = known.get(str((await _json(request)).get("key", "")))
        if uid is None:
            return gone()
        upload = await run_in_threadpool(self._workspace.new_upload)
        target = self._workspace.upload_folder(upload)
        try:
            await run_in_threadpool(self._ask, do="fetch", node=node, study_uid=uid, target=str(target))
        except MedmtlError as error:
            await run_in_threadpool(shutil.rmtree, target, ignore_errors=True)
            return refusal(502, str(error.code))
        study = await run_in_threadpool(self._workspace.add, upload)
        self._jobs.wake()
        return JSONResponse({"study": study.id}, headers=PRIVATE)

    async def send(self, request: Request, session: str) -> Response:
        """A version of the granted study, in the asked formats, to a node."""
        study, body = self._granted(request, session), await _json(request)
        node, formats, version = str(body.get("node", "")), body.get("formats"), body.get("version")
        if node not in self.names or study.state not in ANSWERED:
            return gone()
        if not isinstance(formats, list) or not isinstance(version, int):
            return refusal(400, "bad-option")
        try:
            told = await run_in_threadpool(self._written_and_sent, study, version, [str(one) for one in formats], node)
        except MedmtlError as error:
            return refusal(502, str(error.code))
        return JSONResponse({"taken": told["taken"], "of": told["of"]}, headers=PRIVATE)

    def _written_and_sent(self, study: Study, version: int, formats: list[str], node: str) -> dict[str, Any]:
        source = self._reviews.export(study, version, formats)
        try:
            return self._ask(do="send", node=node, source=str(source))
        finally:
            shutil.rmtree(source, ignore_errors=True)

    def _ask(self, **request: Any) -> dict[str, Any]:
        return run_job({**request, "pacs": self._told, "study": str(self._workspace.root)}, MODULE)


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body() or b"{}")
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
