"""`medmtl bench`: how fast this machine answers a study, and where the time goes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl.bundle.bundle import Bundle
    from medmtl.volume import Volume

_KINDS = {"openvino float32": ("openvino", "float32"), "openvino bfloat16": ("openvino", "bfloat16"),
          "torch float32": ("torch", "float32")}  # fmt: skip


@click.command()
@click.option("-m", "--model", metavar="MODEL", default="cardiac-lge", show_default=True)
@click.option("-i", "--input", "source", metavar="IN", required=True, type=click.Path(exists=True, path_type=Path),
              help="One study.")  # fmt: skip
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Medians are of so many.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for machines.")
@click.pass_context
def bench(context: click.Context, model: str, source: Path, rounds: int, as_json: bool) -> None:
    """Time MODEL on one study with each engine that is here, in turn, and compare their answers.

    Guards are passed: the study need not be one that the model may answer for.
    """
    import json

    from medmtl.bundle.catalogue import find_bundle
    from medmtl.errors import MedmtlError
    from medmtl.reading.any_volume import discover, read_case

    try:
        bundle = find_bundle(model)
        volumes = read_case(discover(source, channels=len(bundle.channels))[0])
        rows = measure(bundle, volumes, rounds)
    except MedmtlError as error:
        click.echo(error.line("bench"), err=True)
        context.exit(2)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{bundle.name} on {' x '.join(map(str, volumes[0].grid.shape))} voxels, medians of {rounds}")
    for name, row in rows.items():
        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in row["stages"].items())
        click.echo(f"{name:18} {row['seconds']:7.2f} s   {stages};  same voxels {100 * row['same']:.3f} %")


def measure(bundle: "Bundle", volumes: "tuple[Volume, ...]", rounds: int) -> dict[str, dict[str, Any]]:
    """Engine to seconds, seconds of each stage, and the share of labelled voxels that agree with the first engine."""
    from statistics import median

    import numpy as np

    from medmtl.pipeline.costs import window_seconds
    from medmtl.pipeline.model import load_model

    models: dict[str, Any] = {}
    runs: dict[str, list[dict[str, float]]] = {}
    masks: dict[str, dict[str, Any]] = {}
    for name, (engine, precision) in _KINDS.items():
        try:
            found = load_model(bundle, "cpu", engine=engine, precision=precision)
        except (ImportError, ValueError, RuntimeError):  # not installed, or a network that it does not know
            continue
        if found.engine.describe()["precision"] == precision:
            models[name], runs[name] = found, []
            window_seconds(found.engine, bundle, bundle.task_names)
    for _ in range(rounds):
        for name, found in models.items():
            stages, masks[name] = _once(bundle, volumes, found)
            runs[name].append(stages)
    first = next(iter(models))
    rows = {}
    for name, timed in runs.items():
        stages = {stage: median(run[stage] for run in timed) for stage in timed[0]}
        pairs = [(masks[name][task], mask) for task, mask in masks[first].items()]
        held = [((one > 0) | (two > 0), one == two) for one, two in pairs]
        same = [float(equal[where].mean()) for where, equal in held if where.any()]
        rows[name] = {
            "seconds": median(sum(run.values()) for run in timed),
            "stages": stages,
            "same": float(np.mean(same)) if same else 1.0,
        }
    return rows


def _once(bundle: "Bundle", volumes: "tuple[Volume, ...]", model: Any) -> tuple[dict[str, float], dict[str, Any]]:
    import time

    from medmtl.inference.label_maps import LabelMap
    from medmtl.inference.predictor import plan_sweep, run_windows
    from medmtl.preparation.prepare import prepare

    spent: list[float] = []

    class Timed:
        networks, workers = model.engine.networks, model.engine.workers
        case = model.engine.case

        def run(self, *arguments: Any) -> Any:
            start = time.perf_counter()
            answer = model.engine.run(*arguments)
            spent.append(time.perf_counter() - start)
            return answer

        def describe(self) -> dict[str, Any]:
            return dict(model.engine.describe())

    start = time.perf_counter()
    prepared = prepare(volumes, bundle.plan)
    ready = time.perf_counter()
    sweep = plan_sweep(prepared.image, bundle.plan)
    maps = {task.name: LabelMap(task, prepared, sweep) for task in bundle.tasks if task.is_voxel}
    run_windows(prepared, bundle.plan, Timed(), bundle.tasks, sweep, maps)
    for found in maps.values():
        found.finish()
    network = sum(spent) / model.engine.workers
    total = time.perf_counter() - ready
    stages = {"preparing": ready - start, "network": network, "blending and label maps": max(0.0, total - network)}
    return stages, {name: found.mask for name, found in maps.items()}
