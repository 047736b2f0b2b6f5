"""From a quiet study to its results: rules make jobs, and a process of its own answers them."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydicom

from medmtl.errors import Code
from medmtl.pacs.inbox import Inbox, content_of
from medmtl.pacs.queue import Job, JobState, Queue, Received
from medmtl.pacs.settings import SENDABLE, Rule, Settings
from medmtl.reading.dicom_values import PARSE_FAULTS
from medmtl.reading.quiet_pydicom import quiet_pydicom

log = logging.getLogger(__name__)

_KIND = {"seg.dcm": "seg", "sr.dcm": "sr", "rtstruct.dcm": "rtstruct", "report.dcm": "pdf"}


class Answering:
    """Closes studies and answers jobs, one at a time.

    Args:
        settings: of the node.
        inbox: where images and results lie.
        queue: what is to be done.
        tell: called with an event, for the log: its kind and values.
        environment: variables that the answering process gets beside our own.
    """

    def __init__(
        self, settings: Settings, inbox: Inbox, queue: Queue, tell: Callable[..., None], environment: Mapping[str, str]
    ) -> None:
        self._settings, self._inbox, self._queue, self._tell = settings, inbox, queue, tell
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def close_quiet(self, now: float) -> None:
        """Ends the intake of studies without a new image for `quiet_s`, and queues what the rules want of them."""
        for study, name, last in self._queue.quiet(now - self._settings.accept.quiet_s):
            images = self._queue.images(study)
            wanted = [(rule.name, content_of(some), len(some)) for rule, some in self._routed(images)]
            made = self._queue.shut(study, last, wanted)
            if not wanted:
                log.warning("%s %s: no rule wants these %d images", Code.NO_RULE, name, len(images))
            self._tell("closed", study=name, images=len(images), jobs=list(made))

    def answer_next(self) -> bool:
        """Answers the job that has waited longest; False where none waits."""
        job = self._queue.next_job()
        if job is None:
            return False
        rule = next((rule for rule in self._settings.rules if rule.name == job.rule), None)
        if rule is None:
            text = "the settings have this rule no more; add it again, then retry"
            self._queue.end(job.id, JobState.REFUSED, code=Code.NO_RULE, message=text)
            return True
        started = time.monotonic()
        told = self._ask(job, rule)
        if told is None:
            self._queue.wait_again(job.id)
            return True
        self._inbox.remove_input(job.id)
        if told["state"] == "done":
            parcels = [(to, name) for to in rule.send_to for name in told["files"] if _format(name) in rule.formats]
            self._queue.done(job.id, parcels)
        else:
            if told["code"]:
                log.error("%s %s: %s", told["code"], job.name, told["message"])
            self._queue.end(job.id, JobState(told["state"]), code=told["code"], message=told["message"])
        seconds = round(time.monotonic() - started, 3)
        self._tell("answered", study=job.name, job=job.id, state=told["state"], code=told["code"], seconds=seconds)
        return True

    def stop(self) -> None:
        """Ends the process; what it was at waits for the next start."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _routed(self, images: Sequence[Received]) -> list[tuple[Rule, tuple[Received, ...]]]:
        """Each rule that wants something, with what it wants; a series is wanted as a whole."""
        by_series: dict[str, list[Received]] = {}
        for one in images:
            by_series.setdefault(one.series, []).append(one)
        told = {series: self._described(some[0]) for series, some in by_series.items()}
        found = []
        for rule in self._settings.rules:
            some = [one for one in images if rule.wants(one.calling, *told[one.series])]
            if some:
                found.append((rule, tuple(some)))
        return found

    def _described(self, one: Received) -> tuple[str, str]:
        """Modality and Series Description (0008,103E) of an image."""
        wanted = ["Modality", "SeriesDescription"]
        try:
            with quiet_pydicom():
                path = self._inbox.file(one.study, one.instance)
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
                return str(header.get("Modality") or ""), str(header.get("SeriesDescription") or "")
        except PARSE_FAULTS:
            return "", ""

    def _ask(self, job: Job, rule: Rule) -> dict[str, Any] | None:
        """What the process says of a job; None where the node is being stopped."""
        images = [one for one in self._queue.images(job.study) if self._of_rule(one, rule)]
        if content_of(images) != job.content:  # more came in since; the study is open again and will be queued anew
            return {"state": JobState.SUPERSEDED, "code": "", "message": "", "files": []}
        try:
            folder = self._inbox.freeze(job.id, images)
        except OSError:
            text = "images of the study are gone; have it sent again"
            return {"state": "refused", "code": Code.EMPTY_INPUT, "message": text, "files": []}
        former = None
        if job.supersedes is not None:
            earlier = self._queue.job(job.supersedes)
            former = {"folder": str(self._inbox.job(earlier.id) / "result"), "images": earlier.images}
        task = {
            "job": job.id, "input": str(folder), "result": str(self._inbox.job(job.id) / "result"),
            "model": rule.model, "tasks": rule.tasks, "formats": rule.formats, "allow": rule.allow,
            "deidentify": rule.deidentify, "device": self._settings.device, "former": former, "images": job.images,
        }  # fmt: skip
        line = self._exchange(json.dumps(task) + "\n")
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if self._stopped:
            return None
        text = "the process that answered this study ended, for want of memory perhaps; run it again with retry"
        return {"state": "failed", "code": Code.INTERNAL_ERROR, "message": text, "files": []}

    def _of_rule(self, one: Received, rule: Rule) -> bool:
        return rule.wants(one.calling, *self._described(one))

    def _exchange(self, line: str) -> str:
        with self._lock:
            if self._stopped:
                return ""
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "medmtl.pacs.worker"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment,
                    start_new_session=True,  # so that it ends with all that it has started
                )  # fmt: skip
            process = self._process
        try:
            if process.stdin is None or process.stdout is None:
                return ""
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline()
        except (BrokenPipeError, ValueError):
            return ""


def _format(name: str) -> str:
    """Which of the formats a result file is: CASE/seg.dcm, CASE/sc/01.dcm ..."""
    parts = name.split("/")
    kind = "sc" if parts[1] == "sc" else _KIND.get(parts[-1], "")
    return kind if kind in SENDABLE else ""
