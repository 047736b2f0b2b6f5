"""`medmtl data`: what a data set holds and whether it is sound; its further commands come from their own files."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmtl_training.import_cli import import_set, merge
from medmtl_training.plan_cli import plan, prepare

if TYPE_CHECKING:
    from medmtl_training.data_check import DataReport
    from medmtl_training.data_repair import Repair
    from medmtl_training.shortcuts import Shortcut


@click.group("data")
def data() -> None:
    """Make, check and plan data sets for training."""


for command in (import_set, merge, plan, prepare):
    data.add_command(command)


@data.command("check")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--fix", type=click.Path(path_type=Path), metavar="DIR", help="Write a copy with the safe repairs.")
@click.option("--quiet", is_flag=True, help="Say nothing while it runs.")
@click.pass_context
def check(context: click.Context, dataset: Path, *, as_json: bool, fix: Path | None, quiet: bool) -> None:
    """Is DATASET sound? Reads every image and label; exit code 1 where there are errors.

    With --fix the copy is checked too, and its errors count. DATASET is never changed.
    """
    from medmtl.outputs.files import json_bytes
    from medmtl_training.data_check import check_dataset
    from medmtl_training.data_repair import check_target, repair_dataset

    if fix is not None:
        check_target(dataset, fix)
    report = check_dataset(dataset, _progress(quiet=quiet))
    result = report.as_json()
    lines = _lines(report)
    if fix is not None and not report.cases:
        lines.append("no copy was written: nothing can be repaired before the case list can be read")
    elif fix is not None:
        repairs = repair_dataset(dataset, report, fix)
        report = check_dataset(fix, _progress(quiet=quiet))
        result |= {"repairs": [repair.as_json() for repair in repairs], "copy": report.as_json()}
        lines += ["", *_repair_lines(repairs), "", "The copy:", *_lines(report)]
    click.echo(json_bytes(result).decode().rstrip("\n") if as_json else "\n".join(lines))
    context.exit(1 if report.errors else 0)


def _progress(*, quiet: bool) -> Callable[[str], None]:
    done = 0

    def progress(case: str) -> None:
        nonlocal done
        done += 1
        if not quiet and done % 50 == 0:
            click.echo(f"checked {done} cases", err=True)

    return progress


def _lines(report: "DataReport") -> list[str]:
    lines = [f"{report.name}: {report.cases} cases of {report.patients} patients"]
    lines.extend(f"  {task}: {_coverage(counts)}" for task, counts in report.coverage.items())
    lines.extend(_pattern_lines(report))
    lines.extend(_shortcut_lines(report.shortcuts))
    for fault in report.faults:
        lines.append(f"{fault.severity} {fault.code} {fault.case or 'data set'}: {fault.what}; {fault.repair}")
    lines.append(f"{report.errors} errors, {len(report.faults) - report.errors} warnings")
    return lines


def _pattern_lines(report: "DataReport") -> Iterator[str]:
    """The coverage matrix in short: how many cases have which tasks; `--json` has it case by case."""
    tasks = list(report.coverage)
    patterns = Counter(tuple(task in cells for task in tasks) for cells in report.matrix.values())
    if len(patterns) < 2:
        return
    yield "  cases  " + "  ".join(tasks)
    for pattern, cases in patterns.most_common():
        marks = [("yes" if has else "-").ljust(len(task)) for has, task in zip(pattern, tasks, strict=True)]
        yield f"  {cases:5d}  {'  '.join(marks)}".rstrip()


def _shortcut_lines(rows: Sequence["Shortcut"]) -> Iterator[str]:
    for task in dict.fromkeys(row.task for row in rows):
        cells = {(row.feature, row.label): f"{row.auc:.2f}" for row in rows if row.task == task}
        labels = list(dict.fromkeys(label for _, label in cells))
        features = list(dict.fromkeys(feature for feature, _ in cells))
        title = f"  {task} guessed without the anatomy, AUC"
        width = max(len(title), *(len(feature) + 4 for feature in features))
        yield "  ".join([title.ljust(width), *labels])
        for feature in features:
            figures = [cells.get((feature, label), "-").rjust(len(label)) for label in labels]
            yield "  ".join([f"    {feature}".ljust(width), *figures])


def _repair_lines(repairs: Sequence["Repair"]) -> list[str]:
    lines = [f"repaired {repair.code} {repair.case or 'data set'}: {repair.done}" for repair in repairs]
    return [*lines, f"{len(repairs)} repairs"]


def _coverage(counts: Mapping[str, Any]) -> str:
    cells = []
    for name, count in counts.items():
        drawn = isinstance(count, Mapping)
        cells.append(f"{name} in {count['present']} of {count['annotated']} drawn" if drawn else f"{name} {count}")
    return ", ".join(cells)
