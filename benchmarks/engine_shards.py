"""Many small cases in shards whose processes are killed at random moments: each case once, none lost, memory steady.

    .venv/bin/python benchmarks/engine_shards.py --cases 2000 --shards 4 --kills 10

Heart phantoms of 32 x 32 x 6 voxels and the smallest network that the code takes, untrained.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_TWINS = 12  # different volumes; the others are copies of them


def make_cases(folder: Path, count: int) -> None:
    """Phantoms under the names of as many cases."""
    from sample_data.phantoms import write_nifti
    from tests.tiny import heart_volume

    folder.mkdir()
    for index in range(min(count, _TWINS)):
        volume = heart_volume(index)
        write_nifti(folder / f"case_{index:05d}.nii.gz", volume.array, volume.grid)
    for index in range(_TWINS, count):
        data = (folder / f"case_{index % _TWINS:05d}.nii.gz").read_bytes()
        (folder / f"case_{index:05d}.nii.gz").write_bytes(data)


def start(folder: Path, shard: str) -> subprocess.Popen[bytes]:
    """`medmtl predict` of a shard, without restarts of its own."""
    command = [sys.executable, "-c", "from medmtl.cli.main import medmtl; medmtl()", "predict", "-i", folder / "in"]
    command += ["-o", folder / "out", "-m", folder / "model", "--shard", shard, "--formats", "nii", "--quiet"]
    command += ["--allow", "field-of-view"]
    return subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process, 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * 4096 / 1e6


def main() -> None:
    """Runs it and says what it found; ends with 1 where a case is missing or there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.tiny import write_bundle

    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_cases(folder / "in", given.cases)
        write_bundle(folder / "model")
        names = [f"{n + 1}/{given.shards}" for n in range(given.shards)]
        running = {shard: start(folder, shard) for shard in names}
        manifest = folder / "out" / "manifest.jsonl"
        # a process is killed each time that so many more cases are finished
        due = sorted(rng.sample(range(1, given.cases), given.kills))
        killed, memory = 0, {shard: [] for shard in names}
        while running:
            time.sleep(0.2)
            done = manifest.read_bytes().count(b"\n") if manifest.is_file() else 0
            for shard, process in list(running.items()):
                memory[shard].append((done, resident_mb(process)))
                if process.poll() is not None and process.returncode == 0:
                    del running[shard]
                elif process.poll() is not None:
                    running[shard], memory[shard] = start(folder, shard), []
            if killed < given.kills and due and done >= due[0] and running:
                due.pop(0)
                running[rng.choice(list(running))].kill()
                killed += 1
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        finished = Counter(row["case"] for row in rows if row["state"] in ("ok", "warned"))
        folders = {path.name for path in (folder / "out").iterdir() if path.is_dir() and not path.name.startswith(".")}
        partial = [path.name for path in (folder / "out").iterdir() if path.name.endswith((".partial", ".former"))]
    missing, twice = given.cases - len(finished), sum(count > 1 for count in finished.values())
    print(
        f"{given.cases} cases, {given.shards} shards, {killed} kills: {len(finished)} finished, {len(folders)} folders"
    )
    print(f"missing {missing}, twice in the manifest {twice}, unfinished folders left {len(partial)}")
    tell_memory(memory)
    sys.exit(1 if missing or len(folders) != given.cases else 0)


def tell_memory(memory: dict[str, list[tuple[int, float]]]) -> None:
    """Prints how the memory of each shard's last process went, from (finished cases, MB)."""
    for shard, samples in memory.items():
        kept = [(n, mb) for n, mb in samples if mb > 0][len(samples) // 4 :]  # after it has warmed up
        if len(kept) > 10:
            n, mb = np.asarray(kept).T
            slope = np.polyfit(n - n[0], mb, 1)[0] * (n[-1] - n[0]) / mb.mean()
            print(f"shard {shard}: {mb.mean():.0f} MB, changes by {100 * slope:+.1f} % to its end")


if __name__ == "__main__":
    main()
