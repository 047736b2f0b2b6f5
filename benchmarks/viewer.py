"""How quick the viewer is: prints a table for docs/viewer.md.

    python benchmarks/viewer.py --work FOLDER [--closing] [--zip-mb 150]

A synthetic CT of 512 x 512 x 300 with eight structures (contours from probabilities, surfaces) is planted in a
workspace, `medmtl app` serves it, and headless Chromium without a GPU reads it. Times of drawing are those of the
page's own JavaScript between the start and the end of its animation frame.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from playwright.sync_api import Page, ViewportSize, sync_playwright

from medmtl.answers import Answers
from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.geometry.grid import Grid
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.findings_json import build_findings
from medmtl.pipeline.stored import rules_of
from medmtl.result import CaseResult
from medmtl.task import Kind, Label, Task
from medmtl.volume import Volume
from medmtl_app.display import describe, write_view
from medmtl_app.stored_study import write_rules
from medmtl_app.workspace import StudyState, Workspace

SHAPE = (512, 512, 300)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--enable-precise-memory-info",
]
SIZE = ViewportSize(width=1440, height=900)
PORT = 8623
MB = 1_000_000
FRAMES = 150
MODEL = Path(__file__).resolve().parents[1] / "sample_data" / "models" / "phantom-ct"
ROOT = """[...document.querySelectorAll("*")].map((one) => one.shadowRoot).find((one) => one?.querySelector(".app"))"""

# every animation frame's own time and when it came
WATCH = """
window.drawn = []; window.frames = [];
const raf = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (call) => raf((now) => {
  const begun = performance.now(); call(now); window.drawn.push(performance.now() - begun);
});
const tick = (now) => { window.frames.push(now); raf(tick); };
raf(tick);
"""
READY = f"""(title) => new Promise((done) => {{
  const root = {ROOT};
  const former = root.querySelector("[data-ready]").dataset.ready; // a study opens by itself
  const row = [...root.querySelectorAll(".row")].find((one) => one.textContent.includes(title));
  const begun = performance.now();
  row.click();
  const look = () => {{
    const now = root.querySelector("[data-ready]")?.dataset.ready;
    if (now && now !== former) done(performance.now() - begun);
    else setTimeout(look, 5);
  }};
  look();
}})"""
SCROLL = f"""(count) => new Promise((done) => {{
  const root = {ROOT};
  const panes = ["axial", "coronal", "sagittal"].map((name) => root.querySelector(`canvas[data-plane=${{name}}]`));
  window.drawn = []; window.frames = [];
  let n = 0;
  const step = () => {{
    const down = Math.floor(n / 50) % 2 ? 40 : -40;
    const wheel = () => new WheelEvent("wheel", {{ deltaY: down, bubbles: true, cancelable: true }});
    for (const pane of panes) pane.dispatchEvent(wheel());
    if (++n < count) setTimeout(step, 25);
    else setTimeout(() => done([window.drawn, window.frames]), 200);
  }};
  step();
}})"""

# how long the page's own listeners take for a movement of the pointer; capture comes before them, bubbling after
TIME_EVENTS = """() => {
  window.handled = [];
  let begun = 0;
  window.addEventListener("pointermove", () => { begun = performance.now(); }, true);
  window.addEventListener("pointermove", () => window.handled.push(performance.now() - begun));
}"""


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for the workspace; used again.")
@click.option("--zip-mb", default=150, show_default=True, help="Size of the zip that is uploaded.")
@click.option("--closing", is_flag=True, help="Also wait until the server has given memory back.")
def measure(work: Path, zip_mb: int, closing: bool) -> None:
    """Prints figures of the viewer."""
    plant(work)
    rows: list[tuple[str, str, str]] = []
    with serving(work) as process, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport=SIZE, locale="en-GB")
        page.set_default_timeout(300_000)
        page.add_init_script(WATCH)
        before = resident(process)
        page.goto(f"http://127.0.0.1:{PORT}")
        page.locator("[data-surface]").wait_for()
        rows += reading(page)
        rows.append(("server, more for the open study", f"{resident(process) - before:.0f} MB", "200 MB"))
        rows += uploading(page, process, work, zip_mb)
        if closing:
            page.close()
            time.sleep(180)
            rows.append(("server, more 180 s after closing", f"{resident(process) - before:.0f} MB", ""))
        browser.close()
    width = max(len(name) for name, _, _ in rows)
    for name, value, limit in rows:
        print(f"{name:{width}}  {value:>22}  {limit}")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


def reading(page: Page) -> list[tuple[str, str, str]]:
    """Figures of the open study."""
    ready = page.evaluate(READY, "large")
    page.locator("[data-surface]").wait_for()  # gone while it is opened
    drawn, frames = page.evaluate(SCROLL, FRAMES)
    gaps = np.diff(frames)
    again, _ = page.evaluate(SCROLL, FRAMES)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = {row["name"]: row["value"] for row in session.send("Performance.getMetrics")["metrics"]}
    rows = [
        ("page ready after the click", f"{ready / 1000:.1f} s", "3 s"),
        ("three planes, new slices", spread(drawn), "10 / 25 ms"),
        ("three planes, slices seen before", spread(again), "10 / 25 ms"),
        ("frame to frame, p95", f"{np.percentile(gaps, 95):.0f} ms", "50 ms"),
        ("window change, three planes", spread(window_changes(page)), "10 ms"),
        ("turn of the surfaces", spread(turns(page)), ""),
        *strokes(page),
        ("browser heap", f"{metrics['JSHeapUsedSize'] / MB:.0f} MB", "350 MB"),
    ]
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    return [*rows, ("browser heap with array buffers", f"{heap / MB:.0f} MB", "350 MB")]


def window_changes(page: Page) -> list[float]:
    """Times of drawing while the right button is dragged."""
    return dragged(page, "axial", "right")


def turns(page: Page) -> list[float]:
    """Times of drawing while the surfaces are turned."""
    return dragged(page, "surface", "left")


def strokes(page: Page) -> list[tuple[str, str, str]]:
    """Times of the brush, 10 mm wide: of each of the pointer's events, and of drawing the three planes after it."""
    page.keyboard.press("b")
    page.get_by_test_id("radius").fill("10")
    page.evaluate(TIME_EVENTS)
    drawn = dragged(page, "axial", "left")
    events: list[float] = page.evaluate("window.handled")
    page.get_by_test_id("unsaved").wait_for()
    page.keyboard.press("Control+z")
    page.keyboard.press("Escape")
    return [
        ("stroke of the brush, an event", spread(events, least=0.0), ""),
        ("stroke of the brush, three planes", spread(drawn), ""),
    ]


def dragged(page: Page, plane: str, button: Any) -> list[float]:
    """Times of drawing while a pane is dragged."""
    box = page.locator(f"canvas[data-plane={plane}]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down(button=button)
    page.evaluate("window.drawn = []")
    for n in range(60):
        page.mouse.move(box["x"] + box["width"] / 2 + n, box["y"] + box["height"] / 2 + n / 3)
    page.mouse.up(button=button)
    found: list[float] = page.evaluate("window.drawn")
    return found


def uploading(page: Page, process: subprocess.Popen[bytes], work: Path, size_mb: int) -> list[tuple[str, str, str]]:
    """A zip of random bytes goes in; the server's peak meanwhile."""
    source = work / "upload.zip"
    if not source.is_file() or abs(source.stat().st_size - size_mb * MB) > MB:
        with zipfile.ZipFile(source, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("noise.bin", np.random.default_rng(1).bytes(size_mb * MB))
    before, peak, ended = resident(process), [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], resident(process))

    thread = threading.Thread(target=watch)
    thread.start()
    begun = time.monotonic()
    with page.expect_response(lambda answer: answer.url.endswith("/finish")):
        page.get_by_test_id("file-input").set_input_files(source)
    took = time.monotonic() - begun
    ended.set()
    thread.join()
    name = f"upload of {size_mb} MB"
    return [(name, f"{took:.1f} s", ""), (f"{name}, server more at its peak", f"{peak[0] - before:.0f} MB", "50 MB")]


def spread(times: list[float], least: float = 0.3) -> str:
    """Median and 95th percentile of what took longer than `least` ms."""
    kept = np.array([time for time in times if time >= least])
    return f"{np.median(kept):.1f} / {np.percentile(kept, 95):.1f} ms"


def resident(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process in MB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) * 1024 / MB


@contextmanager
def serving(work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`medmtl app` on the workspace."""
    command = [sys.executable, "-m", "medmtl.cli.main", "app", "--no-browser", "--port", str(PORT)]
    process = subprocess.Popen([*command, "--workspace", str(work / "workspace")], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_stcore/health").close()
                break
            except OSError:
                time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def plant(work: Path) -> None:
    """The workspace with a large and a small study, unless it is there."""
    if (work / "planted.json").is_file():
        return
    shutil.rmtree(work, ignore_errors=True)
    kept = Workspace(work / "workspace")
    for title, shape in (("large", SHAPE), ("small", (64, 64, 20))):
        volume, result = phantom(shape)
        study = kept.add(kept.new_upload(), title=title)
        folder = kept.folder(study.id)
        write_case(result, folder / "result", frozenset({"nii", "json"}))
        write_rules(folder, rules_of(model(result.tasks), volume.grid), result.channels, ("CT",))
        write_view(folder / "view", volume, result)
        kept.change(study.id, {"state": StudyState.READY, "summary": describe(volume, result.findings)})
    kept.close()
    (work / "planted.json").write_text(json.dumps({"shape": SHAPE}))


def phantom(shape: tuple[int, int, int]) -> tuple[Volume, CaseResult]:
    """Noise with eight balls and their probabilities."""
    rng = np.random.default_rng(7)
    scale = np.diag([0.75 * 512 / shape[0], 0.75 * 512 / shape[1], 1.0 * 300 / shape[2], 1.0])
    grid = Grid(shape=shape, affine=scale)
    array = rng.normal(40, 60, shape).astype(np.int16)
    labels = tuple(Label(name=f"organ_{n + 1}", value=n + 1, titles={"en": f"Organ {n + 1}"}) for n in range(8))
    task = Task(name="organs", kind=Kind.SEGMENTATION, labels=labels)
    probabilities: Any = np.zeros((9, *shape), dtype=np.float16)  # half of what a model's take
    probabilities[0] = 1
    mask = np.zeros(shape, dtype=np.uint8)
    wide = shape[0] / shape[2]
    for n in range(8):
        at = np.array([0.3 + 0.4 * (n & 1), 0.3 + 0.4 * (n >> 1 & 1), 0.27 + 0.46 * (n >> 2)]) * shape
        radius = (0.1 + 0.008 * n) * shape[0]
        reach = (radius + 8) / np.array([1, 1, wide])
        low, high = np.maximum(at - reach, 0).astype(int), np.minimum(at + reach + 1, shape).astype(int)
        near = tuple(slice(start, end) for start, end in zip(low, high, strict=True))
        i, j, k = np.ogrid[near]
        distance = np.sqrt((i - at[0]) ** 2 + (j - at[1]) ** 2 + ((k - at[2]) * wide) ** 2).astype(np.float32)
        probabilities[(n + 1, *near)] = 1 / (1 + np.exp(np.clip((distance - radius) / 2, -30, 30)))
        probabilities[(0, *near)] -= probabilities[(n + 1, *near)]
        mask[near][distance < radius] = n + 1
        array[near][distance < radius] += 60
    volume = Volume(array=array, grid=grid, modality="CT", content_hash="00")
    answers = Answers(
        tasks=(task,), grid=grid, image=array, masks={"organs": mask}, foreground={}, case={},
        calibration=model((task,)).calibration, slice_axis=2, planned_stack=False, minimum_lesion_ml=0.0,
    )  # fmt: skip
    context = {"engine": {"name": "none", "device": "cpu"}, "asked": ("organs",), "warnings": [], "allowed": []}
    return volume, CaseResult(
        case="phantom", channels=(volume,), tasks=(task,), masks={"organs": mask},
        probabilities={"organs": probabilities},
        findings=build_findings("phantom", model((task,)), (volume,), answers, context),
    )  # fmt: skip


def model(tasks: tuple[Task, ...]) -> Bundle:
    """The phantoms' model as if it had these tasks."""
    return replace(read_bundle(MODEL), tasks=tasks)


if __name__ == "__main__":
    measure()
