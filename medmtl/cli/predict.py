"""`medmtl predict`: lesions, organs and a diagnosis for one study or thousands."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl.cli.reporting import Reporter
    from medmtl.errors import MedmtlError
    from medmtl.inference.predictor import Progress
    from medmtl.outputs.deidentify import Pseudonyms
    from medmtl.pipeline.batch import BatchOptions, Models, Outcome
    from medmtl.reading.any_volume import CaseInput

_FEW = 20  # cases up to which reports and pictures are written by default


@click.command()
@click.option("-i", "--input", "sources", metavar="IN", required=True, multiple=True, type=click.Path(path_type=Path),
              help="A file, a DICOM folder, a zip, a folder of any of these, or a CSV (path, case). Again for more; "
              "files, one for each channel of the model, are one case.")  # fmt: skip
@click.option("-o", "--output", "out_dir", metavar="OUT", required=True, type=click.Path(path_type=Path),
              help="Folder of the results; finished cases in it are skipped.")  # fmt: skip
@click.option("-m", "--model", metavar="MODEL", help="A model's name or folder, or a training run.")
@click.option("--tasks", metavar="NAME,…", help="Answer only these; no other decoder runs.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--fast", is_flag=True, help="One network, no mirrored passes, less overlap: quicker, a little worse.")
@click.option(
    "--series",
    "series_uid",
    metavar="UID[:PART]",
    help="Read this volume, as inspect names it; UID,UID or ED=UID,ES=UID for the channels of a model; frame=N of a "
    "4D NIfTI.",
)
@click.option("--all-series", is_flag=True, help="Read every readable volume, each as a case.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1),
              help="Cases side by side, each watched in a process of its own.")  # fmt: skip
@click.option("--shard", metavar="K/N", help="Do every N-th case, starting with the K-th.")
@click.option("--max-memory", metavar="SIZE", help="4G, say: no case takes more; answers are the same.")
@click.option("--dry-run", "only_say", is_flag=True, help="Say what it would take in time, memory and disk.")
@click.option("--overwrite", is_flag=True, help="Run finished cases again and replace their results.")
@click.option("--allow", metavar="CODE,…", default="", help="Pass these guards; every output says so.")
@click.option("--formats", metavar="NAME,…", help="nii, json, csv, html, png, seg, sr, rtstruct, sc, pdf, prob.")
@click.option("--deidentify", is_flag=True, help="No identity in any output; DICOM images are copied without it.")
@click.option("--linkage", metavar="FILE", type=click.Path(path_type=Path),
              help="With --deidentify: which case is whose, readable by you alone.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a case on stdout.")
@click.option("--debug", is_flag=True, help="Tracebacks and details on stderr.")
@click.pass_context
def predict(
    context: click.Context,
    /,
    sources: tuple[Path, ...],
    out_dir: Path,
    only_say: bool,
    quiet: bool,
    as_json: bool,
    debug: bool,
    **wanted: Any,
) -> None:
    """Outline lesions and organs and name the disease in every study of IN. Research use only.

    Goes on past a bad case. Ends with 0 if all are done, 1 if some were not, 2 if the call is wrong, 3 if nothing
    could be done, 130 if interrupted; finished cases stay.
    """
    from medmtl.cli.reporting import Reporter, set_up_logging
    from medmtl.errors import MedmtlError

    set_up_logging(debug)
    try:
        cases, models, options = _prepared(sources, **wanted)
    except MedmtlError as error:
        click.echo(error.line("call"), err=True)
        context.exit(2)
    if only_say:
        from medmtl.cli.dry_run import dry_run

        context.exit(dry_run(cases, models, options))
    with Reporter(quiet=quiet, as_json=as_json) as reporter:
        context.exit(run(cases, models, options, out_dir, reporter))


def _prepared(
    sources: tuple[Path, ...],
    *,
    model: str | None,
    device: str,
    fast: bool,
    all_series: bool,
    shard: str | None,
    **wanted: Any,
) -> "tuple[tuple[CaseInput, ...], Models, BatchOptions]":
    """The cases of a call, what answers them and how; `wanted` holds the other options by their names."""
    cases = _cases(sources, model, all_series, shard)
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.cli.dry_run import bytes_of
    from medmtl.pipeline.batch import BatchOptions, Models

    cases, pseudonyms = _anonymous(cases, wanted["linkage"]) if wanted["deidentify"] else (cases, None)
    options = BatchOptions(
        device=device,
        tasks=_names(wanted["tasks"]) or None,
        allowed=_allowed(wanted["allow"]),
        formats=_formats(wanted["formats"], len(cases)),
        series_uid=wanted["series_uid"],
        overwrite=wanted["overwrite"],
        shard=shard,
        jobs=wanted["jobs"] if len(cases) > 1 else 1,
        fast=fast,
        max_memory=bytes_of(wanted["max_memory"]) if wanted["max_memory"] else None,
        pseudonyms=pseudonyms,
    )
    bundle = find_bundle(model) if model else None
    if bundle is not None:
        _check_tasks(options.tasks, bundle.task_names)
    return cases, Models(bundle, device, fast=fast), options


def run(
    cases: "tuple[CaseInput, ...]", models: "Models", options: "BatchOptions", out_dir: Path, reporter: "Reporter"
) -> int:
    """Runs the batch, says what happened to each case, and gives the exit code."""
    from medmtl.errors import MedmtlError
    from medmtl.outputs.manifest import collect
    from medmtl.pipeline.batch import run_batch
    from medmtl.pipeline.jobs import run_jobs

    runner = run_batch if options.jobs == 1 else run_jobs
    count, started = len(cases), 0

    def begin(case: "CaseInput") -> "Progress":
        nonlocal started
        started += 1
        reporter.begin(case.where, started, count)
        return reporter.windows

    errors: list[MedmtlError] = []
    try:
        for number, outcome in enumerate(runner(cases, models, options, out_dir, begin), start=1):
            _say(outcome, number, count, reporter)
            if outcome.error is not None:
                errors.append(outcome.error)
        collect(out_dir)
    except KeyboardInterrupt:
        click.echo("interrupted: finished cases stay; the same command goes on", err=True)
        return 130
    except MedmtlError as error:  # the output folder itself
        click.echo(error.line("output"), err=True)
        return 3
    return _exit_code(errors, count)


def _exit_code(errors: "list[MedmtlError]", count: int) -> int:
    from medmtl.errors import UsageError

    if not errors:
        return 0
    if len(errors) < count:
        return 1
    return 2 if all(isinstance(error, UsageError) for error in errors) else 3


def _say(outcome: "Outcome", number: int, count: int, reporter: "Reporter") -> None:
    from dataclasses import asdict

    line = outcome.line
    row = {key: value for key, value in asdict(line).items() if value is not None}
    if outcome.error is not None:
        reporter.refusal(row, outcome.error.line(line.case))
    elif outcome.skipped:
        reporter.result({**row, "skipped": True}, f"{number}/{count} {line.case}: already done")
    elif outcome.findings is not None:
        found = summary(outcome.findings)
        reporter.result(row, f"{number}/{count} {line.case}: {found}  ({line.seconds:.1f} s)")


def summary(findings: "dict[str, object]") -> str:
    """One line of what was found."""
    from typing import cast

    found = cast(dict[str, Any], findings)
    parts = []
    if found.get("lesions"):
        totals = found["lesions"]["totals"]
        parts.append(f"lesions {totals['count']} ({totals['ml']:.1f} mL)")
    if found.get("organs"):
        rows = [row for row in found["organs"] if row["task"] == found["organs"][0]["task"]]
        parts.append(", ".join(f"{row['title']['en']} {row['ml']:.1f} mL" for row in rows[:4]))
    derived = [one for task in found["tasks"].values() for one in task["derived"] if one["value"] is not None]
    if derived:
        parts.append(", ".join(f"{one['title']['en']} {one['value']:.1f} {one['unit']}" for one in derived[:4]))
    if found.get("diagnosis"):
        best = found["diagnosis"]
        parts.append(f"{best['title']['en']} (p {best['probabilities'][best['class']]:.2f})")
    parts.append(f"trust {found['trust']['level']}")
    return "; ".join(parts)


def _cases(
    sources: tuple[Path, ...], model: str | None, all_series: bool, shard: str | None
) -> "tuple[CaseInput, ...]":
    from medmtl.errors import Code, StudyError
    from medmtl.reading.any_volume import discover_all, each_series

    names: tuple[str, ...] = ()
    if model:
        from medmtl.bundle.catalogue import find_bundle

        names = find_bundle(model).channels
    cases = discover_all(sources, names=names)
    if all_series:
        cases = tuple(one for case in cases for one in each_series(case))
    if not cases:
        raise StudyError(Code.EMPTY_INPUT, "the input holds no image", "give a NIfTI, a DICOM folder or a zip")
    if shard:
        first, step = _shard(shard)
        cases = cases[first - 1 :: step]
    return cases


def _shard(text: str) -> tuple[int, int]:
    from medmtl.errors import Code, UsageError

    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise UsageError(Code.BAD_OPTION, f"--shard {text} is not K/N with K from 1 to N", "write 2/8, say")
    return int(first), int(count)


def _anonymous(cases: "tuple[CaseInput, ...]", linkage: Path | None) -> "tuple[tuple[CaseInput, ...], Pseudonyms]":
    from medmtl.outputs.deidentify import Pseudonyms
    from medmtl.pipeline.anonymous_case import link, renamed, site_key

    pseudonyms = Pseudonyms(key=site_key())
    anonymous = renamed(cases, pseudonyms)
    if linkage is not None:
        link(linkage, cases, anonymous)
    return anonymous, pseudonyms


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _allowed(text: str) -> tuple[str, ...]:
    from medmtl.errors import Code, UsageError
    from medmtl.pipeline.guards import PASSABLE

    names = _names(text)
    wrong = [name for name in names if name not in PASSABLE]
    if wrong:
        todo = f"only these can be passed: {', '.join(PASSABLE)}"
        raise UsageError(Code.BAD_OPTION, f"--allow cannot pass {', '.join(wrong)}", todo)
    return names


def _formats(text: str | None, count: int) -> frozenset[str]:
    from medmtl.errors import Code, UsageError
    from medmtl.outputs.write_case import DEFAULT_FORMATS, FORMATS

    if text is None:
        return DEFAULT_FORMATS if count <= _FEW else DEFAULT_FORMATS - {"html", "png"}
    wanted = frozenset(_names(text))
    if not wanted or not wanted <= FORMATS:
        what = f"--formats {text} names what is not known"
        raise UsageError(Code.BAD_OPTION, what, f"choose from {', '.join(sorted(FORMATS))}")
    return wanted | {"json"}


def _check_tasks(tasks: tuple[str, ...] | None, known: tuple[str, ...]) -> None:
    from medmtl.errors import Code, UsageError

    wrong = [name for name in tasks or () if name not in known]
    if wrong:
        raise UsageError(Code.UNKNOWN_TASK, f"the model has no task {', '.join(wrong)}", f"it has {', '.join(known)}")
