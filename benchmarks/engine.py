"""Ours against MONAI's sliding window and nnU-Net's predictor on the same weights, one run, methods in turn; a table.

    .venv/bin/python benchmarks/engine.py --model sample_data/models/phantom-ct --rounds 5 --nnunet ENV/bin/python

Each prediction is a process of its own (`engine_run.py`). Without `--input` the volume is a body-filled phantom of
256 x 256 x 128 voxels with its truth. One network, no mirrored passes, in every method. Ratios are of medians of this
run. `--nnunet` is the interpreter of an environment that holds nnunetv2 beside this package; without it there is no row
of it. `--only TEXT` runs the methods whose name holds TEXT, and MONAI with eager torch.
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

import engine_volumes
import numpy as np

from medmtl.cli.main import ALLOCATOR

ROOT = Path(__file__).resolve().parent.parent
METHODS = {
    "MONAI, eager torch": ("monai:multi", {}),
    "MONAI, eager torch, tuned malloc": ("monai:multi", ALLOCATOR),
    "MONAI, overlap 0.5": ("monai:multi:0.5", {}),
    "MONAI, three single-task networks": ("monai:single", {}),
    "nnU-Net's predictor": ("nnunet:", {}),
    "ours, torch, same windows": ("ours:torch:whole", ALLOCATOR),
    "ours, float32, same windows": ("ours:float32:whole", {}),
    "ours, bfloat16, same windows": ("ours:bfloat16:whole", {}),
    "ours, float32": ("ours:float32", {}),
    "ours, bfloat16": ("ours:bfloat16", {}),
    "ours, float32, organs alone": ("ours:float32:organs", {}),
    "ours, float32, lesions alone": ("ours:float32:lesions", {}),
    "ours, float32, diagnosis alone": ("ours:float32:diagnosis", {}),
}
BASE = "MONAI, eager torch"
# what is divided by what, and the least quotient (the most, where it is negative)
BARS = [
    ("float32, same windows, times faster than MONAI eager", BASE, "ours, float32, same windows", 2.8),
    ("... than MONAI eager with tuned malloc", "MONAI, eager torch, tuned malloc", "ours, float32, same windows", 1.5),
    ("... than nnU-Net's predictor", "nnU-Net's predictor", "ours, float32, same windows", 2.9),
    ("bfloat16, same windows, times faster than MONAI eager", BASE, "ours, bfloat16, same windows", 5.0),
    ("float32 as shipped, times faster than MONAI eager", BASE, "ours, float32", 4.0),
    ("bfloat16 as shipped, times faster than MONAI eager", BASE, "ours, bfloat16", 7.0),
    ("float32 as shipped, times faster than three networks", "MONAI, three single-task networks", "ours, float32", 9.0),
    ("all tasks against the dearest alone", "ours, float32", "ours, float32, lesions alone", -1.3),
    ("diagnosis against all tasks", "ours, float32, diagnosis alone", "ours, float32", -0.5),
]
START, END = "<!-- engine {} -->", "<!-- /engine {} -->"


def phantom_volume(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A phantom on disk and its truth by task."""
    array, grid, truth = engine_volumes.filled_abdomen((256, 256, 128))
    return engine_volumes.write(folder / "phantom.nii.gz", array, grid), truth


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
        net(torch.zeros(1, len(bundle.channels), *patch), torch.ones(1, 1, *patch), bundle.task_names)
    return counter.get_total_flops() / 1e9


def run(given: argparse.Namespace, path: Path, methods: dict[str, tuple], folder: Path) -> dict[str, list[dict]]:
    """Every method in turn, round by round."""
    rows: dict[str, list[dict]] = {name: [] for name in methods}
    for number in range(given.rounds):
        for name, (method, extra) in methods.items():
            python = given.nnunet if method.startswith("nnunet") else sys.executable
            command = [python, str(ROOT / "benchmarks" / "engine_run.py"), "--model", given.model]
            command += ["--input", str(path), "--method", method, "--masks", str(folder / f"{name}.npz")]
            env = {**os.environ, **extra, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
            if done.returncode:
                print(f"round {number + 1}: {name}: {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            rows[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number + 1}: {name}: {rows[name][-1]['seconds']:.2f} s", flush=True)
    return {name: found for name, found in rows.items() if found}


def table(
    rows: dict[str, list[dict]], folder: Path, truth: dict[str, np.ndarray], speeds: tuple[float, float]
) -> list[str]:
    """A row per method; `speeds` are GFLOP of a window with all tasks, and GFLOP/s of matrix products."""
    masks = {name: dict(np.load(folder / f"{name}.npz")) for name in rows}
    base = statistics.median(row["seconds"] for row in rows[BASE])
    lines = ["| method | s | CPU s | times faster | stages, s | of it network | of GEMM's speed | peak MB | Dice to "
             "MONAI's masks | Dice to truth |", "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, found in rows.items():
        time_s = statistics.median(row["seconds"] for row in found)
        stages = {key: statistics.median(row["stages"][key] for row in found) for key in found[0]["stages"]}
        same = [dice(mask, masks[BASE][task]) for task, mask in masks[name].items()]
        right = [dice(mask, truth[task]) for task, mask in masks[name].items() if task in truth]
        cpu = statistics.median(row["cpu_seconds"] for row in found)
        peak = found[0]["passes"] * speeds[0] / stages["network"] / speeds[1]
        of_peak = f"{100 * peak:.0f} %" if "alone" not in name and "three" not in name else "–"
        told = ", ".join(f"{key} {value:.2f}" for key, value in stages.items())
        cells = [name, f"{time_s:.2f}", f"{cpu:.2f}", f"{base / time_s:.2f}", told,
                 f"{100 * stages['network'] / time_s:.0f} %", of_peak, f"{max(row['peak_mb'] for row in found):.0f}",
                 f"{np.mean(same):.4f}" if same else "–", f"{np.mean(right):.4f}" if right else "–"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def bars(rows: dict[str, list[dict]]) -> list[str]:
    """What is asked of the engine, and what this run found."""
    times = {name: statistics.median(row["seconds"] for row in found) for name, found in rows.items()}
    lines = ["", "| what | asked | found |", "|---|---|---|"]
    for what, over, under, bar in BARS:
        if over in times and under in times:
            asked = f"at least {bar} x" if bar > 0 else f"at most {-bar} x"
            lines.append(f"| {what} | {asked} | {times[over] / times[under]:.2f} x |")
    if "ours, float32" in rows:
        shares = [1.0 - row["stages"]["network"] / row["seconds"] for row in rows["ours, float32"]]
        lines.append(
            f"| float32 as shipped, outside the network | at most 30 % | {100 * statistics.median(shares):.0f} % |"
        )
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
    parser.add_argument("--nnunet", metavar="PYTHON", help="of an environment with nnunetv2")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.md")
    given = parser.parse_args()
    methods = {name: row for name, row in METHODS.items() if name == BASE or given.only in name}
    if not given.nnunet:
        methods.pop("nnU-Net's predictor", None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path, truth = given.input, {}
        if path is None:
            path, truth = phantom_volume(folder)
        elif given.truth is not None:
            from medmtl.reading.nifti import read_label_map

            drawn = [task for task in given.truth.iterdir() if (task / path.name).is_file()]
            truth = {task.name: read_label_map(task / path.name)[0] for task in drawn}
        load = os.getloadavg()[0]
        flop, peak = window_gflop(given.model), gemm_gflops()
        rows = run(given, path, methods, folder)
        about = [
            f"{machine()}. {date.today().isoformat()}, medians of {given.rounds} rounds in turn, one network, no",
            f"mirrored passes; load before {load:.1f}. A window takes {flop:.1f} GFLOP; float32 matrix products",
            f"of 2048 reach {peak:.0f} GFLOP/s. `benchmarks/engine.py --model {given.model} --rounds {given.rounds}`",
        ]
        title = f"## Prediction: {Path(given.model).name} on {path.name}"
        lines = [title, "", *about, "", *table(rows, folder, truth, (flop, peak)), *bars(rows)]
        write(given.out, f"{Path(given.model).name} {given.only}".strip(), lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
