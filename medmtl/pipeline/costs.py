"""What a case takes in memory, time and disk, told from its grid and the model before it is run."""

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, StudyError
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import slices_last, to_lps
from medmtl.geometry.resample import respaced
from medmtl.geometry.upright import upright
from medmtl.inference.engine import Engine, usable_cores
from medmtl.inference.locating import first_look_passes, plan_parts
from medmtl.inference.predictor import needed_tasks
from medmtl.inference.windows import axis_starts
from medmtl.preparation.plan import Orientation, Plan, Scheme
from medmtl.preparation.prepare import Prepared
from medmtl.shapes import Shape

_PROGRAM = 260 << 20  # Python and the libraries of a prediction
_FLOAT = 4
_S_PER_VOXEL = 5e-8  # reading, resampling, measuring and writing, of a long CT on one core of 2023
_S_WRITING = (({"html", "png", "pdf"}, 0.8), ({"seg", "sr", "rtstruct", "sc"}, 0.4))  # pictures; DICOM objects
_MAP_BYTES, _SEG_BYTES = 0.004, 1 / 8  # per voxel: a packed label map; a bit of each segment of a SEG
_PAGE_BYTES = 2 << 20  # report and pictures
_LIVE = 3  # tensors of a level that are held at once while it is computed


def working_grid(source: Grid, plan: Plan) -> Grid:
    """The grid that the network sees of a volume on `source`."""
    box = upright(source)
    turn = to_lps(box) if plan.orientation is Orientation.LPS else slices_last(box)
    return respaced(turn.grid(box), plan.spacing)


def window_counts(shape: Shape, plan: Plan) -> tuple[int, int, int]:
    """Windows along each axis of a working grid, none left out."""
    padded = [max(size, extent) for size, extent in zip(shape, plan.patch, strict=True)]
    i, j, k = (len(axis_starts(n, extent, plan.overlap)) for n, extent in zip(padded, plan.patch, strict=True))
    return (i, j, k)


def peak_bytes(
    source: Grid, bundle: Bundle, asked: Collection[str] | None, workers: int, *, keep_probabilities: bool = False
) -> int:
    """Most memory that a case takes, from reading to files.

    Args:
        source: of the volume.
        bundle: the model.
        asked: names of tasks, None for all.
        workers: windows side by side.
        keep_probabilities: whether maps of probabilities are written.
    """
    plan = bundle.plan
    names = needed_tasks(bundle.task_names if asked is None else asked, bundle.tasks)
    outputs = [task.outputs for task in bundle.tasks if task.is_voxel and task.name in names]
    lesions = sum(any(x.category == "lesion" for x in t.labels) for t in bundle.tasks if t.is_voxel and t.name in names)
    grid = working_grid(source, plan)
    voxels, working = prod(source.shape), prod(grid.shape) * len(bundle.channels)
    held = voxels * (2 * len(bundle.channels) + len(outputs) + 2 * lesions)
    preparing = working * _FLOAT
    if any(rule.scheme is Scheme.ZSCORE for rule in plan.normalisation) or plan.cubic:
        preparing += 6 * _FLOAT * voxels  # values, clipped, scaled, what SimpleITK copies
    counts = window_counts(grid.shape, plan)
    axis = max(range(3), key=lambda n: counts[n])
    plane = prod(
        max(size, extent) for n, (size, extent) in enumerate(zip(grid.shape, plan.patch, strict=True)) if n != axis
    )
    slabs = 2 * _FLOAT * sum(outputs) * plane * plan.patch[axis]  # and a copy while planes are handed on
    windows = (2 * workers + 2) * _FLOAT * sum(outputs) * prod(plan.patch)
    network = (workers + 1) * _activation_bytes(plan) * len(bundle.weights) + sum(
        p.stat().st_size for p in bundle.weights
    ) * 5
    running = working * _FLOAT + slabs + windows + network
    kept = voxels * _FLOAT * sum(outputs) if keep_probabilities else 0
    measuring = 2 * voxels
    return _PROGRAM + held + kept + max(preparing, running, measuring)


def fitting_workers(
    source: Grid, bundle: Bundle, asked: Collection[str] | None, limit: int, *, keep_probabilities: bool = False
) -> int:
    """How many windows may run side by side within `limit` bytes; answers are the same with any number.

    Raises:
        StudyError: `too-large`: one by one they take more.
    """
    for workers in range(usable_cores(), 0, -1):
        least = peak_bytes(source, bundle, asked, workers, keep_probabilities=keep_probabilities)
        if least <= limit:
            return workers
    what = f"the case takes {least / 2**30:.1f} GiB, {limit / 2**30:.1f} GiB are allowed"
    raise StudyError(Code.TOO_LARGE, what, "raise --max-memory, or crop the volume")


def window_seconds(engine: Engine, bundle: Bundle, asked: Collection[str]) -> float:
    """Seconds from one window to the next on this machine, as many side by side as the engine runs."""
    image = np.zeros((len(bundle.channels), *bundle.plan.patch), dtype=np.float32)
    weight = np.ones(bundle.plan.patch, dtype=np.float32)

    def once(_: int) -> None:
        engine.run(image, weight, asked, 0)

    with ThreadPoolExecutor(engine.workers) as pool:
        list(pool.map(once, range(engine.workers)))  # the first of each compiles and lays out weights
        start = time.perf_counter()
        list(pool.map(once, range(2 * engine.workers)))
    return (time.perf_counter() - start) / (2 * engine.workers)


def seconds(
    source: Grid,
    bundle: Bundle,
    per_window: float,
    *,
    windows: int | None = None,
    looks: int = 0,
    formats: Collection[str] = (),
) -> float:
    """Time for a case, if every pass of every window is worth running.

    Args:
        source: of the volume.
        bundle: the model.
        per_window: from `window_seconds`.
        windows: how many there are; None for a working grid of which nothing is left out.
        looks: passes of the first look for the organs, see `medmtl.inference.locating`.
        formats: what is written.
    """
    if windows is None:
        windows = prod(window_counts(working_grid(source, bundle.plan).shape, bundle.plan))
    passes = len(bundle.weights) * 2 ** len(bundle.plan.mirror)
    written = sum(time_s for kinds, time_s in _S_WRITING if kinds & set(formats))
    return (windows * passes + looks) * per_window + prod(source.shape) * _S_PER_VOXEL + written


def case_windows(prepared: Prepared, bundle: Bundle, engine: Engine, asked: Collection[str]) -> tuple[int, int]:
    """Windows that a case has, and passes of the first look for the organs.

    Args:
        prepared: the case.
        bundle: the model.
        engine: runs the first look.
        asked: names of tasks.
    """
    needed = needed_tasks(asked, bundle.tasks)
    tasks = tuple(task for task in bundle.tasks if task.name in needed)
    parts = plan_parts(prepared, bundle.plan, engine, tasks, bundle.tasks)
    looks = first_look_passes(prepared, bundle.plan) if any(part.around for part in parts) else 0
    return sum(len(part.sweep.windows()) for part in parts), looks


def disk_bytes(source: Grid, bundle: Bundle, formats: Collection[str], *, dicom: bool) -> float:
    """Files of a case in these formats, roughly."""
    voxels = prod(source.shape)
    maps = [task for task in bundle.tasks if task.is_voxel and not task.auxiliary]
    size = 0.0
    if "nii" in formats:
        size += _MAP_BYTES * voxels * len(maps)
    if dicom and {"seg", "sr"} & set(formats):
        size += _SEG_BYTES * voxels * sum(len(task.labels) for task in maps)
    if {"html", "png", "pdf"} & set(formats):
        size += _PAGE_BYTES
    if "prob" in formats:
        size += 0.05 * voxels * sum(len(task.labels) for task in maps)
    return size


def _activation_bytes(plan: Plan) -> int:
    """What one pass of one window holds at its worst: features of all levels, and some tensors of the finest."""
    sizes, voxels = [], prod(plan.patch)
    for width, stride in zip(plan.widths, plan.strides, strict=True):
        voxels //= prod(stride)
        sizes.append(width * voxels)
    return _FLOAT * (sum(sizes) + _LIVE * sizes[0])
