"""Pages of text, boxes and pictures to a PDF 1.7 file (ISO 32000-1): the same pages, the same bytes."""

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medmtl.outputs.pdf_font import Font

WIDTH, HEIGHT = 595.28, 841.89
"""A4 in points of 1/72 inch."""

Colour = tuple[float, float, float]
INK: Colour = (0.06, 0.09, 0.16)
_BREAKS_BEFORE = "，。；：、）！？”》%℃,.;:)!?"


class Pages:
    """A document that is drawn page by page; positions are points from the upper left corner.

    Args:
        font: for all text.
        title: of the document.
    """

    def __init__(self, font: Font, title: str) -> None:
        self._font, self._title = font, title
        self._drawn: list[list[str]] = []
        self._images: list[npt.NDArray[np.uint8]] = []
        self._used: dict[int, str] = {}

    @property
    def count(self) -> int:
        """Pages so far."""
        return len(self._drawn)

    def turn(self) -> None:
        """Begins a page."""
        self._drawn.append([])

    def width(self, text: str, size: float) -> float:
        """Points that `text` is wide."""
        return sum(self._font.width(self._font.glyph(char)) for char in text) * size / 1000.0

    def lines(self, text: str, size: float, room: float) -> list[str]:
        """`text` in lines no wider than `room`: broken at spaces, and between any two Chinese characters."""
        lines, line = [], ""
        for piece in _pieces(text):
            if line and self.width((line + piece).rstrip(), size) > room:
                lines.append(line.rstrip())
                line = piece.lstrip()
            else:
                line += piece
        return [*lines, line.rstrip()] if line.strip() else lines

    def text(self, x: float, y: float, text: str, size: float, colour: Colour = INK) -> None:
        """Writes a line whose baseline lies at `y`."""
        glyphs = [self._font.glyph(char) for char in text]
        self._used |= dict(zip(glyphs, text, strict=True))
        shown = "".join(f"{glyph:04X}" for glyph in glyphs)
        self._put(f"BT {_rgb(colour)} rg /F {size:g} Tf {x:.2f} {HEIGHT - y:.2f} Td <{shown}> Tj ET")

    def box(self, x: float, y: float, size: tuple[float, float], colour: Colour) -> None:
        """Fills a box whose upper left corner lies at `(x, y)`."""
        self._put(f"{_rgb(colour)} rg {x:.2f} {HEIGHT - y - size[1]:.2f} {size[0]:.2f} {size[1]:.2f} re f")

    def picture(self, x: float, y: float, size: tuple[float, float], pixels: npt.NDArray[np.uint8]) -> None:
        """Shows `(row, column, 3)` pixels in a box whose upper left corner lies at `(x, y)`."""
        self._images.append(pixels)
        name = f"/I{len(self._images)}"
        self._put(f"q {size[0]:.2f} 0 0 {size[1]:.2f} {x:.2f} {HEIGHT - y - size[1]:.2f} cm {name} Do Q")

    def finish(self) -> bytes:
        """The file."""
        objects = _Objects()
        font = self._font_object(objects)
        images = [
            objects.stream(
                pixels.tobytes(),
                f"/Type /XObject /Subtype /Image /Width {pixels.shape[1]} /Height {pixels.shape[0]} "
                "/ColorSpace /DeviceRGB /BitsPerComponent 8",
            )
            for pixels in self._images
        ]
        named = " ".join(f"/I{n} {image} 0 R" for n, image in enumerate(images, start=1))
        resources = objects.add(f"<< /Font << /F {font} 0 R >> /XObject << {named} >> >>")
        tree = objects.reserve()
        pages = []
        for drawn in self._drawn:
            content = objects.stream("\n".join(drawn).encode("ascii"), "")
            pages.append(
                objects.add(
                    f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] "
                    f"/Resources {resources} 0 R /Contents {content} 0 R >>"
                )
            )
        kids = " ".join(f"{page} 0 R" for page in pages)
        objects.fill(tree, f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode("ascii"))
        catalog = objects.add(f"<< /Type /Catalog /Pages {tree} 0 R /ViewerPreferences << /DisplayDocTitle true >> >>")
        title = self._title.encode("utf-16-be").hex().upper()
        info = objects.add(f"<< /Title <FEFF{title}> /Creator (medmtl) >>")
        return objects.file(catalog, info)

    def _put(self, command: str) -> None:
        self._drawn[-1].append(command)

    def _font_object(self, objects: "_Objects") -> int:
        """A Type 0 font with the used glyphs embedded, and what they mean, so that text can be searched and copied."""
        font, used = self._font, sorted(self._used)
        scale = 1000.0 / font.units_per_em
        program = font.subset(used)
        embedded = objects.stream(program, f"/Length1 {len(program)}")
        box = " ".join(f"{value * scale:.0f}" for value in font.box)
        descriptor = objects.add(
            f"<< /Type /FontDescriptor /FontName /AAAAAA+MicroHei /Flags 4 /FontBBox [{box}] /ItalicAngle 0 "
            f"/Ascent {font.ascent * scale:.0f} /Descent {font.descent * scale:.0f} /CapHeight 700 /StemV 80 "
            f"/FontFile2 {embedded} 0 R >>"
        )
        widths = " ".join(f"{glyph} [{font.width(glyph):.1f}]" for glyph in used)
        descendant = objects.add(
            "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /AAAAAA+MicroHei /CIDToGIDMap /Identity /DW 1000 "
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
            f"/FontDescriptor {descriptor} 0 R /W [{widths}] >>"
        )
        meanings = objects.stream(_meanings(self._used).encode("ascii"), "")
        return objects.add(
            "<< /Type /Font /Subtype /Type0 /BaseFont /AAAAAA+MicroHei /Encoding /Identity-H "
            f"/DescendantFonts [{descendant} 0 R] /ToUnicode {meanings} 0 R >>"
        )


class _Objects:
    """Indirect objects of a file, numbered from 1."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []

    def reserve(self) -> int:
        self._bodies.append(b"")
        return len(self._bodies)

    def fill(self, number: int, body: bytes) -> None:
        self._bodies[number - 1] = body

    def add(self, body: str) -> int:
        number = self.reserve()
        self.fill(number, body.encode("ascii"))
        return number

    def stream(self, data: bytes, words: str) -> int:
        packed = zlib.compress(data, 9)
        number = self.reserve()
        head = f"<< {words} /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode("ascii")
        self.fill(number, head + packed + b"\nendstream")
        return number

    def file(self, catalog: int, info: int) -> bytes:
        data, places = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), []
        for number, body in enumerate(self._bodies, start=1):
            places.append(len(data))
            data += f"{number} 0 obj\n".encode("ascii") + body + b"\nendobj\n"
        start = len(data)
        data += f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n".encode("ascii")
        data += b"".join(f"{place:010d} 00000 n \n".encode("ascii") for place in places)
        told = (
            f"trailer\n<< /Size {len(places) + 1} /Root {catalog} 0 R /Info {info} 0 R >>\nstartxref\n{start}\n%%EOF\n"
        )
        return bytes(data + told.encode("ascii"))


def _pieces(text: str) -> list[str]:
    """Words with the space after them, Chinese characters alone, punctuation with what it follows."""
    pieces: list[str] = []
    for char in text:
        wide = ord(char) > 0x2E7F
        if pieces and (char in _BREAKS_BEFORE or char == " " or (not wide and not _ends(pieces[-1]))):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def _ends(piece: str) -> bool:
    return piece.endswith(" ") or ord(piece[-1]) > 0x2E7F


def _meanings(used: dict[int, str]) -> str:
    rows = [f"<{glyph:04X}> <{char.encode('utf-16-be').hex().upper()}>" for glyph, char in sorted(used.items())]
    blocks = [rows[start : start + 100] for start in range(0, len(rows), 100)]  # at most 100 in a block
    told = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n/CMapName /Glyphs def\n"
        "/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
        f"{told}\nendcmap CMapName currentdict /CMap defineresource pop end end\n"
    )


def _rgb(colour: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in colour)
