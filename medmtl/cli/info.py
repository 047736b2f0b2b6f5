"""`medmtl info` and `medmtl doctor`: what is installed, and whether it works here."""

import json
import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click

from medmtl import __version__

_PACKAGES = ("openvino", "torch", "monai", "numpy", "nibabel", "pydicom", "SimpleITK", "highdicom", "streamlit")
_CODECS = {"JPEG 2000": "openjpeg", "RLE": "rle", "JPEG-LS": "jpeg_ls", "JPEG lossless": "gdcm"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON object for machines.")
def info(as_json: bool) -> None:
    """Version, packages, threads and codecs."""
    facts = {
        "medmtl": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": os.cpu_count() or 1,
        **{name: _version(name) for name in _PACKAGES},
        "codecs": [name for name, module in _CODECS.items() if find_spec(module)],
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        click.echo(f"{key:10} {', '.join(value) if isinstance(value, list) else value}")


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Check that this installation can do its work: devices, models, codecs, write access."""
    import torch

    from medmtl.bundle.bundle import read_bundle
    from medmtl.bundle.catalogue import bundle_folders
    from medmtl.errors import MedmtlError

    rows = [(True, f"torch {torch.__version__}, {torch.get_num_threads()} threads")]
    cuda = torch.cuda.is_available()
    rows.append((True, f"GPU: {torch.cuda.get_device_name(0)}" if cuda else "no GPU: everything runs on the CPU"))
    rows += [(bool(find_spec(module)), f"codec {name}") for name, module in _CODECS.items()]
    for name, folder in bundle_folders().items():
        try:
            rows.append((True, f"model {name} is whole, licence: {read_bundle(folder).licence}"))
        except MedmtlError as error:
            rows.append((False, error.line(name)))
    rows.append((_writable(Path(tempfile.gettempdir())), "the temporary folder can be written"))
    for ok, text in rows:
        click.echo(f"{'ok  ' if ok else 'FAIL'} {text}")
    context.exit(0 if all(ok for ok, _ in rows) else 1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)
