"""One study's work, as a process of its own: a crash, a cancel or its memory never touch the server.

Speaks one JSON object a line on stdout; the server listens.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl.inference.predictor import Progress
    from medmtl.pipeline.batch import Outcome
    from medmtl.reading.any_volume import CaseInput

FORMATS = frozenset({"nii", "json", "html", "png", "seg", "sr", "prob"})


@click.command()
@click.option("--input", "source", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--output", "out_dir", required=True, type=click.Path(path_type=Path))
@click.option("--number", default=0)
@click.option("--model", default="")
def case_job(source: Path, out_dir: Path, number: int, model: str) -> None:
    """Answer case NUMBER of the files in SOURCE and prepare it for reading."""
    from medmtl.errors import MedmtlError

    logging.captureWarnings(True)
    logging.basicConfig(filename=out_dir / "job.log", level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
    for noisy in ("PIL", "matplotlib", "numba", "pydicom"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        _run(source, out_dir, number, model)
    except MedmtlError as error:
        _tell(event="end", state="failed", code=str(error.code), message=str(error))


def _run(source: Path, out_dir: Path, number: int, model: str) -> None:
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.errors import MedmtlError
    from medmtl.pipeline.batch import BatchOptions, Models, run_batch
    from medmtl.reading.any_volume import discover, read_case
    from medmtl_app.display import describe, write_view

    _tell(event="phase", phase="reading")
    bundle = find_bundle(model) if model else None
    cases = discover(source, channels=1 if bundle is None else len(bundle.channels))
    cases = tuple(case for case in cases if case.error is None) or cases
    _tell(event="cases", names=[case.name for case in cases])
    case = cases[min(number, len(cases) - 1)]
    options = BatchOptions(formats=FORMATS, overwrite=True)
    [outcome] = run_batch((case,), Models(bundle, "auto"), options, out_dir / "result", _begin)
    _tell(event="phase", phase="preparing")
    if outcome.result is not None:
        write_view(out_dir / "view", outcome.result.volume, outcome.result)
        summary = describe(outcome.result.volume, outcome.result.findings)
        _tell(event="end", state="ready", code="", message="", summary=summary)
        return
    error = outcome.error
    if error is None or not _readable(outcome):
        code, message = (str(error.code), str(error)) if error else ("internal-error", "")
        _tell(event="end", state="failed", code=code, message=message)
        return
    try:
        volume = read_case(case)[0]
    except MedmtlError as fault:
        _tell(event="end", state="failed", code=str(fault.code), message=str(fault))
        return
    write_view(out_dir / "view", volume, None)
    _tell(
        event="end",
        state="blocked",
        code=str(error.code),
        message=str(error),
        summary=describe(volume, None),
    )


def _begin(case: "CaseInput") -> "Progress":
    def windows(done: int, total: int) -> None:
        _tell(event="windows", done=done, total=total)

    return windows


def _readable(outcome: "Outcome") -> bool:
    """Whether only the model stands against the case."""
    from medmtl.errors import BundleError, GuardError, UsageError

    return isinstance(outcome.error, UsageError | GuardError | BundleError)


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    case_job()
