"""How long a large CT series takes to read: medmtl beside SimpleITK's series reader, warm, in one run.

    .venv/bin/python benchmarks/read_dicom.py --like DICOM_FOLDER

The series is written to a temporary folder: headers and pixels of the folder's slices, again and again, at even steps.
Both readers then take turns, folder to array, from the cache of the file system; what medmtl keeps of headers between
calls is dropped before each turn. Printed: medians and ranges of wall and processor time, and their ratio.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from medmtl.reading import dicom_header
from medmtl.reading.any_volume import discover, read_case
from medmtl.shapes import VoxelArray

STEP_MM = 1.0


def write_series(like: Path, folder: Path, count: int) -> None:
    """`count` slices with the headers and pixels of those in `like`, `STEP_MM` apart along z."""
    found = [pydicom.dcmread(path) for path in sorted(like.iterdir()) if path.is_file()]
    first = found[0]
    for number in range(count):
        first.PixelData = found[number % len(found)].PixelData
        first.SOPInstanceUID = f"1.2.840.9.500.{number + 1}"
        first.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
        first.InstanceNumber = number + 1
        x, y = (float(value) for value in found[0].ImagePositionPatient[:2])
        first.ImagePositionPatient = [x, y, number * STEP_MM]
        first.save_as(folder / f"{number:04d}.dcm")


def by_medmtl(folder: Path) -> VoxelArray:
    """`(i, j, k)` HU by medmtl, nothing remembered from the turn before."""
    dicom_header.forget_headers()
    (case,) = discover(folder)
    return read_case(case)[0].array


def by_simpleitk(folder: Path) -> VoxelArray:
    """`(i, j, k)` HU by SimpleITK's series reader."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    array: VoxelArray = sitk.GetArrayFromImage(reader.Execute()).transpose(2, 1, 0)
    return array


def timed(read: Callable[[Path], VoxelArray], folder: Path) -> tuple[VoxelArray, float, float]:
    """The array, wall seconds and processor seconds."""
    wall, busy = time.perf_counter(), time.process_time()
    array = read(folder)
    return array, time.perf_counter() - wall, time.process_time() - busy


def spread(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):5.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    """Write, read in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--like", type=Path, required=True, help="folder of an uncompressed axial CT series")
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    readers = {"medmtl": by_medmtl, "SimpleITK": by_simpleitk}
    walls: dict[str, list[float]] = {name: [] for name in readers}
    busies: dict[str, list[float]] = {name: [] for name in readers}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(arguments.like, folder, arguments.slices)
        arrays = {name: read(folder) for name, read in readers.items()}  # warms the cache
        if not np.array_equal(arrays["medmtl"], arrays["SimpleITK"]):
            raise SystemExit("the readers disagree on the voxels")
        shape = " x ".join(map(str, arrays["medmtl"].shape))
        del arrays
        for _ in range(arguments.repeats):
            for name, read in readers.items():
                _, wall, busy = timed(read, folder)
                walls[name].append(wall)
                busies[name].append(busy)
    print(f"{shape} int16, {arguments.repeats} turns each, {platform.machine()}, Python {platform.python_version()}")
    for name in readers:
        print(f"{name:10} wall {spread(walls[name])}, processor {spread(busies[name])}")
    ratio = statistics.median(walls["medmtl"]) / statistics.median(walls["SimpleITK"])
    busy_ratio = statistics.median(busies["medmtl"]) / statistics.median(busies["SimpleITK"])
    print(f"medmtl / SimpleITK: wall {ratio:.2f}, processor {busy_ratio:.2f}")


if __name__ == "__main__":
    main()
