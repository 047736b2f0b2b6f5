"""Studies go from a real PACS to the node and come back answered, whatever happens in between."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from click.testing import CliRunner

from medmtl.bundle.bundle import Bundle
from medmtl.cli.main import medmtl
from medmtl.pacs import dimse
from tests.medmtl.pacs.conftest import Orthanc, OurNode, make_study, settings_for, uid_of

Start = Callable[[dict[str, Any]], OurNode]


def send_to_node(orthanc: Orthanc) -> None:
    """Has Orthanc send its images to the node."""
    told = {one: orthanc.ask(f"/series/{one}")["MainDicomTags"]["Modality"] for one in orthanc.ask("/series")}
    images = [one for one, modality in told.items() if modality == "MR"]
    orthanc.ask("/modalities/medmtl/store", {"Resources": images, "Synchronous": True})


def queue(workspace: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(medmtl, ["queue", *arguments, "--workspace", str(workspace)])
    assert done.exit_code == 0, done.output
    return json.loads(done.output) if "--json" in arguments else done.output


def results(workspace: Path, job: int) -> list[Path]:
    return sorted((workspace / "pacs" / "jobs" / str(job) / "result").rglob("*.dcm"))


def test_a_series_is_stored_answered_and_the_answer_stored(
    empty_orthanc: Orthanc, listening: Start, study: Path, bundle: Bundle, tmp_path: Path
) -> None:
    dimse.store("SENDER", empty_orthanc.dimse, sorted(study.iterdir()))
    node = listening(settings_for(bundle))
    send_to_node(empty_orthanc)
    assert node.until("answered")["state"] == "done"
    assert node.until("sent")["objects"] == 2
    assert empty_orthanc.counts() == {"MR": 6, "SEG": 1, "SR": 1}
    written = {uid_of(path): path for path in results(tmp_path / "workspace", 1)}
    for modality in ("SEG", "SR"):
        [fetched] = empty_orthanc.files(modality, tmp_path)
        ours = pydicom.dcmread(written[uid_of(fetched)])
        theirs = pydicom.dcmread(fetched)
        assert theirs == ours
        assert ours.SeriesDescription.startswith("RESEARCH medmtl ")
        assert ours.StudyInstanceUID == pydicom.dcmread(next(study.iterdir())).StudyInstanceUID

    # the very same study once more: taken, and nothing done
    send_to_node(empty_orthanc)
    node.until("closed") if node.events[-1]["event"] == "received" else None
    [job] = queue(tmp_path / "workspace", "list", "--json")
    assert (job["state"], job["images"], job["starts"]) == ("done", 6, 1)
    assert {one["state"] for one in job["deliveries"]} == {"sent"}
    log = (tmp_path / "node.log").read_text()
    assert "PHANTOM" not in log
    assert "1.2.826" not in log
    assert "2.25." not in log


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_the_node_is_killed_at_any_step(
    empty_orthanc: Orthanc, listening: Start, bundle: Bundle, tmp_path: Path
) -> None:
    settings = settings_for(bundle)
    studies = [make_study(tmp_path / f"study{n}", f"killed {n}", seed=n) for n in (1, 2, 3)]
    files = [sorted(folder.iterdir()) for folder in studies]
    node_address = dimse.Destination(ae_title="MEDMTL", host="127.0.0.1", port=11112)

    node = listening(settings)
    dimse.store("ORTHANC", node_address, files[0][:3])
    node.until("received", 3)
    node.kill()  # while images come in

    node = listening(settings)
    for some in files:
        assert set(dimse.store("ORTHANC", node_address, some).values()) == {None}
    node.until("closed")
    node.kill()  # while a study is being answered

    node = listening(settings)
    node.until("answered")
    node.kill()  # while results are on their way

    node = listening(settings)
    assert len(queue(tmp_path / "workspace", "list", "--json")) >= 3
    while not all(
        job["state"] in ("done", "superseded") and all(one["state"] == "sent" for one in job["deliveries"])
        for job in queue(tmp_path / "workspace", "list", "--json")
    ):
        node.until("sent")
    assert empty_orthanc.counts() == {"SEG": 3, "SR": 3}
    done = [job for job in queue(tmp_path / "workspace", "list", "--json") if job["state"] == "done"]
    assert [job["images"] for job in done] == [6, 6, 6]
    theirs = {uid_of(path) for kind in ("SEG", "SR") for path in empty_orthanc.files(kind, tmp_path)}
    assert theirs == {uid_of(path) for job in done for path in results(tmp_path / "workspace", job["id"])}


@pytest.mark.slow
def test_late_images_supersede_by_reference_and_archives_commit(
    empty_orthanc: Orthanc, listening: Start, study: Path, bundle: Bundle, tmp_path: Path
) -> None:
    files = sorted(study.iterdir())
    dicom = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": 14242, "commitment": True}
    web = {"url": empty_orthanc.web.url}
    rule = {"name": "hearts", "modality": "MR", "model": str(bundle.folder), "send_to": ["pacs", "web"]}
    rule["formats"] = ["seg", "sr", "rtstruct", "sc", "pdf"]
    node = listening(settings_for(bundle, destinations={"pacs": dicom, "web": web}, rules=[rule]))
    address = dimse.Destination(ae_title="MEDMTL", host="127.0.0.1", port=11112)
    dimse.store("ORTHANC", address, files[:5])
    node.until("committed")
    dimse.store("ORTHANC", address, files[5:])
    node.until("answered")
    node.until("committed")
    workspace = tmp_path / "workspace"
    first, second = queue(workspace, "list", "--json")
    assert (first["images"], second["images"], second["supersedes"]) == (5, 6, first["id"])
    assert all(
        one["state"] == "sent" for job in (first, second) for one in job["deliveries"] if one["destination"] == "pacs"
    )

    before = {pydicom.dcmread(path).SOPClassUID: pydicom.dcmread(path) for path in results(workspace, 1)}
    for path in results(workspace, 2):
        new = pydicom.dcmread(path)
        assert new.SeriesDescription.startswith("RESEARCH medmtl ")
        assert new.SOPInstanceUID != before[new.SOPClassUID].SOPInstanceUID
        assert new.RelatedSeriesSequence[0].SeriesInstanceUID == before[new.SOPClassUID].SeriesInstanceUID
        if new.Modality == "SR":
            [named] = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
            assert named.ReferencedSOPInstanceUID == before[new.SOPClassUID].SOPInstanceUID
        if shutil.which("dciodvfy"):
            said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False).stderr
            assert [line for line in said.splitlines() if line.startswith("Error")] == [], path.name
    [findings] = (workspace / "pacs" / "jobs" / "2" / "result").rglob("findings.json")
    assert "supersedes" in [warning["code"] for warning in json.loads(findings.read_text())["warnings"]]


@pytest.mark.slow
def test_what_cannot_be_sent_waits_and_what_cannot_be_read_says_why(
    empty_orthanc: Orthanc, listening: Start, study: Path, bundle: Bundle, tmp_path: Path
) -> None:
    address = dimse.Destination(ae_title="MEDMTL", host="127.0.0.1", port=11112)
    away = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": 9}
    node = listening(settings_for(bundle, destinations={"pacs": away}, delivery={"first_s": 0.1, "attempts": 2}))
    dimse.store("ORTHANC", address, sorted(study.iterdir()))
    node.until("delayed", 2)
    workspace = tmp_path / "workspace"
    [job] = queue(workspace, "list", "--json")
    assert {(one["state"], one["code"], one["attempts"]) for one in job["deliveries"]} == {
        ("failed", "peer-unreachable", 2)
    }
    node.process.terminate()
    node.process.wait(30)

    node = listening(settings_for(bundle))
    assert queue(workspace, "retry", "1").strip() == "waiting"
    node.until("sent")
    assert empty_orthanc.counts() == {"SEG": 1, "SR": 1}

    single = make_study(tmp_path / "single", "one slice", seed=5)
    dimse.store("ORTHANC", address, sorted(single.iterdir())[:1])
    assert node.until("answered")["state"] == "refused"
    assert "single-slice" in queue(workspace, "list")
    assert queue(workspace, "drop", "2").strip() == "dropped"
