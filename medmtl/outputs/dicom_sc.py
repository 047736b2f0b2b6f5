"""Key pictures to DICOM Secondary Capture Images (PS3.3 A.8.1), for archives and viewers that show no SEG."""

import io
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from medmtl.errors import Code, OutputError
from medmtl.outputs.dicom_instance import research_instance
from medmtl.outputs.dicom_seg import SERIES_NUMBER
from medmtl.outputs.dicom_source import SourceStudy
from medmtl.outputs.picture import KeyPictures, Picture, rgb
from medmtl.outputs.picture_plane import Plane, native_axis, plane_across
from medmtl.outputs.structures import structures_of
from medmtl.result import CaseResult

WARNING = "RESEARCH USE ONLY, NOT FOR DIAGNOSIS"

_POINTS, _ROW, _MARGIN, _NARROWEST = 13, 19, 8, 320
_INK, _ALARM, _PAPER = (226, 232, 240), (255, 196, 64), (10, 13, 18)

Pixels = npt.NDArray[np.uint8]
Words = tuple[str, tuple[int, int, int]]


def secondary_captures(
    result: CaseResult, source: SourceStudy, pictures: KeyPictures, lines: tuple[str, ...]
) -> tuple[tuple[Dataset, Pixels], ...]:
    """A Secondary Capture Image in colour for each key picture, in one new series: the main one first.

    Below the picture stand, burned in, `WARNING`, `lines` and the slice's structures in their colours. Burned In
    Annotation (0028,0301) says YES. The same result gives the same bytes.

    Args:
        result: the case.
        source: headers of the series, in the order of axis k.
        pictures: of the case.
        lines: what was found and by which model; no identities.

    Returns:
        each instance with its `(row, column, 3)` pixels.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry an image.
    """
    structures = structures_of(result)
    captures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source's own values, such as a name without ^
        for number, (picture, plane) in enumerate(_with_planes(result, pictures), start=1):
            instance = research_instance(
                result,
                source,
                sop_class_uid=SecondaryCaptureImageStorage,
                modality="OT",
                role="key pictures",
                series=SERIES_NUMBER + 3,
                number=number,
            )
            shown = [s for s in structures if plane.cut(s.mask, picture.index).any()]
            legend = [(s.label.title("en"), rgb(s.label.color)) for s in shown]
            pixels = _captioned(picture, [(WARNING, _ALARM), *((line, _INK) for line in lines), *legend])
            _describe(instance, source, picture, plane)
            _fill(instance, pixels)
            captures.append((instance, pixels))
    return tuple(captures)


def check_capture(data: bytes, pixels: Pixels) -> None:
    """Compare a capture's bytes with its pixels.

    Raises:
        OutputError: `output-check-failed`, a pixel differs, or the image does not say that it is annotated.
    """
    read = pydicom.dcmread(io.BytesIO(data))
    same = (int(read.Rows), int(read.Columns), int(read.SamplesPerPixel)) == pixels.shape
    if not same or read.PixelData[: pixels.size] != pixels.tobytes() or read.BurnedInAnnotation != "YES":
        what = "a secondary capture differs from its picture"
        raise OutputError(Code.OUTPUT_CHECK_FAILED, what, "nothing was written; report this with the version of medmtl")


def _with_planes(result: CaseResult, pictures: KeyPictures) -> Iterator[tuple[Picture, Plane]]:
    grid = result.volume.grid
    axis = native_axis(grid)
    native = plane_across(grid, axis)
    others = [plane_across(grid, a) for a in (2, 1, 0) if a != axis]
    yield from ((picture, native) for picture in (pictures.main, *pictures.others))
    yield pictures.field, native
    yield from zip(pictures.reformats, others, strict=True)
    yield from ((picture, native) for picture in pictures.strip)


def _describe(instance: Dataset, source: SourceStudy, picture: Picture, plane: Plane) -> None:
    _, right, _, bottom = plane.letters
    instance.Laterality = ""  # asked for where no body part is told
    instance.ConversionType = "WSD"
    instance.ImageType = ["DERIVED", "SECONDARY"]
    instance.PatientOrientation = [right, bottom]
    instance.BurnedInAnnotation = "YES"
    instance.DerivationDescription = "Contours of medmtl on a slice, research use only, not for diagnosis"
    instance.ImageComments = f"{picture.plane} {picture.index + 1} / {picture.count}"
    if str(source.headers[0].get("LossyImageCompression", "")) == "01":
        instance.LossyImageCompression = "01"  # once lossy, always lossy (PS3.3 C.7.6.1.1.5)
    if plane.axis == 2:
        item, purpose = source.image_at(picture.index), Dataset()
        purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
        purpose.CodeMeaning = "Source image for image processing operation"
        item.PurposeOfReferenceCodeSequence = [purpose]
        instance.SourceImageSequence = [item]


def _fill(instance: Dataset, pixels: Pixels) -> None:
    instance.SamplesPerPixel = 3
    instance.PhotometricInterpretation = "RGB"
    instance.PlanarConfiguration = 0
    instance.Rows, instance.Columns = pixels.shape[:2]
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit = 7
    instance.PixelRepresentation = 0
    data = pixels.tobytes()
    instance.PixelData = data + b"\0" * (len(data) % 2)


def _captioned(picture: Picture, words: list[Words]) -> Pixels:
    """The picture with `words` below it, each on lines of its own, as many as they need."""
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    width = max(image.width, _NARROWEST)
    font = ImageFont.load_default(_POINTS)
    rows = [
        (line, ink)
        for text, ink in words
        for line in _wrapped(text.encode("ascii", "replace").decode("ascii"), font, width - 2 * _MARGIN)
    ]
    sheet = Image.new("RGB", (width, image.height + _ROW * len(rows) + 2 * _MARGIN), _PAPER)
    sheet.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for number, (line, ink) in enumerate(rows):
        draw.text((_MARGIN, image.height + _MARGIN + _ROW * number), line, fill=ink, font=font)
    return np.array(sheet)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
