"""Trains the test-only model `phantom-ct` on analytic abdomens and puts its bundle into `sample_data/models/`.

    .venv/bin/python scripts/train_phantom_ct.py [--cases 30] [--max-steps N]

About ten minutes on a quiet CPU core; the same seed gives the same phantoms.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sample_data.phantoms import write_dataset  # noqa: E402


def main() -> None:
    """Makes the phantoms, trains one fold, copies the bundle."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--max-steps", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "data", Path(folder) / "run"
        write_dataset(data, "abdomen", cases=given.cases, seed=7)
        command = [str(Path(sys.executable).parent / "medmtl"), "train", str(data), "-o", str(run), "--folds", "0"]
        command += ["--config", str(ROOT / "training" / "configs" / "phantom-ct.yaml")]
        command += ["--max-steps", str(given.max_steps)] if given.max_steps else []
        subprocess.run(command, check=True)
        target = ROOT / "sample_data" / "models" / "phantom-ct"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(run / "bundle", target)
    print(f"{target}: {sum(path.stat().st_size for path in target.rglob('*') if path.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
