"""Makes `.venv/` in the checkout with pinned packages; needs Python 3.11 or later and nothing else.

    python3 scripts/setup_env.py            everything that development and tests need
    python3 scripts/setup_env.py --no-dev   what running, training and the viewer need

Where no NVIDIA GPU is present, PyTorch's CPU build is installed (0.2 GB) and never the CUDA build (several GB):
first from wherever pip already looks, then from PyTorch's own index of CPU builds. `--torch any` takes whatever
pip finds. A second call with nothing changed ends at once.
"""

from __future__ import annotations  # lets an older Python come as far as being refused

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python may well start this file
    sys.exit("setup: Python 3.11 or later is needed; name it with `make PYTHON=python3.11 setup`")

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "medmtl-setup.json"
CONSTRAINTS = ROOT / "constraints.txt"
MIN_PIP = (23, 3)
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_PARTS = ("nvidia-", "cuda-", "triton")

RUN_EXTRAS = "train,mtl,app,signin,pacs"
DEV_EXTRAS = "train,mtl,app,signin,pacs,export,dev"

# measured on Linux x86-64, Python 3.11
SIZES = {
    "cpu": "PyTorch (CPU build, 0.2 GB) and about 100 packages (0.4 GB); 2.3 GB on disk",
    "any": "PyTorch (0.2 GB, or several GB where it is the CUDA build) and about 100 packages (0.4 GB)",
}


class SetupError(Exception):
    """The environment cannot be made; the message is the one line to print."""


def has_nvidia_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU answers."""
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0 and "GPU " in found.stdout


def fingerprint(extras: str) -> dict[str, str]:
    """What the environment depends on; equal means nothing to do."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    version = ".".join(map(str, sys.version_info[:2]))
    return {"files": digest.hexdigest(), "root": str(ROOT), "python": version, "extras": extras}


def up_to_date(stamp: Path, wanted: dict[str, str]) -> bool:
    """Whether `stamp` says that `wanted` is installed; the development set includes the other."""
    if not (stamp.is_file() and venv_python().exists()):
        return False
    try:
        installed: dict[str, str] = json.loads(stamp.read_text())
    except ValueError:
        return False
    installed.pop("torch", None)
    return installed in (wanted, {**wanted, "extras": DEV_EXTRAS})


def venv_python() -> Path:
    """The environment's interpreter."""
    return VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def pinned(name: str) -> str:
    """`name==version` as `constraints.txt` has it."""
    for line in CONSTRAINTS.read_text().splitlines():
        if line.split("==")[0].lower() == name:
            return line.strip()
    raise SetupError(f"constraints.txt does not pin {name}")


def pip(*arguments: str, quiet: bool = True) -> None:
    """Run pip in the environment; its own messages are shown only where it fails."""
    command = [str(venv_python()), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=quiet, text=True, check=False)
    if done.returncode:
        raise SetupError(f"pip {arguments[0]} failed: {last_error(done.stderr or '')}")


def last_error(text: str) -> str:
    """The last line of pip's output that states an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["see above"])[-1]


def make_venv() -> None:
    """The environment's folder with a pip that is new enough."""
    if not venv_python().exists():
        try:
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise SetupError(f"cannot make {VENV.name}/ ({error}); is the venv module of Python installed?") from error
    ask = [str(venv_python()), "-c", "import pip; print(pip.__version__)"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_PIP:
        pip("install", "--upgrade", "-c", str(CONSTRAINTS), "pip")


def installed_torch() -> tuple[str, str | None] | None:
    """Version of the environment's torch and of the CUDA it was built for; None without torch."""
    code = "import torch; print(torch.__version__, torch.version.cuda)"
    done = subprocess.run([str(venv_python()), "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    version, cuda = done.stdout.split()[:2]
    return version, None if cuda == "None" else cuda


def brings_cuda(report: dict[str, Any]) -> bool:
    """Whether what pip would install (its `--report`) is torch's CUDA build."""
    packages = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in report.get("install", [])}
    if "+cpu" in packages.get("torch", ""):
        return False
    return "+cu" in packages.get("torch", "") or any(name.startswith(CUDA_PARTS) for name in packages)


def pip_would_install(requirement: str) -> dict[str, Any]:
    """pip's report on installing `requirement`; nothing is installed."""
    command = [str(venv_python()), "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet"]
    command += ["--report", "-", "-c", str(CONSTRAINTS), requirement]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"pip cannot find {requirement}: {last_error(done.stderr)}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def install_torch(build: str) -> None:
    """torch as pinned: `cpu` refuses the CUDA build, `any` takes what pip finds."""
    requirement = pinned("torch")
    found = installed_torch()
    if found and found[0].split("+")[0] == requirement.split("==")[1] and (build == "any" or found[1] is None):
        return
    if build == "any" or not brings_cuda(pip_would_install(requirement)):
        pip("install", "-c", str(CONSTRAINTS), requirement)
        return
    print(f"  where pip looks there is only torch's CUDA build; trying {TORCH_CPU_INDEX}", flush=True)
    # without dependencies: the pinned ones need not be on that index
    source = ["--index-url", TORCH_CPU_INDEX, "--retries", "1", "--timeout", "20"]
    try:
        pip("install", "--no-deps", "--force-reinstall", *source, requirement)
    except SetupError as error:
        raise SetupError(
            f"no CPU build of {requirement} is to be had here ({error}); "
            "put its wheel where pip looks (PIP_FIND_LINKS), or take the CUDA build with --torch any"
        ) from error


def check_torch(build: str) -> None:
    """Refuse an environment whose torch was swapped for a CUDA build on the way."""
    found = installed_torch()
    if found is None:
        raise SetupError("torch is installed but cannot be imported; remove .venv and try again")
    if build == "cpu" and found[1] is not None:
        raise SetupError(f"torch {found[0]} is a CUDA build on a machine without NVIDIA GPU; remove .venv, try again")


def megabytes(folder: Path) -> int:
    """Size of the files under `folder`."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def set_up(extras: str, build: str) -> None:
    """Install everything, saying first what will be fetched."""
    print(f"Setting up {VENV.name}/ with Python {platform.python_version()}.", flush=True)
    print(f"To download: {SIZES[build]}.", flush=True)
    started = time.monotonic()
    make_venv()
    print("  PyTorch ...", flush=True)
    install_torch(build)
    print("  the other packages ...", flush=True)
    # the build back end of the editable install, pinned, in place of pip's unpinned isolated one
    pip("install", "-c", str(CONSTRAINTS), "hatchling", "editables")
    pip("install", "-c", str(CONSTRAINTS), "--no-build-isolation", "-e", f".[{extras}]")
    check_torch(build)
    STAMP.write_text(json.dumps({**fingerprint(extras), "torch": build}, indent=1) + "\n")
    torch_folders = list(VENV.glob("**/site-packages/torch"))
    torch_mb = megabytes(torch_folders[0]) if torch_folders else 0
    seconds = time.monotonic() - started
    print(f"Done in {seconds:.0f} s: {megabytes(VENV)} MB in {VENV.name}/, of them torch {torch_mb} MB.", flush=True)


def main() -> int:
    """Entry of the script; 1 and one line on stderr where it fails."""
    parser = argparse.ArgumentParser(description="Makes .venv/ with pinned packages.")
    parser.add_argument("--no-dev", action="store_true", help="leave out what only development and tests need")
    parser.add_argument("--torch", choices=("auto", "cpu", "any"), default="auto", help="which build of PyTorch")
    options = parser.parse_args()
    extras = RUN_EXTRAS if options.no_dev else DEV_EXTRAS
    if up_to_date(STAMP, fingerprint(extras)):
        return 0
    build = options.torch
    if build == "auto":
        build = "any" if has_nvidia_gpu() else "cpu"
    try:
        set_up(extras, build)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
