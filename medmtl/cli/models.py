"""`medmtl models`: the bundles that are there."""

import json
from pathlib import Path
from typing import Any

import click


@click.group()
def models() -> None:
    """List, show, add, verify and export models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list for machines.")
@click.pass_context
def list_models(context: click.Context, as_json: bool) -> None:
    """Every model with its licence and what it was trained on."""
    from medmtl.bundle.bundle import read_bundle
    from medmtl.bundle.catalogue import bundle_folders
    from medmtl.errors import MedmtlError

    rows, damaged = [], False
    for name, folder in bundle_folders().items():
        try:
            rows.append(_row(read_bundle(folder)))
        except MedmtlError as error:
            damaged = True
            click.echo(error.line(name), err=True)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    for row in [] if as_json else rows:
        marks = [mark for mark in ("non-commercial", "synthetic") if row[mark.replace("-", "_")]]
        click.echo(f"{row['name']} {row['version']}  {row['modality']}  {', '.join(row['tasks'])}")
        click.echo(f"  {row['title']}")
        click.echo(f"  licence: {row['licence']}{'  (' + ', '.join(marks) + ')' if marks else ''}")
        click.echo(f"  trained on: {row['data']}")
    if not rows and not as_json:
        click.echo("no models; `medmtl models add FOLDER` installs one")
    context.exit(1 if damaged else 0)


@models.command()
@click.argument("model")
@click.pass_context
def show(context: click.Context, model: str) -> None:
    """The model card of MODEL."""
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.errors import MedmtlError

    try:
        bundle = find_bundle(model)
        click.echo((bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
    except MedmtlError as error:
        click.echo(error.line("model"), err=True)
        context.exit(2)
    except FileNotFoundError:
        click.echo("this model has no card")


@models.command()
@click.argument("model")
@click.pass_context
def verify(context: click.Context, model: str) -> None:
    """Check every file of MODEL against its SHA-256 and load the weights."""
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.bundle.weights import load_networks
    from medmtl.errors import MedmtlError

    try:
        bundle = find_bundle(model)
        load_networks(bundle)
    except MedmtlError as error:
        click.echo(error.line("model"), err=True)
        context.exit(1)
    click.echo(f"{bundle.name} {bundle.version}: whole, sha256 {bundle.sha256}")


@models.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.pass_context
def add(context: click.Context, folder: Path) -> None:
    """Install the bundle in FOLDER for this user, after verifying it."""
    from medmtl.bundle.bundle import read_bundle
    from medmtl.bundle.catalogue import installed_folder
    from medmtl.errors import MedmtlError

    try:
        bundle = read_bundle(folder)
    except MedmtlError as error:
        click.echo(error.line("model"), err=True)
        context.exit(1)
    _copy(context, bundle.folder, installed_folder() / bundle.name)
    click.echo(f"{bundle.name} {bundle.version} installed")


@models.command()
@click.argument("model")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="Its networks as ONNX files instead.")
@click.option("--openvino", is_flag=True, help="Its networks as OpenVINO files instead.")
@click.pass_context
def export(context: click.Context, model: str, target: Path, onnx: bool, openvino: bool) -> None:
    """Copy MODEL's bundle to the folder TARGET, after verifying it."""
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.errors import MedmtlError

    try:
        bundle = find_bundle(model)
    except MedmtlError as error:
        click.echo(error.line("model"), err=True)
        context.exit(1)
    if not (onnx or openvino):
        _copy(context, bundle.folder, target)
        return
    from medmtl.pipeline.export import export_onnx, export_openvino

    if target.exists():
        click.echo(f"output-of-another-call {target.name}: it exists already; remove it first", err=True)
        context.exit(2)
    import shutil

    target.mkdir(parents=True)
    for name in ("LICENCE", "MODEL_CARD.md"):  # the weights' terms hold in any format
        if (bundle.folder / name).is_file():
            shutil.copy(bundle.folder / name, target / name)
    for wanted, write in ((onnx, export_onnx), (openvino, export_openvino)):
        for name in write(bundle, target) if wanted else ():
            click.echo(target / name)


def _copy(context: click.Context, folder: Path, target: Path) -> None:
    import shutil

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, target)
    except FileExistsError:
        click.echo(f"output-of-another-call {target.name}: it exists already; remove it first", err=True)
        context.exit(2)
    except OSError as error:
        click.echo(f"cannot-write {target.name}: {error.strerror}; check the folder", err=True)
        context.exit(3)


def _row(bundle: Any) -> dict[str, Any]:
    keys = ("name", "title", "version", "modality", "licence", "non_commercial", "synthetic", "data", "sha256")
    return {key: getattr(bundle, key) for key in keys} | {"tasks": list(bundle.task_names)}
