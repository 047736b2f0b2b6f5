"""`medmtl data`: what a data set holds and whether it is sound."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl_training.data_check import DataReport


@click.group("data")
def data() -> None:
    """Look at data sets for training."""


@data.command("check")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing while it runs.")
@click.pass_context
def check(context: click.Context, dataset: Path, *, as_json: bool, quiet: bool) -> None:
    """Is DATASET sound? Reads every image and label; exit code 1 where there are errors."""
    from medmtl.outputs.files import json_bytes
    from medmtl_training.data_check import check_dataset

    done = 0

    def progress(case: str) -> None:
        nonlocal done
        done += 1
        if not quiet and done % 50 == 0:
            click.echo(f"checked {done} cases", err=True)

    report = check_dataset(dataset, progress)
    if as_json:
        click.echo(json_bytes(report.as_json()).decode().rstrip("\n"))
    else:
        click.echo("\n".join(_lines(report)))
    context.exit(1 if report.errors else 0)


def _lines(report: "DataReport") -> list[str]:
    lines = [f"{report.name}: {report.cases} cases of {report.patients} patients"]
    lines.extend(f"  {task}: {_coverage(counts)}" for task, counts in report.coverage.items())
    for fault in report.faults:
        lines.append(f"{fault.severity} {fault.code} {fault.case or 'data set'}: {fault.what}; {fault.repair}")
    lines.append(f"{report.errors} errors, {len(report.faults) - report.errors} warnings")
    return lines


def _coverage(counts: Mapping[str, Any]) -> str:
    cells = []
    for name, count in counts.items():
        drawn = isinstance(count, Mapping)
        cells.append(f"{name} in {count['present']} of {count['annotated']} drawn" if drawn else f"{name} {count}")
    return ", ".join(cells)
