"""Pictures of a case: slices with the structures' contours, orientation letters and a scale, all mm-true."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from medmtl.geometry.grid import Grid
from medmtl.outputs.picture_plane import Plane, native_axis, plane_across
from medmtl.outputs.structures import Structure, structures_of
from medmtl.result import CaseResult
from medmtl.shapes import Mask, VoxelArray
from medmtl.volume import Volume

CT_WINDOW_HU = (-160.0, 240.0)
LUNG_WINDOW_HU = (-1350.0, 150.0)
AIR_HU = -500.0
MARGIN_MM = 22.0
SMALLEST_SIDE_MM = 90.0
LARGE_PX, MIDDLE_PX, SMALL_PX = 760, 480, 300  # middle: side by side, where there are several channels
STRIP_SLICES, ROW_SLICES = 6, 3  # of one channel; of each where there are several

_SCALES_MM = (100, 50, 20, 10, 5, 2, 1)
_OVERSAMPLING = 2
_SMOOTHEST_PX = 12.0
_INK = (226, 232, 240)
_DIM = (148, 163, 184)
_PAPER = (10, 13, 18)

Rgb = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""First row, last row + 1, first column, last column + 1, as on the screen."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One PNG and what it shows.

    Attributes:
        png: the file's bytes.
        size: width and height in pixels.
        plane: "axial", "coronal", "sagittal" or "oblique".
        index: voxel index of the slice along its axis, from 0.
        count: slices along that axis.
        channel: name of what is shown; empty where the image has but one channel.
    """

    png: bytes
    size: tuple[int, int]
    plane: str
    index: int
    count: int
    channel: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyPictures:
    """The pictures of a report: the slice that matters, its field of view, two reformats, and native slices.

    Every picture shows one channel and the structures of the tasks that are drawn on it. `others` are the slice that
    matters on the further channels; `strip` goes through all channels.
    """

    main: Picture
    others: tuple[Picture, ...]
    field: Picture
    reformats: tuple[Picture, ...]
    strip: tuple[Picture, ...]


def key_pictures(result: CaseResult) -> KeyPictures:
    """Pictures through the largest lesion, or the largest organ where there is none, or the middle."""
    # organs first, so that a lesion's line lies on top
    structures = tuple(sorted(structures_of(result), key=lambda s: (s.is_lesion, s.number)))
    painter, *further = _painters(result, structures)
    grid = result.volume.grid
    axis = native_axis(grid)
    native = plane_across(grid, axis)
    centre = _key_index(painter.structures, grid, axis)
    box = _crop(structures, native, grid)
    across = [plane_across(grid, a) for a in (2, 1, 0) if a != axis]
    slices = _strip(structures, grid, axis, STRIP_SLICES if not further else ROW_SLICES)
    width = MIDDLE_PX if further else LARGE_PX
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # Pillow computes outside the interpreter's lock
        main = pool.submit(painter.paint, native, centre[axis], box, width)
        others = [pool.submit(other.paint, native, centre[axis], box, width) for other in further]
        field = pool.submit(painter.paint, native, centre[axis], None, SMALL_PX, outline=box)
        cut = [(p, centre[p.axis], _crop(structures, p, grid)) for p in across]
        reformats = [pool.submit(painter.paint, *place, SMALL_PX) for place in cut]
        strip = [pool.submit(one.paint, native, k, box, SMALL_PX) for one in (painter, *further) for k in slices]
    return KeyPictures(
        main=main.result(),
        others=tuple(picture.result() for picture in others),
        field=field.result(),
        reformats=tuple(picture.result() for picture in reformats),
        strip=tuple(picture.result() for picture in strip),
    )


def _painters(result: CaseResult, structures: tuple[Structure, ...]) -> list["_Painter"]:
    """A painter per channel; first the one with the lesions, or the first with structures where there are none."""
    found = []
    for number, volume in enumerate(result.channels):
        own = tuple(s for s in structures if result.channel_of(s.task) == number)
        name = result.channel_names[number] if len(result.channels) > 1 and result.channel_names else ""
        found.append(_Painter(volume, own, name))
    return sorted(found, key=lambda one: (not any(s.is_lesion for s in one.structures), not one.structures))


def preview_png(pictures: KeyPictures, lines: tuple[str, ...]) -> bytes:
    """One PNG for a list or a message: the main picture, three small ones beside it, `lines` of ASCII below."""
    main = Image.open(io.BytesIO(pictures.main.png))
    small = [_narrowed(Image.open(io.BytesIO(p.png))) for p in (*pictures.others, pictures.field, *pictures.reformats)]
    gap, row = 8, 22
    height = max(main.height, sum(s.height for s in small) + gap * (len(small) - 1))
    sheet = Image.new("RGB", (main.width + 3 * gap + SMALL_PX, height + 3 * gap + row * len(lines)), _PAPER)
    sheet.paste(main, (gap, gap + (height - main.height) // 2))
    top = gap
    for picture in small:
        sheet.paste(picture, (main.width + 2 * gap, top))
        top += picture.height + gap
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        ink = _INK if number == 0 else _DIM
        draw.text((gap + 4, height + 2 * gap + row * number), line, fill=ink, font=ImageFont.load_default(15))
    return _png(sheet)


def _narrowed(picture: Image.Image) -> Image.Image:
    height = round(picture.height * SMALL_PX / picture.width)
    return picture if picture.width <= SMALL_PX else picture.resize((SMALL_PX, height), Image.Resampling.LANCZOS)


class _Painter:
    """Paints slices of one channel with one grey window, and the structures that are drawn on it."""

    def __init__(self, volume: Volume, structures: tuple[Structure, ...], channel: str) -> None:
        self._array, self._grid = volume.array, volume.grid
        self.structures, self._channel = structures, channel
        self._window = grey_window(self._array, volume.modality, structures)

    def paint(self, plane: Plane, index: int, box: Box | None, width: int, outline: Box | None = None) -> Picture:
        """One slice, cropped to `box`, `width` pixels wide; `outline` is drawn as a frame."""
        rows, columns = self._grid.shape[plane.down], self._grid.shape[plane.across]
        first_row, last_row, first_column, last_column = box or (0, rows, 0, columns)
        row_mm, column_mm = plane.spacing(self._grid)
        wide_mm, high_mm = (last_column - first_column) * column_mm, (last_row - first_row) * row_mm
        width, height = _fit(wide_mm, high_mm, width)
        large = (width * _OVERSAMPLING, height * _OVERSAMPLING)
        cut = slice(first_row, last_row), slice(first_column, last_column)
        canvas = self._grey(plane.cut(self._array, index)[cut], large)
        line = 5 if width > SMALL_PX else 4
        for structure in self.structures:
            mask = np.asarray(plane.cut(structure.mask, index), dtype=np.bool_)[cut]
            if mask.any():
                _overlay(canvas, mask, structure, line)
        image = Image.fromarray(canvas).resize((width, height), Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(image)
        pixels_per_mm = width / wide_mm
        if outline is not None:
            top, bottom, left, right = outline
            sides = (left * column_mm, top * row_mm, right * column_mm - 1, bottom * row_mm - 1)
            draw.rectangle([side * pixels_per_mm for side in sides], outline=_DIM)
        count = self._grid.shape[plane.axis]
        place = f"{index + 1} / {count}  {self._channel}".rstrip()
        _annotate(draw, plane, place, (width, height), pixels_per_mm)
        return Picture(
            png=_png(image), size=(width, height), plane=plane.name, index=index, count=count, channel=self._channel
        )

    def _grey(self, plane: VoxelArray, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        low, high = self._window
        scaled = np.clip((np.asarray(plane, dtype=np.float32) - low) / (high - low), 0.0, 1.0)
        large = Image.fromarray(scaled, mode="F").resize(size, Image.Resampling.BICUBIC)
        grey = np.clip(np.asarray(large) * 255.0, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)


def grey_window(array: VoxelArray, modality: str | None, structures: tuple[Structure, ...]) -> tuple[float, float]:
    """Values shown black and white: for CT soft tissue, or lung where the lesions lie in air; else from the image.

    Without Hounsfield units the window runs from the 1st to the 99.7th percentile round the structures.
    """
    if modality == "CT":
        lesions = tuple(s for s in structures if s.is_lesion)
        in_air = bool(lesions) and float(np.median(_surroundings(array, lesions))) < AIR_HU
        return LUNG_WINDOW_HU if in_air else CT_WINDOW_HU
    low, high = (float(v) for v in np.percentile(_surroundings(array, structures), (1.0, 99.7)))
    return (low, high) if high > low else (low, low + 1.0)


def _surroundings(array: VoxelArray, structures: tuple[Structure, ...]) -> VoxelArray:
    """The box of `structures`, twice as large; everything where there are none."""
    if not structures:
        return array
    held = _union([s.mask for s in structures])
    used = [np.flatnonzero(held.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    pad = [int(0.5 * (u[-1] - u[0] + 1)) for u in used]
    return array[tuple(slice(max(0, u[0] - p), u[-1] + 1 + p) for u, p in zip(used, pad, strict=True))]


def _union(masks: Sequence[Mask]) -> Mask:
    held = masks[0].copy(order="K")
    for mask in masks[1:]:
        held |= mask  # one by one: all of a CT's structures stacked would be a gigabyte
    return held


def rgb(color: str) -> Rgb:
    """ "#RRGGBB" as three numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _overlay(canvas: npt.NDArray[np.uint8], mask: Mask, structure: Structure, line: int) -> None:
    """Lay a structure on `canvas`: a faint fill and a line of `line` pixels, edges smoothed by half a voxel."""
    height, width = canvas.shape[:2]
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    voxel = (height / mask.shape[0] + width / mask.shape[1]) / 2
    smooth = large.filter(ImageFilter.GaussianBlur(min(0.5 * voxel, _SMOOTHEST_PX)))
    inside = np.asarray(smooth) > 127
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size == 0:
        return
    region = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    core = _eroded(inside[region], line)
    fill = 0.20 if structure.is_lesion else 0.06
    alpha = np.where(core, fill, np.where(inside[region], 0.95, 0.0)).astype(np.float32)[:, :, None]
    color = np.array(rgb(structure.label.color), dtype=np.float32)
    canvas[region] = np.rint(canvas[region] * (1.0 - alpha) + color * alpha).astype(np.uint8)


def _eroded(mask: Mask, reach: int) -> Mask:
    """Pixels whose square of `reach` pixels to every side lies in the mask, which ends at the picture's edge."""
    for axis in (0, 1):
        along = np.moveaxis(mask, axis, 0)
        sums = np.cumsum(np.pad(along, ((reach + 1, reach), (0, 0))), axis=0, dtype=np.int32)
        mask = np.moveaxis(sums[2 * reach + 1 :] - sums[: -2 * reach - 1] == 2 * reach + 1, 0, axis)
    return mask


def _annotate(draw: ImageDraw.ImageDraw, plane: Plane, place: str, size: tuple[int, int], pixels_per_mm: float) -> None:
    width, height = size
    is_small = width <= SMALL_PX
    points = 16 if is_small else 18
    pad = points // 2
    left, right, top, bottom = plane.letters
    _text(draw, (pad, height // 2), left, points, "lm")
    _text(draw, (width - pad, height // 2), right, points, "rm")
    _text(draw, (width // 2, pad), top, points, "ma")
    _text(draw, (width // 2, height - pad), bottom, points, "md")
    _text(draw, (pad, pad), place if is_small else f"{plane.name.capitalize()} {place}", points, "la")
    scale = next((mm for mm in _SCALES_MM if mm * pixels_per_mm <= 0.3 * width), _SCALES_MM[-1])
    y = height - pad - 2
    end = pad + scale * pixels_per_mm
    draw.line([(pad, y), (end, y)], fill=_INK, width=2)
    for x in (pad, end):
        draw.line([(x, y - 4), (x, y)], fill=_INK, width=2)
    _text(draw, (pad, y - 5), f"{scale} mm", points - 2, "ld")


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], words: str, points: int, anchor: str) -> None:
    font = ImageFont.load_default(points)
    draw.text(at, words, fill=_INK, font=font, anchor=anchor, stroke_width=2, stroke_fill=_PAPER)


def _fit(wide_mm: float, high_mm: float, width: int) -> tuple[int, int]:
    """Pixels of a picture `width` wide; a tall one is narrowed so that it is at most 1.15 times as high as `width`."""
    scale = min(width / wide_mm, 1.15 * width / high_mm)
    return max(32, round(wide_mm * scale)), max(32, round(high_mm * scale))


def _key_index(structures: tuple[Structure, ...], grid: Grid, axis: int) -> tuple[int, int, int]:
    """Voxel through which the planes are laid: in the slice with most lesion, or most organ, at its centre."""
    lesions = [s.mask for s in structures if s.is_lesion]
    shown = lesions or [s.mask for s in structures]
    if not shown:
        return (grid.shape[0] // 2, grid.shape[1] // 2, grid.shape[2] // 2)
    held = _union(shown)
    area = held.sum(axis=tuple(a for a in range(3) if a != axis))
    best = int(np.argmax(area))
    flat = np.argwhere(np.take(held, best, axis=axis)).mean(axis=0)
    index = [round(float(v)) for v in flat]
    index.insert(axis, best)
    return (index[0], index[1], index[2])


def _crop(structures: tuple[Structure, ...], plane: Plane, grid: Grid) -> Box | None:
    if not structures:
        return None
    held = _union([s.mask for s in structures])
    flat = np.asarray(plane.cut(np.asarray(held.any(axis=plane.axis, keepdims=True)), 0))
    bounds: list[int] = []
    for screen_axis, mm in enumerate(plane.spacing(grid)):
        used = np.flatnonzero(flat.any(axis=1 - screen_axis))
        centre = (used[0] + used[-1] + 1) / 2
        half = max((used[-1] - used[0] + 1) * mm / 2 + MARGIN_MM, SMALLEST_SIDE_MM / 2) / mm
        bounds += [max(0, int(np.floor(centre - half))), min(flat.shape[screen_axis], int(np.ceil(centre + half)))]
    return (bounds[0], bounds[1], bounds[2], bounds[3])


def _strip(structures: tuple[Structure, ...], grid: Grid, axis: int, most: int) -> tuple[int, ...]:
    if structures:
        held = _union([s.mask for s in structures])
        used = np.flatnonzero(held.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = int(used[0]), int(used[-1])
    else:
        first, last = 0, grid.shape[axis] - 1
    chosen = np.linspace(first, last, min(most, last - first + 1))
    return tuple(sorted({round(float(k)) for k in chosen}))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()
