"""Which bundles are there: shipped with the package, installed by the user."""

import os
from pathlib import Path

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.errors import Code, UsageError


def shipped_folder() -> Path:
    """The folder of bundles that come with the package."""
    return Path(__file__).resolve().parent.parent / "models"


def installed_folder() -> Path:
    """The user's own folder of bundles: `$MEDMTL_MODELS`, or `medmtl/models` below the user's data folder."""
    if given := os.environ.get("MEDMTL_MODELS"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "medmtl" / "models"


def bundle_folders() -> dict[str, Path]:
    """Name to folder of every bundle; an installed one hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for root in (shipped_folder(), installed_folder()):
        if root.is_dir():
            found |= {path.parent.name: path.parent for path in sorted(root.glob("*/bundle.yaml"))}
    return found


def find_bundle(model: str) -> Bundle:
    """The bundle that `model` names: a known name, a bundle's folder or a training run.

    Raises:
        UsageError: `not-found`.
        BundleError: it is there and damaged.
    """
    folders = bundle_folders()
    if model in folders:
        return read_bundle(folders[model])
    path = Path(model)
    if path.is_dir():
        return read_bundle(path)
    known = ", ".join(folders) or "none"
    raise UsageError(Code.NOT_FOUND, f"there is no model {path.name!r}", f"known models: {known}")
