"""Jobs run in processes of their own: one that ends, one that dies, one that is cancelled."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medmtl_app.jobs import Jobs
from medmtl_app.workspace import Study, StudyState, Workspace

WAIT_S = 20
END = {"event": "end", "state": "ready", "code": "", "message": "", "summary": {"lesions": 1}}


class ScriptedJobs(Jobs):
    """Jobs whose process runs a script of the test."""

    script = ""

    def _launch(self, study: Study) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.script]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[ScriptedJobs]:
    found = ScriptedJobs(Workspace(tmp_path))
    yield found
    found.stop()


def say(*messages: dict[str, object]) -> str:
    lines = "".join(f"print({json.dumps(json.dumps(message))}, flush=True)\n" for message in messages)
    return "print('a library chats', flush=True)\n" + lines


def await_study(workspace: Workspace, study_id: str, told: Callable[[Study], bool]) -> Study:
    pause = threading.Event()
    for _ in range(WAIT_S * 50):
        study = workspace.study(study_id)
        if told(study):
            return study
        pause.wait(0.02)
    return pytest.fail(f"still {workspace.study(study_id)}")


def ended(study: Study) -> bool:
    return study.state not in (StudyState.WAITING, StudyState.RUNNING)


def test_a_job_tells_its_progress_and_its_end(jobs: ScriptedJobs) -> None:
    jobs.script = say({"event": "windows", "done": 3, "total": 8}, {"event": "cases", "names": ["a", "b"]}, END)
    jobs.workspace.new_upload()
    study = jobs.workspace.add(jobs.workspace.new_upload())
    jobs.start()
    done = await_study(jobs.workspace, study.id, ended)
    assert (done.state, done.done, done.total, done.title) == (StudyState.READY, 3, 8, "a")
    assert done.summary == {"lesions": 1}
    assert done.finished >= done.started > 0
    [other] = [one for one in jobs.workspace.studies() if one.id != study.id]
    assert (other.number, other.title, other.upload) == (1, "b", study.upload)


def test_a_process_that_dies_fails_its_study_alone(jobs: ScriptedJobs) -> None:
    jobs.script = "import os; os._exit(9)"
    study = jobs.workspace.add(jobs.workspace.new_upload())
    jobs.start()
    died = await_study(jobs.workspace, study.id, ended)
    assert (died.state, died.code) == (StudyState.FAILED, "internal-error")
    assert "exit 9" in died.message
    jobs.script = say(END)
    assert jobs.again(study.id, "")
    assert await_study(jobs.workspace, study.id, ended).state is StudyState.READY


def test_cancel_ends_the_process(jobs: ScriptedJobs) -> None:
    jobs.script = say({"event": "windows", "done": 1, "total": 9}) + "import threading; threading.Event().wait(600)"
    upload = jobs.workspace.new_upload()
    running, waiting = jobs.workspace.add(upload), jobs.workspace.add(upload, number=1)
    jobs.start()
    await_study(jobs.workspace, running.id, lambda study: study.done == 1)
    assert not jobs.again(running.id, "")
    jobs.cancel(waiting.id)
    jobs.cancel(running.id)
    jobs.script = say(END)
    later = jobs.workspace.add(jobs.workspace.new_upload())
    jobs.wake()
    assert await_study(jobs.workspace, later.id, ended).state is StudyState.READY
    states = {jobs.workspace.study(study.id).state for study in (running, waiting)}
    assert states == {StudyState.CANCELLED}


def test_a_stopped_server_leaves_its_study_for_the_next_start(tmp_path: Path) -> None:
    first = ScriptedJobs(Workspace(tmp_path))
    first.script = say({"event": "windows", "done": 1, "total": 9}) + "import threading; threading.Event().wait(600)"
    study = first.workspace.add(first.workspace.new_upload())
    first.start()
    await_study(first.workspace, study.id, lambda one: one.done == 1)
    first.stop()
    assert first.workspace.study(study.id).state is StudyState.RUNNING
    second = ScriptedJobs(Workspace(tmp_path))
    second.script = say(END)
    second.start()
    assert await_study(second.workspace, study.id, ended).state is StudyState.READY
    second.stop()


CRASHING = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from medmtl_app.workspace import Workspace
from tests.medmtl_app.test_jobs import ScriptedJobs, await_study

jobs = ScriptedJobs(Workspace(Path({root!r})))
jobs.script = {script!r}
jobs.start()
await_study(jobs.workspace, {study!r}, lambda one: one.done == 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """Killed in the middle of a study: that one and the next are answered after a new start, the rest stays."""
    before = Workspace(tmp_path)
    done = before.add(before.new_upload(), title="done")
    before.change(done.id, {"state": StudyState.READY, "summary": {"lesions": 2}})
    upload = before.new_upload()
    (before.upload_folder(upload) / "image.dcm").write_bytes(b"as it came")
    studies = [before.add(upload), before.add(upload, number=1)]
    before.close()
    talking = "import time\nwhile True: print('{}', flush=True); time.sleep(0.01)"  # ends once nobody listens
    script = say({"event": "windows", "done": 1, "total": 9}) + talking
    code = CRASHING.format(paths=sys.path, root=str(tmp_path), script=script, study=studies[0].id)
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -signal.SIGKILL
    after = ScriptedJobs(Workspace(tmp_path))
    states = [after.workspace.study(study.id).state for study in (done, *studies)]
    assert states == [StudyState.READY, StudyState.RUNNING, StudyState.WAITING]
    after.script = say(END)
    after.start()
    for study in studies:
        assert await_study(after.workspace, study.id, ended).state is StudyState.READY
    after.stop()
    assert after.workspace.study(done.id).summary == {"lesions": 2}
    assert (after.workspace.upload_folder(upload) / "image.dcm").read_bytes() == b"as it came"


def test_a_cancelled_study_can_be_run_again(jobs: ScriptedJobs) -> None:
    jobs.script = say(END)
    study = jobs.workspace.add(jobs.workspace.new_upload())
    jobs.cancel(study.id)
    jobs.start()
    assert jobs.workspace.study(study.id).state is StudyState.CANCELLED
    assert jobs.again(study.id, "")
    assert await_study(jobs.workspace, study.id, ended).state is StudyState.READY
    jobs.cancel(study.id)  # too late: what has ended stays as it ended
    assert jobs.workspace.study(study.id).state is StudyState.READY
