"""The queue of waiting studies: one process each, with progress, cancel and nothing lost."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

from medmtl.cli.main import ALLOCATOR
from medmtl_app.workspace import Study, StudyState, Workspace

log = logging.getLogger(__name__)
_OPEN = frozenset({StudyState.WAITING, StudyState.RUNNING})
_PATIENCE_S = 5.0


class Jobs:
    """Runs waiting studies, one after the other, in a thread that listens to their processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._wake = threading.Condition()
        self._process: tuple[str, subprocess.Popen[str]] | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="medmtl-jobs", daemon=True)

    def start(self) -> None:
        """Takes up what a former run left, and what comes."""
        self.workspace.recover()
        self._thread.start()

    def stop(self) -> None:
        """Ends the running process; its study waits for the next start."""
        with self._wake:
            self._ending = True
            self._wake.notify_all()
            if self._process is not None:
                self._process[1].terminate()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def wake(self) -> None:
        """Says that a study was added."""
        with self._wake:
            self._wake.notify_all()

    def cancel(self, study_id: str) -> None:
        """Takes a waiting study off the queue, or ends its process."""
        if self.workspace.move(study_id, _OPEN, StudyState.CANCELLED, {"phase": "", "finished": time.time()}):
            with self._wake:
                if self._process is not None and self._process[0] == study_id:
                    self._process[1].terminate()

    def again(self, study_id: str, model: str) -> bool:
        """Puts a finished study on the queue again, with the model asked for; False where it is on it or reviewed."""
        finished = frozenset(StudyState) - _OPEN - {StudyState.REVIEWED}  # a review is of the answers that it saw
        moved = self.workspace.move(study_id, finished, StudyState.WAITING, {"model": model, "code": "", "message": ""})
        self.wake()
        return moved

    def _work(self) -> None:
        while True:
            with self._wake:
                study = None if self._ending else self.workspace.next_waiting()
                while study is None and not self._ending:
                    self._wake.wait()
                    study = None if self._ending else self.workspace.next_waiting()
                if study is None:
                    return
                process = self._launch(study)
                self._process = (study.id, process)
            self._listen(study, process)
            with self._wake:
                self._process = None

    def _launch(self, study: Study) -> subprocess.Popen[str]:
        folder = self.workspace.folder(study.id)
        command = [sys.executable, "-m", "medmtl_app.case_job", "--number", str(study.number)]
        command += ["--input", str(self.workspace.upload_folder(study.upload)), "--output", str(folder)]
        command += ["--model", study.model] if study.model else []
        command += ["--series", study.series] if study.series else []
        with (folder / "job.err").open("w") as err:
            # a job may keep freed memory, which makes it twice as fast; the server must not
            return subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=err, stdin=subprocess.DEVNULL, text=True,
                env={**os.environ, **ALLOCATOR},
            )  # fmt: skip

    def _listen(self, study: Study, process: subprocess.Popen[str]) -> None:
        ended = False
        with process:
            for line in process.stdout or ():
                message = _message(line)
                if message.get("event") == "end":
                    ended = self._end(study, message)
                else:
                    self._progress(study, message)
        if ended or self._ending:
            return
        text = f"the study's process ended early (exit {process.returncode}); run it again"
        died = {"phase": "", "code": "internal-error", "message": text, "finished": time.time()}
        self.workspace.move(study.id, frozenset({StudyState.RUNNING}), StudyState.FAILED, died)

    def _progress(self, study: Study, message: dict[str, Any]) -> None:
        if message.get("event") == "phase":
            self.workspace.change(study.id, {"phase": message["phase"]})
        elif message.get("event") == "windows":
            values = {"done": message["done"], "total": message["total"]}
            phase = "writing" if message["done"] == message["total"] else "answering"
            self.workspace.change(study.id, {**values, "phase": phase})
        elif message.get("event") == "cases":
            self._split(study, message["names"])

    def _split(self, study: Study, names: list[str]) -> None:
        """Names the study by its case; further cases of the upload become studies of their own."""
        name = names[min(study.number, len(names) - 1)]
        unnamed = name.startswith("entry-") and study.title  # what is no image keeps the name of its file
        if not study.sample and not unnamed:
            self.workspace.change(study.id, {"title": name})
        known = {other.number for other in self.workspace.studies() if other.upload == study.upload}
        for number, name in enumerate(names):
            if number not in known:
                self.workspace.add(study.upload, number=number, title=name, model=study.model)

    def _end(self, study: Study, message: dict[str, Any]) -> bool:
        values = {
            "phase": "",
            "code": message["code"],
            "message": message["message"],
            "summary": message.get("summary", {}),
            "finished": time.time(),
        }
        self.workspace.move(study.id, frozenset({StudyState.RUNNING}), StudyState(message["state"]), values)
        return True


def _message(line: str) -> dict[str, Any]:
    """What a line says; nothing where a library wrote to stdout."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        log.debug("not a message: %d characters", len(line))
        return {}
    return found if isinstance(found, dict) else {}
