"""`medmtl demo`: the shipped model on the sample studies."""

from pathlib import Path

import click

_MODEL = "cardiac-lge"


@click.command()
@click.option("-o", "--output", "out_dir", metavar="OUT", default="out/demo", show_default=True,
              type=click.Path(path_type=Path), help="Folder of the results.")  # fmt: skip
@click.option("--samples", type=click.Path(path_type=Path), help="Folder of the sample studies.")
@click.pass_context
def demo(context: click.Context, out_dir: Path, samples: Path | None) -> None:
    """Run the shipped model on three real cardiac studies and say what it found. Research use only."""
    folder = samples or _samples()
    if not (folder / "images").is_dir():
        click.echo("not-found samples: the sample studies come with the source; run this in a checkout", err=True)
        context.exit(2)
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.cli.predict import run
    from medmtl.cli.reporting import Reporter, set_up_logging
    from medmtl.errors import MedmtlError
    from medmtl.pipeline.batch import BatchOptions, Models
    from medmtl.reading.any_volume import discover

    set_up_logging(False)
    try:
        bundle = find_bundle(_MODEL)
        cases = discover(folder / "images")
        click.echo(f"{bundle.title}, {bundle.version}. {bundle.licence}.")
        click.echo("Research use only, not for clinical decisions.")
        click.echo("Three studies that the model was not trained on, shown right or wrong:")
        formats = frozenset({"nii", "json", "csv", "html", "png"})
        with Reporter(quiet=False, as_json=False) as reporter:
            code = run(cases, Models(bundle, "auto"), BatchOptions(formats=formats), out_dir, reporter)
    except MedmtlError as error:
        click.echo(error.line("demo"), err=True)
        context.exit(2)
    _show(out_dir, [case.name for case in cases], folder / "cases.csv")
    context.exit(code)


def _show(out_dir: Path, names: list[str], table: Path) -> None:
    """The findings in words beside what the readers of the data set drew, and where the reports lie."""
    import csv
    import json

    from medmtl.outputs.sentences import report_sentences

    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines() if table.is_file() else [])
    truth = {row["case"]: row["diagnosis"] for row in rows}
    for name in names:
        path = out_dir / name / "findings.json"
        if not path.is_file():
            continue
        findings = json.loads(path.read_text(encoding="utf-8"))
        click.echo(f"\n{name}" + (f"  (the data set says: {truth[name]})" if name in truth else ""))
        for sentence in report_sentences(findings, "en"):
            click.echo(f"  {sentence}")
        click.echo(f"  report: {out_dir / name / 'report.html'}")
    click.echo(f"\nAll results: {out_dir}. Open a report in any browser.")
    if _viewer_is_installed():
        click.echo("The viewer: medmtl app")


def _viewer_is_installed() -> bool:
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    return any(e.name == "app" for e in entry_points(group="medmtl.commands")) and find_spec("streamlit") is not None


def _samples() -> Path:
    return Path(__file__).resolve().parents[2] / "sample_data" / "cardiac_lge"
