"""`medmtl collect`: the manifest and summary of a folder that several shards wrote."""

from pathlib import Path

import click


@click.command()
@click.argument("out_dir", metavar="OUT", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.pass_context
def collect(context: click.Context, out_dir: Path) -> None:
    """Build manifest.json and summary.csv again from what stands in OUT."""
    from medmtl.errors import MedmtlError
    from medmtl.outputs.manifest import collect as build

    try:
        counts = build(out_dir)["counts"]
    except MedmtlError as error:
        click.echo(error.line("output"), err=True)
        context.exit(3)
    click.echo(", ".join(f"{state} {number}" for state, number in counts.items()))
