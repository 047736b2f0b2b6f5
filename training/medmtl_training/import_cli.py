"""`medmtl data import` and `medmtl data merge`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medmtl_training.importing.draft import ImportOptions, SetDraft
    from medmtl_training.importing.writing import Written

_MAKES = ("nnunet", "decathlon", "csv", "dicom", "workspace")


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", "target", metavar="DATASET", required=True, type=click.Path(path_type=Path))
@click.option("--format", "make", type=click.Choice(["auto", *_MAKES]), default="auto", show_default=True)
@click.option("--name", help="Of the data set; default: the source's.")
@click.option("--modality", type=click.Choice(["CT", "MR"]), help="Where the source does not say it.")
@click.option("--task", help="Name of the voxel task: keeps one map in one task.")
@click.option("--table", type=click.Path(path_type=Path), help="CSV of classes and further columns, joined by case.")
@click.option("--class-column", "class_columns", multiple=True, metavar="COLUMN[=TASK]", help="Column that is a class.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the images of a CSV.")
@click.option("--masks", type=click.Path(path_type=Path), help="Folder of the binary masks of a CSV's cases.")
@click.option("--splits", type=click.Path(path_type=Path), help="splits_final.json of nnU-Net.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="dataset.yaml that names the structures wanted of DICOM."
)
@click.option("--linkage", type=click.Path(path_type=Path), help="Keep which case is which DICOM study in this file.")
@click.option("--quiet", is_flag=True, help="Say nothing while it runs.")
@click.pass_context
def import_set(  # every option is one of its own
    context: click.Context,
    source: Path,
    target: Path,
    make: str,
    name: str | None,
    modality: str | None,
    task: str | None,
    table: Path | None,
    class_columns: tuple[str, ...],
    images: Path | None,
    masks: Path | None,
    splits: Path | None,
    labels: Path | None,
    linkage: Path | None,
    quiet: bool,
) -> None:
    """Make a data set of SOURCE: nnU-Net raw, a Decathlon list, a CSV of classes, DICOM with SEG or RTSTRUCT, or the
    corrections in a workspace of the viewer.

    Exit code 1 where cases had to be left out; they are listed with the reason.
    """
    from medmtl_training.importing.draft import ImportOptions
    from medmtl_training.importing.table import joined, read_table
    from medmtl_training.importing.writing import check_target, write_set

    check_target(target)
    columns = {text.partition("=")[0]: text.partition("=")[2] or "diagnosis" for text in class_columns}
    options = ImportOptions(
        name=name, modality=modality, task=task, table=table, class_columns=columns, images=images, masks=masks,
        splits=splits, labels=labels, linkage=linkage,
    )  # fmt: skip
    draft = _draft(source, make if make != "auto" else _make_of(source), options)
    if table is not None:
        draft = joined(draft, read_table(table, columns))
    _say(write_set(draft, target, _Progress(quiet=quiet)), target, context)


@click.command("merge")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", "target", metavar="DATASET", required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Of the new set; default: the names of the sources.")
@click.option("--quiet", is_flag=True, help="Say nothing while it runs.")
@click.pass_context
def merge(context: click.Context, sources: tuple[Path, ...], target: Path, name: str | None, *, quiet: bool) -> None:
    """Make one data set of several: labels are matched by name, then by code; what does not fit is listed.

    Labels that a source does not have were not drawn there: its cases are partly labelled for that task.
    """
    from medmtl_training.cases import read_dataset
    from medmtl_training.importing.writing import check_target, write_set
    from medmtl_training.merging import merged

    check_target(target)
    draft = merged([read_dataset(source)[0] for source in sources], name)
    _say(write_set(draft, target, _Progress(quiet=quiet)), target, context)


def _make_of(source: Path) -> str:
    """What make a source is, by what lies in it.

    Raises:
        UsageError: `bad-option`, none of the makes.
    """
    from medmtl_training.importing.nnunet import read_json
    from medmtl_training.importing.workspace import is_workspace

    if source.suffix.lower() == ".csv":
        return "csv"
    head = source / "dataset.json" if source.is_dir() else source
    if head.suffix.lower() == ".json" and head.is_file():
        body = read_json(head)
        return "decathlon" if isinstance(body, dict) and isinstance(body.get("training"), list) else "nnunet"
    return "workspace" if is_workspace(source) else "dicom"


def _draft(source: Path, make: str, options: "ImportOptions") -> "SetDraft":
    if make == "nnunet":
        from medmtl_training.importing.nnunet import draft_of_nnunet

        return draft_of_nnunet(source, options)
    if make == "decathlon":
        from medmtl_training.importing.decathlon import draft_of_decathlon

        return draft_of_decathlon(source, options)
    if make == "csv":
        from medmtl_training.importing.table import draft_of_table

        return draft_of_table(source, options)
    if make == "workspace":
        from medmtl_training.importing.workspace import draft_of_workspace

        return draft_of_workspace(source, options)
    from medmtl_training.importing.dicom import draft_of_dicom

    return draft_of_dicom(source, options)


class _Progress:
    """A line on stderr for every 25 cases."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._done = quiet, 0

    def __call__(self, case: str) -> None:
        self._done += 1
        if not self._quiet and self._done % 25 == 0:
            click.echo(f"wrote {self._done} cases", err=True)


def _say(written: "Written", target: Path, context: click.Context) -> None:
    for text in written.notices:
        click.echo(f"note: {text}", err=True)
    for case, error in written.refused:
        click.echo(error.line(case), err=True)
    click.echo(f"{target}: {written.cases} cases" + (f", {len(written.refused)} left out" if written.refused else ""))
    click.echo(f"next: medmtl data check {target}")
    context.exit(1 if written.refused else 0)
