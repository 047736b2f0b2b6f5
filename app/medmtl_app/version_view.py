"""What the page draws of a saved version: the model's view, with other maps where the reader drew."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from medmtl.geometry.orientation import to_lps
from medmtl.outputs.files import json_bytes, write_atomic
from medmtl.pipeline.revise import changed_labels
from medmtl.result import CaseResult
from medmtl.task import Kind, Task
from medmtl_app.display import lesion_places
from medmtl_app.drawn import Drawn


def write_version_view(folder: Path, version: int, base: dict[str, Any], model: CaseResult, drawn: CaseResult) -> None:
    """Writes `view.json` of a version and the maps and surfaces that differ from the model's into `folder`.

    Files of the version are called `N.` and their name. A structure that the reader changed is marked `edited`: its
    field is the model's, and its map decides.

    Args:
        folder: made here.
        version: its number.
        base: `view.json` of the model's own result.
        model: that result.
        drawn: the same with the drawn masks, and the items of all drawn lesions.
    """
    folder.mkdir(mode=0o700, parents=True)
    turn = to_lps(model.volume.grid)
    grid = turn.grid(model.volume.grid)
    made = Drawn(folder, turn, grid)
    kept = {(row["task"], row["name"]): row for row in base["structures"]}
    maps: list[dict[str, Any]] = []
    structures: list[dict[str, Any]] = []
    for task in model.tasks:
        if not task.is_voxel:
            continue
        changed = changed_labels(task, drawn.masks[task.name], model.masks[task.name])
        if not changed:
            structures += _kept(task, base, maps)
            continue
        first_map, first_row = len(made.maps), len(made.structures)
        made.add(task, replace(drawn, probabilities={}))
        offset = len(maps) - first_map
        maps += [_named(row, version) for row in made.maps[first_map:]]
        for row in made.structures[first_row:]:
            placed = {**_named(row, version), "map": row["map"] + offset}
            former = kept.get((task.name, row["name"]), {})
            fields = {key: former[key] for key in ("field", "heat") if key in former}
            if row["name"] in changed:
                structures.append({**placed, **fields, "edited": True})
            else:
                structures.append({**former, "map": placed["map"], "value": row["value"]})
    body = {**base, "maps": maps, "structures": structures, "lesions": lesion_places(drawn, turn, grid)}
    write_atomic(folder / "view.json", json_bytes(body))


def _kept(task: Task, base: dict[str, Any], maps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a task as the model's view has them, their maps added to `maps`."""
    rows, places = [], {}
    for row in base["structures"]:
        if row["task"] == task.name:
            if row["map"] not in places:
                places[row["map"]] = len(maps)
                maps.append(base["maps"][row["map"]])
            rows.append({**row, "map": places[row["map"]]})
    return rows


def absent_labels(view: dict[str, Any], tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """Structures that hold no voxel, which a reader may draw all the same; `map` is -1 where none is shared."""
    present = {(row["task"], row["name"]): row for row in view["structures"]}
    shared = {row["task"]: row["map"] for row in view["structures"]}
    channels = [row["name"] for row in view["channels"]]
    rows = []
    for task in tasks:
        exclusive = task.kind is Kind.SEGMENTATION
        for label in task.labels if task.is_voxel else ():
            if (task.name, label.name) not in present:
                channel = channels.index(task.drawn_on) if task.drawn_on in channels else 0
                number = shared.get(task.name, -1) if exclusive else -1
                value = label.value if exclusive else 1
                row = {"task": task.name, "name": label.name, "color": label.color, "channel": channel}
                rows.append({**row, "map": number, "value": value})
    return rows


def _named(row: dict[str, Any], version: int) -> dict[str, Any]:
    """The row with the version's number before every file in it."""
    if "file" in row:
        return {**row, "file": f"{version}.{row['file']}"}
    return {key: _named(value, version) if isinstance(value, dict) else value for key, value in row.items()}
