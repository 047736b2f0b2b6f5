"""A finished study read back from its folder: the model's result, its rules and every saved version."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmtl.errors import Code, StudyError
from medmtl.geometry.grid import Grid
from medmtl.geometry.orientation import to_lps
from medmtl.outputs.files import write_atomic
from medmtl.pipeline.stored import Rules, read_masks, read_result
from medmtl.result import CaseResult
from medmtl.shapes import VoxelArray
from medmtl.volume import Volume

if TYPE_CHECKING:
    from medmtl.reading.any_volume import CaseInput

RULES = "rules.json"
_VERSION_FILE = re.compile(r"([1-9][0-9]*)\.([\w.\-]+)")


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredStudy:
    """What a job left of a study.

    Attributes:
        folder: the study's.
        rules: how masks become findings.
        model: the model's own result, without probabilities.
        series: which series or frames of its upload it is, as `read_case` is told; None for a file of one volume.
    """

    folder: Path
    rules: Rules
    model: CaseResult
    series: str | None

    def drawn(self, version: int) -> dict[str, VoxelArray]:
        """Maps of a version with rejected findings still in them; of version 0 the model's own.

        Raises:
            OSError: there is no such version.
        """
        if version == 0:
            return dict(self.model.masks)
        return read_masks(version_folder(self.folder, version) / "drawn", self.model.tasks, self.model.volume.grid)

    def result(self, version: int) -> CaseResult:
        """The result of a version, without what its reader rejected.

        Raises:
            OSError: there is no such version.
        """
        if version == 0:
            return self.model
        found = read_result(case_folder(self.folder, version), self.model.channels, self.rules.tasks)
        return replace(found, channel_names=self.model.channel_names)


def write_rules(folder: Path, rules: Rules, volumes: tuple[Volume, ...], channels: tuple[str, ...]) -> None:
    """Keeps beside a study's result what later versions of it are measured by, and which series it was made from.

    Args:
        folder: the study's.
        rules: of the model.
        volumes: what it read.
        channels: names of its channels.
    """
    grid = volumes[0].grid
    series = [name for name in map(_named, volumes) if name]
    place = {"shape": list(grid.shape), "affine_lps": grid.affine.tolist(), "series": series, "channels": channels}
    body = {**rules.to_mapping(), **place}
    write_atomic(folder / RULES, json.dumps(body, ensure_ascii=False).encode())  # every digit of the affine


def _named(volume: Volume) -> str:
    """How `read_case` is told of a volume; empty where its file holds no other."""
    if volume.dicom is None:
        return f"frame={volume.frame}" if volume.frame is not None else ""
    return volume.dicom.series_uid + (f":{volume.dicom.part}" if volume.dicom.part is not None else "")


def open_study(folder: Path, upload: Path, number: int, *, for_dicom: bool = False) -> StoredStudy:
    """The study with the voxels that the page has, or those of its files where the page's are rounded.

    Args:
        folder: the study's.
        upload: folder of the files that were sent.
        number: which case of them.
        for_dicom: whether DICOM outputs are wanted, which need the files themselves.

    Raises:
        MedmtlError: the files can no longer be read, or are others than those that were answered.
        OSError: the study has no answers.
    """
    body = read_json(folder / RULES)
    grid = Grid(shape=tuple(body["shape"]), affine=np.array(body["affine_lps"]))
    said = read_json(case_folder(folder, 0) / "findings.json")["input"]
    view = view_of(folder, 0)
    if for_dicom or any(_is_rounded(row) for row in view["channels"]):
        channels = _source(upload, number, body, said["sha256"])
    else:
        pairs = zip(view["channels"], said["sha256"].split("-"), strict=True)
        about = {"grid": grid, "modality": said["modality"]}
        channels = tuple(
            Volume(array=_voxels(folder, row["file"], grid, view), content_hash=one, **about) for row, one in pairs
        )
    if not channels[0].grid.same_as(grid):
        raise StudyError(Code.GRID_MISMATCH, "the study's geometry has changed since it was answered", "run it again")
    rules = Rules.from_mapping(body)
    model = replace(read_result(case_folder(folder, 0), channels, rules.tasks), channel_names=tuple(body["channels"]))
    return StoredStudy(folder=folder, rules=rules, model=model, series=",".join(body["series"]) or None)


def _is_rounded(row: Mapping[str, Any]) -> bool:
    """Whether the page's voxels of a channel are others than its file's."""
    return bool(row["resampled"]) or (row["slope"], row["intercept"]) != (1.0, 0.0)


def _voxels(folder: Path, name: str, grid: Grid, view: Mapping[str, Any]) -> VoxelArray:
    """The voxels of a channel as the page has them, on the image's axes."""
    stored = np.memmap(folder / "view" / name, dtype="<i2", mode="r", shape=tuple(view["shape"]), order="F")
    found: VoxelArray = to_lps(grid).undo(stored)
    return found


def _source(upload: Path, number: int, body: Mapping[str, Any], content_hash: str) -> tuple[Volume, ...]:
    from medmtl.reading.any_volume import discover, read_case

    names = tuple(body["channels"])
    cases = worth_reading(discover(upload, names=names))
    case = cases[min(number, len(cases) - 1)]
    channels = read_case(case, series_uid=",".join(body["series"]) or None, channels=names)
    if "-".join(volume.content_hash for volume in channels) != content_hash:
        raise StudyError(Code.UNREADABLE, "the study's files have changed since it was answered", "send it again")
    return channels


def worth_reading(cases: "tuple[CaseInput, ...]") -> "tuple[CaseInput, ...]":
    """Without the letters and pictures that lie in a study's folder, unless there is nothing else."""
    foreign = (Code.NOT_AN_IMAGE, Code.EMPTY_INPUT)
    return tuple(case for case in cases if case.error is None or case.error.code not in foreign) or cases


def newest_version(folder: Path) -> int:
    """Number of the last saved version, 0 where there is none."""
    return max((int(path.name) for path in (folder / "reviews").glob("[1-9]*") if path.name.isdigit()), default=0)


def version_folder(folder: Path, version: int) -> Path:
    """Where a saved version lies."""
    return folder / "reviews" / str(version)


def case_folder(folder: Path, version: int) -> Path:
    """Folder with the `findings.json` of a version, 0 for the model's own.

    Raises:
        OSError: there is none.
    """
    root = folder / "result" if version == 0 else version_folder(folder, version)
    for path in sorted(root.glob("*/findings.json")):
        return path.parent
    raise FileNotFoundError("no findings")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        OSError: there is none.
    """
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def view_of(folder: Path, version: int) -> dict[str, Any]:
    """`view.json` of a version.

    Raises:
        OSError: there is none.
    """
    root = folder if version == 0 else version_folder(folder, version)
    found = read_json(root / "view" / "view.json")
    if "channels" not in found:  # of a workspace from before there were several
        only = {key: found.pop(key) for key in ("slope", "intercept", "windows")}
        found |= {"channels": [{"name": "", "file": "volume.raw", "resampled": False, **only}], "notices": []}
        found["structures"] = [{**row, "channel": 0} for row in found["structures"]]
    return found


def view_path(folder: Path, name: str) -> Path | None:
    """The file that a `view.json` calls `name`, `N.` before it where it is of version N; None where there is none."""
    found = _VERSION_FILE.fullmatch(name)
    root = folder if found is None else version_folder(folder, int(found[1]))
    known = {path.name: path for path in (root / "view").glob("*.raw*")}
    return known.get(name if found is None else found[2])
