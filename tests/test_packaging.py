"""What is installed and shipped: pins, licences, PyTorch's build, the wheel, the set-up script."""

import importlib.metadata as metadata
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import setup_env

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"medmtl": ROOT, "medmtl_training": ROOT / "training", "medmtl_app": ROOT / "app"}
EXTRAS = ("train", "mtl", "app", "signin", "pacs", "export", "dev")
BUILD_TOOLS = {"pip", "setuptools", "hatchling", "editables"}
# "GPL" in its own right: LGPL is linked at run time only and allowed
GPL = re.compile(r"(?<!L)(?<!Lesser )(GPL|GNU General Public|GNU Affero)", re.IGNORECASE)


def closure(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Name and installed version of everything that `name[extras]` needs here."""
    found: dict[str, str] = {}
    asked: set[tuple[str, tuple[str, ...]]] = set()
    open_ends = [(name, extras)]
    while open_ends:
        package, wanted = open_ends.pop()
        if (package, wanted) in asked:
            continue
        asked.add((package, wanted))
        found[canonicalize_name(package)] = metadata.version(package)
        for line in metadata.requires(package) or []:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                open_ends.append((need.name, tuple(sorted(need.extras))))
    del found[canonicalize_name(name)]
    return found


@pytest.fixture(scope="module")
def needed() -> dict[str, str]:
    try:
        return closure("medmtl", EXTRAS)
    except metadata.PackageNotFoundError as missing:
        pytest.fail(f"{missing.name} is not installed: run `make setup`")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}


def test_every_dependency_is_pinned_to_what_is_installed(needed: dict[str, str]) -> None:
    installed = {name: version.split("+")[0] for name, version in needed.items()}
    assert installed.items() <= pins().items()


def test_nothing_is_pinned_that_is_not_needed(needed: dict[str, str]) -> None:
    assert pins().keys() - needed.keys() <= BUILD_TOOLS


def licence_of(package: str) -> str:
    """Licence expression, short licence field and classifiers."""
    about = metadata.metadata(package)
    fields = [about.get("License-Expression") or "", (about.get("License") or "").partition("\n")[0]]
    fields += [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    return " | ".join(field for field in fields if field)


def test_no_dependency_is_under_the_gpl(needed: dict[str, str]) -> None:
    licences = {name: licence_of(name) for name in needed}
    assert {name: text for name, text in licences.items() if GPL.search(text)} == {}
    assert {name for name, text in licences.items() if not text} == set()


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("GPL-3.0-only", True),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("AGPL-3.0", True),
        ("LGPL-3.0-or-later", False),
        ("GNU Lesser General Public License v3", False),
        ("MIT", False),
    ],
)
def test_the_gpl_is_told_from_the_lgpl(text: str, refused: bool) -> None:
    assert bool(GPL.search(text)) is refused


def test_torch_is_a_cpu_build_without_gpu() -> None:
    if setup_env.has_nvidia_gpu():
        pytest.skip("an NVIDIA GPU is here: either build is right")
    if setup_env.STAMP.is_file() and json.loads(setup_env.STAMP.read_text()).get("torch") == "any":
        pytest.skip("this environment was set up with --torch any")
    import torch

    assert torch.version.cuda is None, "a dependency swapped torch for a CUDA build"


def test_wheel_holds_all_packages_and_their_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in PACKAGES.items():
        sources = [
            str(path.relative_to(folder))
            for path in (folder / package).rglob("*")
            if path.is_file() and path.suffix != ".pyc" and not {"node_modules", "src"} & set(path.parts)
        ]
        assert f"{package}/py.typed" in sources
        assert set(sources) - names == set()
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert "medmtl.commands" in zipfile.ZipFile(wheel).read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    # samples and tests stay out, and with them what is under another licence
    assert {name.split("/")[0] for name in names} - PACKAGES.keys() == {entry_points.split("/")[0]}


@pytest.mark.parametrize(
    ("packages", "cuda"),
    [
        ({"torch": "2.13.0+cpu", "sympy": "1.14.0"}, False),
        ({"torch": "2.13.0"}, False),
        ({"torch": "2.13.0+cu130"}, True),
        ({"torch": "2.13.0", "nvidia-cublas": "13.1", "triton": "3.7"}, True),
    ],
)
def test_a_cuda_build_is_recognised_before_it_is_fetched(packages: dict[str, str], cuda: bool) -> None:
    report = {"install": [{"metadata": {"name": name, "version": version}} for name, version in packages.items()]}
    assert setup_env.brings_cuda(report) is cuda


def test_setup_says_first_what_it_fetches_and_fails_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(setup_env, "VENV", blocked / ".venv")
    monkeypatch.setattr(setup_env, "STAMP", blocked / ".venv" / "stamp.json")
    monkeypatch.setattr(sys, "argv", ["setup_env.py", "--torch", "cpu"])
    assert setup_env.main() == 1
    said = capsys.readouterr()
    assert "To download: PyTorch (CPU build" in said.out
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("setup: cannot make")


def test_setup_is_done_when_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env, "venv_python", lambda: Path(sys.executable))
    stamp = tmp_path / "stamp.json"
    everything = setup_env.fingerprint(setup_env.DEV_EXTRAS)
    less = setup_env.fingerprint(setup_env.RUN_EXTRAS)
    assert not setup_env.up_to_date(stamp, everything)
    stamp.write_text(json.dumps({**everything, "torch": "cpu"}))
    assert setup_env.up_to_date(stamp, everything)
    assert setup_env.up_to_date(stamp, less)
    assert not setup_env.up_to_date(stamp, {**everything, "files": "other pins"})
    stamp.write_text(json.dumps(less))
    assert not setup_env.up_to_date(stamp, everything)
    stamp.write_text("cut off {")
    assert not setup_env.up_to_date(stamp, less)
