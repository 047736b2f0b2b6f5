"""Saving a review, writing an export, listing a study's series: a process of its own, which neither holds up the
server nor grows it.

Reads one JSON object on stdin, says one on stdout.
"""

import json
import logging
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmtl.errors import MedmtlError
from medmtl.geometry.orientation import to_lps
from medmtl.outputs.files import fsync_folder, json_bytes, write_atomic
from medmtl.outputs.nifti_map import mask_files
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.revise import LESIONS, Decision, Review, Revision, Word, revise
from medmtl.task import tasks_to_mapping
from medmtl_app.corrections import with_drawn
from medmtl_app.other_series import listed
from medmtl_app.stored_study import StoredStudy, case_folder, open_study, version_folder, view_of
from medmtl_app.version_view import write_version_view

if TYPE_CHECKING:
    from medmtl.result import CaseResult

SCHEMA = "medmtl-review/1"
VERSION_FORMATS = frozenset({"nii", "json"})
"""What is written of every version; the rest is written when it is exported."""
_DECIDED = (Decision.ACCEPTED, Decision.CORRECTED)


def save(request: Mapping[str, Any]) -> dict[str, Any]:
    """Makes `reviews/N/` of a study: complete, or not there.

    Args:
        request: `study`, `upload` (folders), `number`, `version`, `based_on`, `reader`, `time`, `comment`, `lesions`,
            `structures`, `classes` (words by name), `drafts` (map to its file).

    Returns:
        What the worklist says of it: how many lesions are left.

    Raises:
        MedmtlError: the study cannot be opened, or a map is not of it.
        OSError: files are gone.
    """
    folder, number = Path(request["study"]), int(request["version"])
    study = open_study(folder, Path(request["upload"]), int(request["number"]))
    model = study.model
    base = study.drawn(int(request["based_on"]))
    drafts = {name: Path(path) for name, path in request["drafts"].items()}
    drawn = with_drawn(base, model.tasks, drafts, to_lps(model.volume.grid))
    revision = revise(model, study.rules, drawn, base, _review(request))
    partial = folder / "reviews" / f".{number}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    write_case(revision.result, partial, VERSION_FORMATS)
    whole = replace(model, masks=drawn, findings={"lesions": _all_lesions(revision)})
    for name, data in mask_files(whole):
        write_atomic(partial / "drawn" / name, data)
    body = json_bytes(_review_json(request, study, revision))
    write_atomic(partial / model.case / "review.json", body)
    write_version_view(partial / "view", number, view_of(folder, 0), model, whole)
    partial.rename(version_folder(folder, number))
    fsync_folder(folder / "reviews")
    lesions = revision.result.findings["lesions"]
    return {"lesions": None if lesions is None else lesions["totals"]["count"]}


def export(request: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a version in the asked formats into the folder `target`.

    Args:
        request: `study`, `upload`, `number`, `version`, `formats`, `target`.

    Raises:
        MedmtlError: the files cannot be read any more, or an output does not read back.
        OSError: there is no such version.
    """
    from medmtl.outputs.summary import summary_csv

    folder, version, target = Path(request["study"]), int(request["version"]), Path(request["target"])
    formats = frozenset(request["formats"])
    study = open_study(folder, Path(request["upload"]), int(request["number"]), for_dicom=True)
    result = study.result(version)
    written = write_case(result, target, formats | {"json"})
    probabilities = case_folder(folder, 0) / "probabilities"
    if "prob" in formats and probabilities.is_dir():
        shutil.copytree(probabilities, target / result.case / "probabilities")
    if version:
        shutil.copyfile(case_folder(folder, version) / "review.json", target / result.case / "review.json")
    if "csv" in formats:
        row = {"case": result.case, "state": "warned" if result.findings["warnings"] else "ok"}
        write_atomic(target / "summary.csv", summary_csv([row], target))
    return {"files": written}


def _review(request: Mapping[str, Any]) -> Review:
    return Review(
        version=int(request["version"]),
        reader=str(request["reader"]),
        comment=str(request["comment"]),
        lesions={int(number): _word(row) for number, row in request["lesions"].items()},
        structures={path: _word(row) for path, row in request["structures"].items()},
        classes={name: _word(row) for name, row in request["classes"].items()},
    )


def _word(row: Mapping[str, Any]) -> Word:
    decision = Decision(row.get("decision", Decision.OPEN))
    return Word(decision=decision, comment=str(row.get("comment", "")), chosen=str(row.get("class") or ""))


def _all_lesions(revision: Revision) -> dict[str, Any] | None:
    found = revision.result.findings["lesions"]
    return None if found is None else {**found, "items": [item for item, _ in revision.lesions]}


def _review_json(request: Mapping[str, Any], study: StoredStudy, revision: Revision) -> dict[str, Any]:
    findings = revision.result.findings
    said = findings["input"]
    return {
        "schema": SCHEMA,
        "case": study.model.case,
        **{key: request[key] for key in ("version", "based_on", "reader", "time", "comment")},
        "model": {key: findings["model"][key] for key in ("name", "version", "sha256")},
        "image": {
            "upload": f"uploads/{Path(request['upload']).name}",
            "case": study.model.case,
            "channels": said["sha256"].count("-") + 1,
            "series_uid": study.series,
            "sha256": said["sha256"],
        },
        "tasks": tasks_to_mapping(study.rules.tasks),
        "lesions": [{**item, "decision": str(word.decision), "comment": word.comment}
                    for item, word in revision.lesions],
        "structures": {path: {"decision": str(word.decision), "comment": word.comment}
                       for path, word in revision.structures.items()},
        "classes": {name: {"decision": str(word.decision), "comment": word.comment, "class": word.chosen or None,
                           "model_class": findings["tasks"][name]["values"].get("class")}
                    for name, word in revision.classes.items()},
        "annotated": _annotated(revision.result, revision),
    }  # fmt: skip


def _annotated(result: "CaseResult", revision: Revision) -> dict[str, Any]:
    """What of a version can serve as truth for training."""
    told: dict[str, Any] = {}
    for task in result.tasks:
        word = revision.classes.get(task.name, Word())
        if task.name == LESIONS and task.is_voxel:
            words = [word.decision for _, word in revision.lesions]
            told[task.name] = Decision.OPEN not in words if words else word.decision is Decision.ACCEPTED
        elif task.is_voxel:
            decided = {path for path, one in revision.structures.items() if one.decision in _DECIDED}
            told[task.name] = [label.name for label in task.labels if f"{task.name}.{label.name}" in decided]
        elif word.decision is Decision.CORRECTED:
            told[task.name] = word.chosen
        else:
            values = result.findings["tasks"][task.name]["values"]
            answer = next((values[key] for key in ("class", "present", "value") if key in values), None)
            told[task.name] = answer if word.decision is Decision.ACCEPTED else None
    return told


def main() -> None:
    """Does what stdin asks and says how it ended."""
    logging.captureWarnings(True)
    for noisy in ("PIL", "highdicom", "pydicom"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    request = json.loads(sys.stdin.read())
    try:
        told = {"save": save, "export": export, "series": listed}[request["do"]](request)
        answer: dict[str, Any] = {"ok": True, **told}
    except MedmtlError as error:
        answer = {"ok": False, "code": str(error.code), "message": error.what}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
