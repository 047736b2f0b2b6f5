"""Ours against MONAI's sliding window on the same weights, one run, methods in turn, medians; writes a table.

    .venv/bin/python benchmarks/engine.py --model sample_data/models/phantom-ct --rounds 5

Each prediction is a process of its own (`engine_run.py`). Without `--input` the volume is a phantom of 256 x 256 x 128
voxels with its truth. One network, no mirrored passes, in every method. Ratios are of medians of this run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

from medmtl.cli.main import ALLOCATOR

ROOT = Path(__file__).resolve().parent.parent
METHODS = {
    "MONAI, eager torch": ("monai:multi", {}),
    "MONAI, eager torch, tuned malloc": ("monai:multi", ALLOCATOR),
    "MONAI, overlap 0.5": ("monai:multi:0.5", {}),
    "MONAI, three single-task networks": ("monai:single", {}),
    "ours, torch, same windows": ("ours:torch:whole", ALLOCATOR),
    "ours, float32, same windows": ("ours:float32:whole", {}),
    "ours, float32": ("ours:float32", {}),
    "ours, bfloat16": ("ours:bfloat16", {}),
    "ours, float32, organs alone": ("ours:float32:organs", {}),
    "ours, float32, diagnosis alone": ("ours:float32:diagnosis", {}),
}
BASE = "MONAI, eager torch"
START, END = "<!-- engine {} -->", "<!-- /engine {} -->"


def phantom_volume(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A phantom on disk and its truth by task."""
    from sample_data.phantoms import phantom, write_nifti

    made = phantom("abdomen", seed=77, lesion=True, shape=(256, 256, 128), spacing=(1.5, 1.5, 2.5))
    volume = made.volume()
    path = folder / "phantom.nii.gz"
    write_nifti(path, volume.array, volume.grid)
    return path, dict(made.maps)


def dice(one: np.ndarray, two: np.ndarray) -> float:
    """Mean over the labels of either."""
    labels = set(np.unique(one)) | set(np.unique(two))
    rows = [2.0 * np.sum((one == n) & (two == n)) / (np.sum(one == n) + np.sum(two == n)) for n in labels - {0}]
    return float(np.mean(rows)) if rows else 1.0


def machine() -> str:
    """What ran it."""
    model = "unknown CPU"
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        model = f"{found.get('model name')} (family {found.get('cpu family')}, model {found.get('model')})"
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def gemm_gflops() -> float:
    """Float32 matrix products of 2048, all threads."""
    import time

    import torch

    a = torch.rand(2048, 2048)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(times[1:]) / 1e9


def window_gflop(model: str) -> float:
    """2 x multiply-adds of one window with all tasks."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from medmtl.bundle.catalogue import find_bundle
    from medmtl.bundle.weights import load_networks

    bundle = find_bundle(model)
    net, patch = load_networks(bundle)[0].eval(), bundle.plan.patch
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, *patch), torch.ones(1, 1, *patch), bundle.task_names)
    return counter.get_total_flops() / 1e9


def run(model: str, path: Path, rounds: int, folder: Path) -> dict[str, list[dict]]:
    """Every method in turn, round by round."""
    rows: dict[str, list[dict]] = {name: [] for name in METHODS}
    for number in range(rounds):
        for name, (method, extra) in METHODS.items():
            masks = folder / f"{list(METHODS).index(name)}.npz"
            program = [sys.executable, str(ROOT / "benchmarks" / "engine_run.py")]
            command = [*program, "--model", model, "--input", str(path), "--method", method, "--masks", str(masks)]
            env = {**os.environ, **extra, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=ROOT)
            rows[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number + 1}: {name}: {rows[name][-1]['seconds']:.2f} s", flush=True)
    return rows


def table(rows: dict[str, list[dict]], folder: Path, truth: dict[str, np.ndarray]) -> list[str]:
    """A row per method."""
    masks = {name: dict(np.load(folder / f"{n}.npz")) for n, name in enumerate(METHODS)}
    base = statistics.median(row["seconds"] for row in rows[BASE])
    lines = ["| method | s | CPU s | times faster | of it network | peak MB | Dice to MONAI's masks | Dice to truth |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, found in rows.items():
        time_s = statistics.median(row["seconds"] for row in found)
        network = statistics.median(row["stages"]["network"] / row["seconds"] for row in found)
        same = [dice(mask, masks[BASE][task]) for task, mask in masks[name].items()]
        right = [dice(mask, truth[task]) for task, mask in masks[name].items() if task in truth]
        cpu = statistics.median(row["cpu_seconds"] for row in found)
        cells = [name, f"{time_s:.2f}", f"{cpu:.2f}", f"{base / time_s:.2f}", f"{100 * network:.0f} %",
                 f"{max(row['peak_mb'] for row in found):.0f}",
                 f"{np.mean(same):.4f}" if same else "–", f"{np.mean(right):.4f}" if right else "–"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(out: Path, name: str, lines: list[str]) -> None:
    """Replaces the part of `out` that is about this model."""
    start, end = START.format(name), END.format(name)
    text = out.read_text(encoding="utf-8") if out.is_file() else "# Benchmarks\n"
    part = "\n".join([start, *lines, end])
    if start in text:
        text = text[: text.index(start)] + part + text[text.index(end) + len(end) :]
    else:
        text = f"{text.rstrip()}\n\n{part}\n"
    out.write_text(text, encoding="utf-8")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sample_data/models/phantom-ct")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--truth", type=Path, help="a folder TASK/NAME of label maps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path, truth = given.input, {}
        if path is None:
            path, truth = phantom_volume(folder)
        elif given.truth is not None:
            from medmtl.reading.nifti import read_label_map

            drawn = [task for task in given.truth.iterdir() if (task / path.name).is_file()]
            truth = {task.name: read_label_map(task / path.name)[0] for task in drawn}
        rows = run(given.model, path, given.rounds, folder)
        load = os.getloadavg()[1]
        flop, peak = window_gflop(given.model), gemm_gflops()
        about = [
            f"{machine()}. {date.today().isoformat()}, medians of {given.rounds} rounds in turn, one network, no",
            f"mirrored passes; load meanwhile {load:.1f}. A window takes {flop:.1f} GFLOP; float32 matrix products",
            f"of 2048 reach {peak:.0f} GFLOP/s. `benchmarks/engine.py --model {given.model} --rounds {given.rounds}`",
        ]
        title = f"## Prediction: {Path(given.model).name} on {path.name}"
        lines = [title, "", *about, "", *table(rows, folder, truth)]
        write(given.out, Path(given.model).name, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
