"""Ways of training tasks together, side by side on one fold: a table of Dice, AUROC, seconds a step and memory.

    python benchmarks/mtl_ways.py DATASET -o FOLDER --config plan.yaml --fold 0 --seeds 0,1,2 --minutes 20

Each way is trained in a process of its own for the same wall time with every seed; what is done already is not done
again, so an interrupted call goes on. Figures are means over the seeds, with the lowest and the highest; they rank
nothing that lies inside that spread.
"""

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

WAYS: dict[str, dict[str, Any]] = {
    "equal": {"weighting": "equal"},
    "kendall": {"weighting": "kendall"},
    "uw-so": {"weighting": "uw-so"},
    "dwa": {"weighting": "dwa"},
    "famo": {"weighting": "famo"},
    "upgrad": {"weighting": "equal", "gradients": "upgrad"},
    "cross-task-attention": {"weighting": "kendall", "sharing": "cross-task-attention"},
}


def train_one(options: argparse.Namespace) -> None:
    """Trains and scores one way with one seed, in this process; leaves `result.json`."""
    import torch

    from medmtl_training.cases import read_dataset
    from medmtl_training.comparing.variants import trained_config
    from medmtl_training.config import read_config
    from medmtl_training.evaluation.predictions import open_predictions
    from medmtl_training.evaluation.score import ScoreSettings, score
    from medmtl_training.heldout import answer_unseen
    from medmtl_training.loop import Hardware
    from medmtl_training.publish import write_bundle
    from medmtl_training.run import RunRequest, train_run

    data, _ = read_dataset(options.dataset)
    prepared = options.output / "prepared"
    config = read_config(options.config)
    way = dict(WAYS.get(options.way, {}))
    plan = replace(config.plan, sharing=way.pop("sharing", config.plan.sharing))
    settings = replace(config.settings, **way, seed=options.seed, measure_every=0)
    model = {key: value for key, value in config.model.items() if key != "ships"}
    config = replace(config, plan=plan, settings=settings, model=model)
    only = options.way.removeprefix("only ") if options.way.startswith("only ") else ""
    folder = folder_of(options.output, options.way, options.seed)
    request = RunRequest(
        folder=folder, dataset=replace(data, prepared=prepared), config=config, folds=(options.fold,),
        hardware=Hardware(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
                          loaders=8 if torch.cuda.is_available() else 0),
        max_seconds=60.0 * options.minutes, resume=(folder / "run.json").exists(), only=(only,) if only else (),
    )  # fmt: skip
    networks = train_run(request)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    peak = peak or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tasks = tuple(replace(t, inside=None, derived=()) for t in data.tasks if t.name == only) if only else data.tasks
    data = replace(data, tasks=tasks)
    held_out = tuple(case for case in data.cases if case.fold == options.fold)
    device = request.hardware.device.type
    bundle = write_bundle(folder / "bundle", data, trained_config(request), networks, device)
    answers = answer_unseen(bundle, replace(data, cases=held_out), folder / "predictions")
    metrics = score(open_predictions(answers, data), data, held_out, ScoreSettings(by=()))
    with (folder / f"fold_{options.fold}" / "curves.csv").open(encoding="utf-8") as file:
        paces = [float(row["seconds_per_step"]) for row in csv.DictReader(file)]
    steps = trained_config(request).settings.steps
    figures = {"steps": steps, "seconds_per_step": statistics.median(paces), "peak_bytes": peak, **figures_of(metrics)}
    (folder / "result.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


def figures_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Mean Dice of each label and AUROC of each class task."""
    found: dict[str, float] = {}
    for task, summary in metrics["tasks"].items():
        for label, cell in summary.get("labels", {}).items():
            if label != "union" and cell.get("dice", {}).get("mean") is not None:
                found[f"{task}.{label} Dice"] = cell["dice"]["mean"]
        if (summary.get("auroc") or {}).get("value") is not None:
            found[f"{task} AUROC"] = summary["auroc"]["value"]
    return found


def folder_of(output: Path, way: str, seed: int) -> Path:
    """Folder of one training."""
    return output / f"{way.replace(' ', '_')}_{seed}"


def table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Markdown: a row a way, each figure as mean and spread over the seeds."""
    names = list(dict.fromkeys(name for runs in results.values() for run in runs for name in run))
    shown = [name for name in names if name not in ("steps", "seconds_per_step", "peak_bytes")]
    header = ["way", "seeds", *shown, "steps", "seconds a step", "memory, GiB"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for way, runs in results.items():
        cells = [way, str(len(runs)), *(spread(runs, name, 3) for name in shown)]
        cells += [spread(runs, "steps", 0), spread(runs, "seconds_per_step", 2)]
        cells.append(spread([{"m": run["peak_bytes"] / 2**30} for run in runs], "m", 1))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def spread(runs: Sequence[Mapping[str, float]], name: str, digits: int) -> str:
    """Mean, and lowest and highest."""
    values = [run[name] for run in runs if name in run]
    if not values:
        return ""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{statistics.fmean(values):.{digits}f} ({low} to {high})"


def main() -> int:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--ways", default="", help="comma-separated; default all, and a twin of each task")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        train_one(options)
        return 0
    from medmtl_training.cases import PREPARED, read_dataset
    from medmtl_training.config import read_config
    from medmtl_training.preparing import prepare_case

    data, _ = read_dataset(options.dataset)
    plan = read_config(options.config).plan
    for case in data.cases:  # once, for all ways
        prepare_case(case, data, plan, options.output / PREPARED)
    ways = [name for name in options.ways.split(",") if name]
    ways = ways or [*WAYS, *(f"only {task.name}" for task in data.tasks if not task.auxiliary)]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    started = time.monotonic()
    for seed in seeds:
        for way in ways:
            if (folder_of(options.output, way, seed) / "result.json").exists():
                continue
            print(f"{(time.monotonic() - started) / 60:.0f} min: {way}, seed {seed}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way, "--seed", str(seed)], check=True)
    results = {
        way: [
            json.loads(path.read_text(encoding="utf-8"))
            for seed in seeds
            if (path := folder_of(options.output, way, seed) / "result.json").exists()
        ]
        for way in ways
    }
    print("\n".join(table({way: runs for way, runs in results.items() if runs})))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
