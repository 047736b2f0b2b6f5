"""One timed prediction by one method, in a process of its own; prints a line of JSON. Called by `engine.py`.

Timed: from the volume in memory to label maps on its own voxels and the diagnosis. Loading the model and one window
before are not.
"""

import argparse
import json
import resource
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from medmtl.bundle.catalogue import find_bundle
from medmtl.inference import predictor
from medmtl.inference.engine import usable_cores
from medmtl.preparation.prepare import prepare
from medmtl.reading.nifti import read_nifti

STAGES: dict[str, float] = {}


@contextmanager
def stage(name: str):
    """Adds its time to a stage."""
    start = time.perf_counter()
    yield
    STAGES[name] = STAGES.get(name, 0.0) + time.perf_counter() - start


def ours(bundle, volume, precision: str, tasks: tuple[str, ...], *, box: bool):
    """Seconds, masks and logits of `medmtl predict`'s own way."""
    from medmtl.inference.label_maps import LabelMap
    from medmtl.pipeline.costs import window_seconds
    from medmtl.pipeline.model import load_model

    model = load_model(bundle, "cpu", engine="torch" if precision == "torch" else "openvino",
                       precision="float32" if precision == "torch" else precision)  # fmt: skip
    window_seconds(model.engine, bundle, tasks)
    if not box:
        predictor.body_box = lambda image, plan: tuple((0, n) for n in image.shape[1:])
    run, spent = model.engine.run, []

    def timed(*arguments):
        start = time.perf_counter()
        answer = run(*arguments)
        spent.append(time.perf_counter() - start)
        return answer

    model.engine.run = timed
    start, cpu = time.perf_counter(), time.process_time()
    with stage("prepare"):
        prepared = prepare((volume,), bundle.plan)
    wanted = [task for task in bundle.tasks if task.name in predictor.needed_tasks(tasks, bundle.tasks)]
    with stage("windows"):
        sweep = predictor.plan_sweep(prepared.image, bundle.plan)
        maps = {task.name: LabelMap(task, prepared, sweep) for task in wanted if task.is_voxel}
        case = predictor.run_windows(prepared, bundle.plan, model.engine, tuple(wanted), sweep, maps)
        for found in maps.values():
            found.finish()
    total, STAGES["cpu"] = time.perf_counter() - start, time.process_time() - cpu
    STAGES["network"] = sum(spent) / model.engine.workers
    STAGES["rest of windows"] = STAGES.pop("windows") - STAGES["network"]
    return total, {name: found.mask for name, found in maps.items()}, case


def monai(bundle, volume, tasks: tuple[str, ...], overlap: float, *, single: bool):
    """`sliding_window_inference` with eager torch, as its tutorials have it; trilinear interpolation and argmax."""
    import torch
    import torch.nn.functional as F
    from monai.inferers import sliding_window_inference

    from medmtl.bundle.weights import load_networks

    torch.set_num_threads(usable_cores())
    net = load_networks(bundle)[0].eval()
    patch = bundle.plan.patch
    weight = torch.ones(1, 1, *patch)
    sums = []

    def answer(asked):
        def call(x):
            start = time.perf_counter()
            out = net(x, weight, asked)
            if out.sums is not None:
                sums.append(out.sums)
            STAGES["network"] = STAGES.get("network", 0.0) + time.perf_counter() - start
            return tuple(out.dense.values()) if out.dense else out.coarse[next(iter(out.coarse))]

        return call

    with torch.inference_mode():
        net(torch.zeros(1, 1, *patch), weight, tasks)
        start, cpu = time.perf_counter(), time.process_time()
        with stage("prepare"):
            prepared = prepare((volume,), bundle.plan)
        image = torch.from_numpy(prepared.image)[None]
        dense = [task for task in bundle.tasks if task.is_voxel and task.name in tasks]
        masks, case = {}, {}
        for asked in [(name,) for name in tasks] if single else [tasks]:
            sums.clear()
            with stage("windows"):
                found = sliding_window_inference(image, patch, 1, answer(asked), overlap=overlap, mode="gaussian")
            maps = [task for task in dense if task.name in asked]
            for task, logits in zip(maps, found if isinstance(found, tuple) else (found,), strict=False):
                with stage("resample and argmax"):
                    p = torch.softmax(logits, 1) if str(task.kind) == "segmentation" else torch.sigmoid(logits)
                    turned = [volume.grid.shape[axis] for axis in prepared.turn.order]
                    full = F.interpolate(p, size=turned, mode="trilinear", align_corners=False)[0]
                    labels = full.argmax(0).to(torch.uint8).numpy()
                    masks[task.name] = np.ascontiguousarray(prepared.turn.undo(labels))
            if sums:
                ml = torch.tensor([prepared.grid.voxel_ml])
                case |= {n: v[0].numpy() for n, v in net.case_logits(sum(sums) / len(sums), ml, asked).items()}
        total, STAGES["cpu"] = time.perf_counter() - start, time.process_time() - cpu
    STAGES["rest of windows"] = STAGES.pop("windows") - STAGES["network"]
    return total, masks, case


def main() -> None:
    """Runs one method."""
    parser = argparse.ArgumentParser()
    for name in ("--model", "--input", "--method", "--masks"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    bundle = find_bundle(given.model)
    bundle = replace(bundle, weights=bundle.weights[:1], plan=replace(bundle.plan, mirror=()))
    volume = read_nifti(Path(given.input))
    everything = tuple(bundle.task_names)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    method, _, rest = given.method.partition(":")
    if method == "monai":
        mode, _, overlap = rest.partition(":")
        share = float(overlap) if overlap else bundle.plan.overlap
        total, masks, case = monai(bundle, volume, everything, share, single=mode == "single")
    else:
        precision, _, what = rest.partition(":")
        tasks = everything if what in ("", "whole") else tuple(what.split(","))
        total, masks, case = ours(bundle, volume, precision, tasks, box=what != "whole")
    np.savez_compressed(given.masks, **masks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = {"method": given.method, "seconds": total, "cpu_seconds": STAGES.pop("cpu"), "stages": STAGES}
    row |= {"peak_mb": peak / 1024, "before_mb": before / 1024}
    row["case"] = {name: [float(v) for v in values] for name, values in case.items()}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
