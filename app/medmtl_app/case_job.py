"""One study's work, as a process of its own: a crash, a cancel or its memory never touch the server.

Speaks one JSON object a line on stdout; the server listens.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmtl.outputs.write_case import DEFAULT_FORMATS

if TYPE_CHECKING:
    from medmtl.errors import MedmtlError
    from medmtl.inference.predictor import Progress
    from medmtl.reading.any_volume import CaseInput

FORMATS = DEFAULT_FORMATS | {"prob"}


@click.command()
@click.option("--input", "source", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--output", "out_dir", required=True, type=click.Path(path_type=Path))
@click.option("--number", default=0)
@click.option("--model", default="")
@click.option("--series", default="")
def case_job(source: Path, out_dir: Path, number: int, model: str, series: str) -> None:
    """Answer case NUMBER of the files in SOURCE and prepare it for reading."""
    from medmtl.errors import MedmtlError

    logging.captureWarnings(True)
    logging.basicConfig(filename=out_dir / "job.log", level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
    for noisy in ("PIL", "highdicom", "pydicom"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        run_case(source, out_dir, number, model, series)
    except MedmtlError as error:
        _tell(event="end", state="failed", code=str(error.code), message=str(error))


def run_case(source: Path, out_dir: Path, number: int, model: str, series: str = "") -> None:
    """Answers a case and writes `result/` and `view/` into `out_dir`; the last thing told is how it ended."""
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.pipeline.batch import BatchOptions, Models, run_batch
    from medmtl.pipeline.stored import rules_of
    from medmtl.reading.any_volume import discover
    from medmtl_app.display import describe, write_view
    from medmtl_app.other_series import with_series
    from medmtl_app.stored_study import worth_reading, write_rules

    _tell(event="phase", phase="reading")
    bundle = find_bundle(model) if model else None
    cases = worth_reading(discover(source, names=() if bundle is None else bundle.channels))
    _tell(event="cases", names=[case.name for case in cases])
    case = cases[min(number, len(cases) - 1)]
    case = with_series(case, series) if series else case
    options = BatchOptions(formats=FORMATS, overwrite=True)
    models = Models(bundle, "auto")
    [outcome] = run_batch((case,), models, options, out_dir / "result", _begin)
    _tell(event="phase", phase="preparing")
    if outcome.result is not None:
        volume, findings = outcome.result.volume, outcome.result.findings
        answering = next(one for one in models.known if one.sha256 == findings["model"]["sha256"])
        write_rules(out_dir, rules_of(answering, volume.grid), outcome.result.channels, answering.channels)
        write_view(out_dir / "view", volume, outcome.result)
        _tell(event="end", state="ready", code="", message="", summary=describe(volume, findings))
    elif outcome.error is not None:
        _without_answers(case, out_dir, outcome.error)


def _without_answers(case: "CaseInput", out_dir: Path, error: "MedmtlError") -> None:
    """A study that no model may answer for can be read all the same, if it can be read at all."""
    from medmtl.errors import BundleError, GuardError, UsageError
    from medmtl.reading.any_volume import read_case
    from medmtl_app.display import describe, write_view

    if not isinstance(error, UsageError | GuardError | BundleError):
        raise error
    volume = read_case(case)[0]
    write_view(out_dir / "view", volume, None)
    # what to do about it stands on the page
    _tell(event="end", state="blocked", code=str(error.code), message=error.what, summary=describe(volume, None))


def _begin(case: "CaseInput") -> "Progress":
    def windows(done: int, total: int) -> None:
        _tell(event="windows", done=done, total=total)

    return windows


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    case_job()
