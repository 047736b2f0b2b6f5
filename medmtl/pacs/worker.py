"""The process that answers studies: its memory, or its end, never touches the node. Speaks JSON lines with it.

It holds the models, so they are loaded once. When its standard input closes, the node is gone, and so is it.
"""

import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medmtl.bundle.catalogue import find_bundle
from medmtl.errors import MedmtlError
from medmtl.outputs.deidentify import Pseudonyms
from medmtl.outputs.manifest import State
from medmtl.pacs.supersede import notice_of, refer
from medmtl.pipeline.anonymous_case import renamed, site_key
from medmtl.pipeline.batch import BatchOptions, Models, Outcome, run_batch
from medmtl.reading.any_volume import CaseInput, discover

log = logging.getLogger(__name__)


def answer(task: Mapping[str, Any], models: dict[str, Models]) -> dict[str, Any]:
    """Answers a study and writes its result; gives what became of it.

    Args:
        task: `input` and `result` (folders), `model`, `tasks`, `formats`, `allow`, `deidentify`, `device`, and
            `former` (the result that is replaced: `folder`, `images`; or None) with `images`.
        models: those loaded before.
    """
    result = Path(task["result"])
    former = task["former"]
    try:
        outcome = _run(task, models, result)
        if outcome.error is not None:
            raise outcome.error
        files = tuple(result / name for name in outcome.line.files if name.endswith(".dcm") and "/images/" not in name)
        if former is not None:
            refer(files, tuple(sorted(Path(former["folder"]).rglob("*.dcm"))))
    except MedmtlError as error:
        failed = error.code == "internal-error"
        return {"state": "failed" if failed else "refused", "code": error.code, "message": str(error), "files": []}
    return {"state": "done", "code": "", "message": "", "files": [str(path.relative_to(result)) for path in files]}


def _run(task: Mapping[str, Any], models: dict[str, Models], result: Path) -> Outcome:
    key = task["model"] or ""
    if key not in models:
        models[key] = Models(find_bundle(key) if key else None, task["device"])
    former = task["former"]
    pseudonyms = Pseudonyms(key=site_key()) if task["deidentify"] else None
    options = BatchOptions(
        device=task["device"],
        tasks=tuple(task["tasks"]) if task["tasks"] is not None else None,
        allowed=tuple(task["allow"]),
        formats=frozenset(task["formats"]) | {"json"},
        overwrite=True,
        pseudonyms=pseudonyms,
        notices=(notice_of(former["images"], task["images"]),) if former is not None else (),
    )
    cases = discover(Path(task["input"]))
    readable = [case for case in cases if case.error is None] or list(cases)
    chosen = tuple(readable[:1]) if pseudonyms is None else renamed(readable[:1], pseudonyms)
    [outcome] = run_batch(chosen, models[key], options, result, _nobody)
    if outcome.line.state is State.FAILED:
        log.error("%s: %s", outcome.line.case, outcome.line.message)
    return outcome


def _nobody(case: CaseInput) -> None:
    return None


def main() -> None:
    """Answers the tasks that come in on standard input, one a line, until it closes."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.CRITICAL + 1)
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(json.loads(line))
        # in the middle of a study too: whoever comes next must find nobody at work, nor what this process has started
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    models: dict[str, Models] = {}
    while True:
        task = tasks.get()
        told = {"job": task["job"], **answer(task, models)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
