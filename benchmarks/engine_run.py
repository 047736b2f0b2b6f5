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
from types import SimpleNamespace

import numpy as np

from medmtl.bundle.catalogue import find_bundle
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


def ours(bundle, volume, precision: str, tasks: tuple[str, ...], *, whole: bool):
    """Seconds, masks and logits of `medmtl predict`'s own way; `whole` has a window wherever MONAI has one."""
    from medmtl.inference.label_maps import LabelMap
    from medmtl.inference.locating import Part, plan_parts
    from medmtl.inference.predictor import needed_tasks, plan_sweep, run_windows
    from medmtl.pipeline.costs import window_seconds
    from medmtl.pipeline.model import load_model

    model = load_model(bundle, "cpu", engine="torch" if precision == "torch" else "openvino",
                       precision="float32" if precision == "torch" else precision)  # fmt: skip
    if model.engine.describe()["precision"] != ("float32" if precision == "torch" else precision):
        raise SystemExit(f"this CPU does not compute in {precision}")
    plan, engine = bundle.plan, model.engine
    needed = needed_tasks(tasks, bundle.tasks)
    asked = tuple(task for task in bundle.tasks if task.name in needed)
    names = [task.name for task in asked]
    window_seconds(engine, bundle, names)
    organs = [name for name in plan.keep_largest if not whole]
    if organs:
        window_seconds(engine, bundle, organs)
    run, spent = engine.run, []

    def timed(*arguments):
        start = time.perf_counter()
        answer = run(*arguments)
        spent.append(time.perf_counter() - start)
        return answer

    engine.run = timed
    start, cpu = time.perf_counter(), time.process_time()
    with stage("prepare"):
        prepared = prepare((volume,), plan)
    i, j, k = ((0, size) for size in prepared.grid.shape)
    with stage("windows"):
        parts = plan_parts(prepared, plan, engine, asked, bundle.tasks)
        if whole:
            parts = [Part(tasks=asked, sweep=plan_sweep(prepared.image, plan, (i, j, k)))]
        maps, sums = {}, {}
        for part in parts:
            own = {task.name: LabelMap(task, prepared, part.sweep) for task in part.tasks if task.is_voxel}
            sums |= run_windows(prepared, plan, engine, part.tasks, part.sweep, own)
            for found in own.values():
                found.finish()
            maps |= own
        case = engine.case(sums, prepared.grid.voxel_ml, names) if sums else {}
    total, STAGES["cpu"] = time.perf_counter() - start, time.process_time() - cpu
    STAGES["network"], STAGES["passes"] = sum(spent) / engine.workers, len(spent)
    STAGES["rest of windows"] = STAGES.pop("windows") - STAGES["network"]
    return total, {name: found.mask for name, found in maps.items()}, case


def nnunet(bundle, volume, tasks: tuple[str, ...]):
    """nnU-Net's own predictor around the same network, mirroring off, then what `monai` does with its logits.

    It takes one tensor from a network: the voxel tasks' logits behind each other; it has no case-level tasks.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from medmtl.bundle.weights import load_networks

    torch.set_num_threads(usable_cores())
    net, patch = load_networks(bundle)[0].eval(), bundle.plan.patch
    dense = [task for task in bundle.tasks if task.is_voxel and task.name in tasks]
    names, weight = tuple(task.name for task in dense), torch.ones(1, 1, *patch)

    class OneTensor(torch.nn.Module):
        def forward(self, x):
            start = time.perf_counter()
            out = net(x, weight, names).dense
            STAGES["network"] = STAGES.get("network", 0.0) + time.perf_counter() - start
            STAGES["passes"] = STAGES.get("passes", 0) + 1
            return torch.cat([out[name] for name in names], 1)

    with torch.inference_mode():
        net(torch.zeros(1, len(bundle.channels), *patch), weight, names)
    predictor = nnUNetPredictor(
        tile_step_size=1.0 - bundle.plan.overlap, use_gaussian=True, use_mirroring=False, device=torch.device("cpu"),
        perform_everything_on_device=False, verbose=False, allow_tqdm=False,
    )  # fmt: skip
    predictor.network = OneTensor()
    predictor.configuration_manager = SimpleNamespace(patch_size=patch)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=sum(task.outputs for task in dense))
    predictor.allowed_mirroring_axes, predictor.list_of_parameters = None, [None]
    start, cpu = time.perf_counter(), time.process_time()
    with stage("prepare"):
        prepared = prepare((volume,), bundle.plan)
    with stage("windows"):
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(prepared.image)).float()
    masks, first = {}, 0
    for task in dense:
        masks[task.name] = full_labels(logits[None, first : first + task.outputs], task, prepared, volume)
        first += task.outputs
    total, STAGES["cpu"] = time.perf_counter() - start, time.process_time() - cpu
    STAGES["rest of windows"] = STAGES.pop("windows") - STAGES["network"]
    return total, masks, {}


def full_labels(logits, task, prepared, volume):
    """Labels on the volume's voxels from logits `(1, output, i, j, k)`: trilinear interpolation, then the argmax."""
    import torch
    import torch.nn.functional as F

    with stage("resample and argmax"), torch.inference_mode():
        p = torch.softmax(logits, 1) if str(task.kind) == "segmentation" else torch.sigmoid(logits)
        turned = [volume.grid.shape[axis] for axis in prepared.turn.order]
        full = F.interpolate(p, size=turned, mode="trilinear", align_corners=False)[0]
        labels = full.argmax(0).to(torch.uint8).numpy()
        return np.ascontiguousarray(prepared.turn.undo(labels))


def monai(bundle, volume, tasks: tuple[str, ...], overlap: float, *, single: bool):
    """`sliding_window_inference` with eager torch, as its tutorials have it; trilinear interpolation and argmax."""
    import torch
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
            STAGES["passes"] = STAGES.get("passes", 0) + 1
            return tuple(out.dense.values()) if out.dense else out.coarse[next(iter(out.coarse))]

        return call

    with torch.inference_mode():
        net(torch.zeros(1, len(bundle.channels), *patch), weight, tasks)
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
                masks[task.name] = full_labels(logits, task, prepared, volume)
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
    if method == "nnunet":
        total, masks, case = nnunet(bundle, volume, everything)
    elif method == "monai":
        mode, _, overlap = rest.partition(":")
        share = float(overlap) if overlap else bundle.plan.overlap
        total, masks, case = monai(bundle, volume, everything, share, single=mode == "single")
    else:
        precision, _, what = rest.partition(":")
        tasks = everything if what in ("", "whole") else tuple(what.split(","))
        total, masks, case = ours(bundle, volume, precision, tasks, whole=what == "whole")
    np.savez_compressed(given.masks, **masks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = {"method": given.method, "seconds": total, "cpu_seconds": STAGES.pop("cpu"), "passes": STAGES.pop("passes")}
    row["stages"] = STAGES
    row |= {"peak_mb": peak / 1024, "before_mb": before / 1024}
    row["case"] = {name: [float(v) for v in values] for name, values in case.items()}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
