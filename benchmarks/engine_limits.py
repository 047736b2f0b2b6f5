"""Bars of the engine that need no peer: a warm study, memory, time per voxel, the dry run, tasks; each in its own part.

    .venv/bin/python benchmarks/engine_limits.py study memory voxels dry-run tasks --rounds 5

Whole jobs, from files to all files written. Writes a table into benchmarks/results.md.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import engine_volumes
from engine import ROOT, machine, write

from medmtl.cli.main import ALLOCATOR

CT, PASSED = "sample_data/models/phantom-ct", "modality-mismatch,field-of-view"
_PEAK = """
import resource, sys
from medmtl.cli.main import medmtl
try:
    medmtl(sys.argv[1:])
finally:
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


def predict(*arguments: object) -> tuple[float, int, str]:
    """Seconds, peak MB and output of `medmtl predict` in a process of its own."""
    start = time.perf_counter()
    command = [sys.executable, "-c", _PEAK, "predict", *map(str, arguments)]
    env = {**os.environ, **ALLOCATOR}  # as the console command sets it
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    found = re.search(r"PEAK (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start, int(found[1]), done.stdout


def warm(source: Path, model: str, rounds: int, **options: object) -> float:
    """Median seconds of whole jobs in a process that has run one before."""
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.outputs.write_case import DEFAULT_FORMATS
    from medmtl.pipeline.batch import BatchOptions, Models, run_case
    from medmtl.reading.any_volume import discover

    models, times = Models(find_bundle(model), "cpu"), []
    wanted = BatchOptions(
        **{"formats": DEFAULT_FORMATS, "overwrite": True, "allowed": tuple(PASSED.split(",")), **options}
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds + 1):
            start = time.perf_counter()
            outcome = run_case(discover(source)[0], models, wanted, Path(folder), (None, None))
            times.append(time.perf_counter() - start)
            if outcome.error is not None:
                raise SystemExit(str(outcome.error))
    return statistics.median(times[1:])


def study(folder: Path, rounds: int) -> list[str]:
    """One cardiac DICOM study, all files with SEG and SR."""
    time_s = warm(ROOT / "sample_data" / "cardiac_lge" / "dicom", "cardiac-lge", rounds)
    return [f"| one cardiac study, warm process to all files with SEG and SR | at most 3 s | {time_s:.2f} s |"]


def memory(folder: Path, rounds: int) -> list[str]:
    """Peak of long CTs, NIfTI in, label maps out."""
    lines = []
    for slices, asked, more in ((600, "at most 3 GB", ()), (1000, "at most 4 GB", ("--max-memory", "4G"))):
        path = engine_volumes.write(folder / f"ct{slices}.nii.gz", *engine_volumes.long_ct(slices))
        out = folder / f"out{slices}"
        time_s, peak, _ = predict(
            "-i", path, "-o", out, "-m", CT, "--formats", "nii", "--allow", PASSED, "--quiet", *more
        )
        lines.append(f"| peak memory, 512 x 512 x {slices}, {time_s:.0f} s | {asked} | {peak / 1000:.2f} GB |")
        path.unlink()
    return lines


def voxels(folder: Path, rounds: int) -> list[str]:
    """Nanoseconds a voxel of cubes of 3 mm, `engine_run.py`'s way: from the volume in memory to label maps."""
    found = {}
    for edge in (128, 256, 512):
        path = engine_volumes.write(folder / f"cube{edge}.nii.gz", *engine_volumes.tiled(edge))
        times = []
        for _ in range(rounds if edge < 512 else min(rounds, 2)):
            program = [sys.executable, str(ROOT / "benchmarks" / "engine_run.py"), "--model", CT, "--input", str(path)]
            command = [*program, "--method", "ours:float32", "--masks", str(folder / "masks.npz")]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            times.append(json.loads(done.stdout.splitlines()[-1])["seconds"])
        found[edge] = statistics.median(times) / edge**3 * 1e9
    told = ", ".join(f"{edge}: {value:.1f} ns" for edge, value in found.items())
    return [
        f"| time per voxel from 128³ to 512³ ({told}) | within 20 % | {100 * (found[512] / found[128] - 1):+.0f} % |"
    ]


def dry_run(folder: Path, rounds: int) -> list[str]:
    """What the dry run says against what the run takes, start of the program included in neither."""
    lines = []
    path = engine_volumes.write(folder / "ct.nii.gz", *engine_volumes.filled_abdomen((256, 256, 128))[:2])
    for name, source, model in (("CT", path, CT), ("heart", ROOT / "sample_data/cardiac_lge/dicom", "cardiac-lge")):
        said = predict("-i", source, "-o", folder / "none", "-m", model, "--allow", PASSED, "--dry-run")[2]
        told_s = float(re.search(r"time +about (\d+) s", said)[1])
        told_gb = float(re.search(r"memory +about ([\d.]+) GiB", said)[1]) * 1.073741824
        time_s = warm(source, model, rounds)
        peak = predict("-i", source, "-o", folder / name, "-m", model, "--allow", PASSED, "--quiet")[1] / 1000
        lines.append(f"| dry run of a {name}: time | within a third | {told_s:.0f} s, takes {time_s:.1f} s |")
        lines.append(f"| dry run of a {name}: memory | within a third | {told_gb:.2f} GB, takes {peak:.2f} GB |")
    return lines


def tasks(folder: Path, rounds: int) -> list[str]:
    """Whole jobs of some tasks."""
    path = engine_volumes.write(folder / "ct.nii.gz", *engine_volumes.filled_abdomen((256, 256, 128))[:2])
    times = {name: warm(path, CT, rounds, tasks=name) for name in (None, ("lesions",), ("organs",), ("diagnosis",))}
    dearest = max(times[("lesions",)], times[("organs",)])
    return [
        f"| whole job, three tasks against the dearest alone | at most 1.3 x | {times[None] / dearest:.2f} x |",
        f"| whole job, diagnosis against all tasks | at most 0.5 x | {times[('diagnosis',)] / times[None]:.2f} x |",
    ]


PARTS: dict[str, Callable[[Path, int], list[str]]] = {
    "study": study, "memory": memory, "voxels": voxels, "dry-run": dry_run, "tasks": tasks,
}  # fmt: skip


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.md")
    given = parser.parse_args()
    for name in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            rows = PARTS[name](Path(folder), given.rounds)
        call = f"`benchmarks/engine_limits.py {name} --rounds {given.rounds}`"
        about = f"{machine()}. {date.today().isoformat()}, medians of {given.rounds}. {call}"
        write(
            given.out, name, [f"## Limits: {name}", "", about, "", "| what | asked | found |", "|---|---|---|", *rows]
        )
        print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
