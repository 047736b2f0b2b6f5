"""Questions to a PACS, as a process of its own: find studies, fetch one, send results.

Reads one JSON object on stdin, says one on stdout. Answers hold UIDs and stay in the server.
"""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmtl.errors import Code, MedmtlError, StudyError, UsageError

if TYPE_CHECKING:
    from medmtl.pacs.exchange import Archive

MODALITIES = ("CT", "MR")


def names(request: Mapping[str, Any]) -> dict[str, Any]:
    """Names of the nodes that `--pacs` gives: the node itself, or the destinations in the settings of `medmtl listen`.

    Raises:
        UsageError: it is neither, or the settings are not sound.
    """
    return {"names": list(_nodes(str(request["pacs"]))[0])}


def find(request: Mapping[str, Any]) -> dict[str, Any]:
    """Studies with CT or MR series that fit `wanted` (keyword to value), each with its series.

    Raises:
        PeerError: the node cannot be reached or refuses.
    """
    from medmtl.pacs.exchange import listed

    wanted = {str(key): str(value) for key, value in request["wanted"].items() if value}
    try:
        rows = listed(_archive(request), wanted, MODALITIES)
    except StudyError as error:
        if error.code is not Code.EMPTY_INPUT:
            raise
        rows = ()
    studies: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        told = {"modality": row.modality, "number": row.number, "description": row.description, "images": row.images}
        studies.setdefault(row.study_uid, []).append(told)
    return {"studies": studies}


def fetch(request: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the CT and MR series of the study `study_uid` into the folder `target`.

    Raises:
        PeerError: the node cannot be reached, or less arrived than it has.
        StudyError: it has no such study.
    """
    from medmtl.pacs.exchange import pull

    wanted = {"StudyInstanceUID": str(request["study_uid"])}
    return {"images": sum(pull(_archive(request), wanted, MODALITIES, Path(request["target"])).values())}


def send(request: Mapping[str, Any]) -> dict[str, Any]:
    """Sends what medmtl wrote into the folder `source`, and says how much of it was taken.

    Raises:
        PeerError: the node cannot be reached or refuses.
    """
    from medmtl.pacs.exchange import sendable

    files = sendable(Path(request["source"]), everything=False)
    outcome = _archive(request).send(files) if files else {}
    return {"taken": sum(error is None for error in outcome.values()), "of": len(files)}


def _archive(request: Mapping[str, Any]) -> "Archive":
    from medmtl.pacs.exchange import archive

    nodes, our = _nodes(str(request["pacs"]))
    return archive(nodes[str(request["node"])], our, move=False)


def _nodes(told: str) -> tuple[dict[str, Any], Any]:
    """Destination of each name, and who we are to them."""
    from medmtl.cli.extras import need_pacs

    need_pacs()
    from medmtl.pacs.exchange import node_of
    from medmtl.pacs.settings import Destination, Node, read_settings

    path = Path(told)
    if not path.is_file():
        return {told: node_of(told, Destination())}, Node()
    settings = read_settings(path)
    if not settings.destinations:
        raise UsageError(Code.BAD_SETTINGS, "the settings name no destination", "see docs/pacs.md")
    return dict(settings.destinations), replace(settings.node)


def main() -> None:
    """Does what stdin asks and says how it ended."""
    logging.captureWarnings(True)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    request = json.loads(sys.stdin.read())
    try:
        told = {"names": names, "find": find, "fetch": fetch, "send": send}[request["do"]](request)
        answer: dict[str, Any] = {"ok": True, **told}
    except MedmtlError as error:
        answer = {"ok": False, "code": str(error.code), "message": error.what}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
