"""The same volume in NiiVue and in Cornerstone, in the same browser as `viewer.py`: prints a table.

    python benchmarks/viewer_peers.py --packages FOLDER

FOLDER holds what `npm install @niivue/niivue @cornerstonejs/core esbuild events url` put there; nothing of it is part
of medmtl. Drawing is timed to `readPixels` (NiiVue) and to the IMAGE_RENDERED event (Cornerstone, CPU, one plane).
"""

import functools
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import nibabel
import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.viewer import FLAGS, SHAPE, SIZE, spread

PAGE = '<!doctype html><meta charset="utf-8"><body><script src="{name}.bundle.js"></script>'


@click.command()
@click.option("--packages", type=click.Path(exists=True, path_type=Path), required=True)
def measure(packages: Path) -> None:
    """Prints figures of both."""
    array = np.random.default_rng(7).normal(40, 60, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([0.75, 0.75, 1.0, 1.0])), packages / "volume.nii")
    (packages / "volume.raw").write_bytes(array.tobytes(order="F"))
    handler = functools.partial(Quiet, directory=str(packages))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as driver:
        for name in ("cornerstone", "niivue"):
            bundle(packages, name)
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(300_000)
            page.goto(f"http://127.0.0.1:{server.server_port}/{name}.html")
            found: dict[str, Any] = page.evaluate("measure()")
            heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
            print(f"{name:12} first picture {found['ready'] / 1000:6.1f} s   slice {spread(found['scrolled']):>18}   "
                  f"window {spread(found['windowed']):>20}   heap {heap:.0f} MB", flush=True)  # fmt: skip
            browser.close()
    server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


def bundle(packages: Path, name: str) -> None:
    """One script of a package and our lines, by esbuild."""
    shutil.copyfile(Path(__file__).with_name(f"peer_{name}.js"), packages / f"{name}.entry.js")
    command = [str(packages / "node_modules" / ".bin" / "esbuild"), f"{name}.entry.js", "--bundle", "--format=iife"]
    command += ["--define:global=window", "--loader:.wasm=dataurl", f"--outfile={name}.bundle.js", "--log-level=error"]
    subprocess.run(command, cwd=packages, check=True)
    (packages / f"{name}.html").write_text(PAGE.format(name=name))


if __name__ == "__main__":
    measure()
