"""`SHA256SUMS`: the digest of every file of a bundle, in the format of `sha256sum --check`."""

import hashlib
from pathlib import Path

from medmtl.errors import BundleError, Code

SUMS = "SHA256SUMS"
_DECIDING = ("bundle.yaml", "reference.json")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS` over all other files."""
    rows = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}" for path in _files(folder)]
    (folder / SUMS).write_text("\n".join(rows) + "\n", encoding="ascii")


def verify_sums(folder: Path) -> str:
    """The digest that names the model, after every file has proved to be the one that was written.

    It covers the files that decide an answer (weights, bundle.yaml, reference.json), so that a model keeps its name
    when figures and a card are added.

    Raises:
        BundleError: `bundle-damaged`, naming the file that is missing, changed or not listed.
    """
    try:
        rows = (folder / SUMS).read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError):
        raise BundleError(Code.NOT_A_BUNDLE, f"the folder holds no {SUMS}", "give a bundle's folder or name") from None
    listed = {row[66:]: row[:64] for row in rows if row}
    for name, digest in listed.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file() or file_sha256(path) != digest:
            raise _damaged(f"{name} is missing or not as it was written")
    extra = {path.relative_to(folder).as_posix() for path in _files(folder)} - set(listed)
    if extra:
        raise _damaged(f"{sorted(extra)[0]} is not listed in {SUMS}")
    deciding = [row for row in sorted(rows) if row[66:] in _DECIDING or row[66:].startswith("weights/")]
    return hashlib.sha256("\n".join(deciding).encode("ascii")).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)


def _damaged(what: str) -> BundleError:
    return BundleError(Code.BUNDLE_DAMAGED, what, "install the model again")
