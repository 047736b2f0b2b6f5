"""The report's font: widths, and a subset to embed, so that Chinese is shown on every machine.

Reads the tables of a TrueType font with quadratic outlines (OpenType 1.9: cmap, glyf, head, hhea, hmtx, loca, maxp).
"""

import struct
from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "fonts" / "wqy-microhei-subset.ttf"
_EMBEDDED = ("glyf", "head", "hhea", "hmtx", "loca", "maxp")
_LAST_PLANE = 0xFFFF
_MORE, _WORDS, _SCALE, _XY_SCALE, _TWO_BY_TWO = 0x20, 0x01, 0x08, 0x40, 0x80


class Font:
    """A TrueType font.

    Args:
        data: the bytes of its file.
    """

    def __init__(self, data: bytes) -> None:
        count = struct.unpack(">H", data[4:6])[0]
        rows = [struct.unpack(">4sLLL", data[12 + 16 * n : 28 + 16 * n]) for n in range(count)]
        self._tables = {tag.decode("ascii"): data[start : start + size] for tag, _, start, size in rows}
        head = self._tables["head"]
        self.units_per_em: int = struct.unpack(">H", head[18:20])[0]
        self.box: tuple[int, ...] = struct.unpack(">4h", head[36:44])
        self.ascent, self.descent = struct.unpack(">2h", self._tables["hhea"][4:8])
        long_loca = struct.unpack(">h", head[50:52])[0] == 1
        loca = np.frombuffer(self._tables["loca"], dtype=">u4" if long_loca else ">u2").astype(np.int64)
        self._loca = loca if long_loca else loca * 2
        metrics = struct.unpack(">H", self._tables["hhea"][34:36])[0]
        self._widths = np.frombuffer(self._tables["hmtx"][: 4 * metrics], dtype=">u2")[::2].astype(np.int64)
        self._glyphs = _characters(self._tables["cmap"])

    def glyph(self, char: str) -> int:
        """Index of a character's glyph; 0, an empty box, where the font has none."""
        return self._glyphs.get(ord(char), 0)

    def width(self, glyph: int) -> float:
        """Advance in thousandths of the em."""
        return float(self._widths[min(glyph, len(self._widths) - 1)]) * 1000.0 / self.units_per_em

    def subset(self, glyphs: Collection[int]) -> bytes:
        """A font of these glyphs, under the same indices; all others are empty."""
        wanted = {0}
        waiting = list(glyphs)
        while waiting:
            glyph = waiting.pop()
            if glyph not in wanted:
                wanted.add(glyph)
                waiting += self._parts(glyph)
        pieces, places, at = [], np.zeros(len(self._loca), dtype=">u4"), 0
        for glyph in range(len(self._loca) - 1):
            places[glyph] = at
            if glyph in wanted:
                piece = self._outline(glyph)
                pieces.append(piece + b"\0" * (-len(piece) % 4))
                at += len(pieces[-1])
        places[-1] = at
        head = bytearray(self._tables["head"])
        head[50:52] = struct.pack(">h", 1)  # long offsets
        tables = {**self._tables, "glyf": b"".join(pieces), "loca": places.tobytes(), "head": bytes(head)}
        return _file({tag: tables[tag] for tag in _EMBEDDED})

    def _outline(self, glyph: int) -> bytes:
        return self._tables["glyf"][self._loca[glyph] : self._loca[glyph + 1]]

    def _parts(self, glyph: int) -> list[int]:
        """Glyphs that a composite one is made of."""
        data = self._outline(glyph)
        if not data or struct.unpack(">h", data[:2])[0] >= 0:
            return []
        parts, at, flags = [], 10, _MORE
        while flags & _MORE:
            flags, part = struct.unpack(">2H", data[at : at + 4])
            parts.append(part)
            at += 8 if flags & _WORDS else 6
            at += 2 if flags & _SCALE else 4 if flags & _XY_SCALE else 8 if flags & _TWO_BY_TWO else 0
        return parts


@cache
def report_font() -> Font:
    """The font that comes with the package: Latin, Greek and the Chinese of GB 2312."""
    return Font(FILE.read_bytes())


def _characters(cmap: bytes) -> dict[int, int]:
    """Character to glyph, from the Unicode sub-table of format 4."""
    count = struct.unpack(">H", cmap[2:4])[0]
    for n in range(count):
        platform, encoding, start = struct.unpack(">HHL", cmap[4 + 8 * n : 12 + 8 * n])
        if (platform, encoding) in ((3, 1), (0, 3)) and struct.unpack(">H", cmap[start : start + 2])[0] == 4:
            return _format_4(cmap[start:])
    raise ValueError("the font has no Unicode table of format 4")


def _format_4(table: bytes) -> dict[int, int]:
    segments = struct.unpack(">H", table[6:8])[0] // 2
    words = np.frombuffer(table[: len(table) // 2 * 2], dtype=">u2").astype(np.int64)
    ends, starts = words[7 : 7 + segments], words[8 + segments : 8 + 2 * segments]
    deltas, first = words[8 + 2 * segments : 8 + 3 * segments], 8 + 3 * segments
    found = {}
    for n in range(segments):
        offset = int(words[first + n])
        for code in range(int(starts[n]), min(int(ends[n]), _LAST_PLANE - 1) + 1):
            glyph = code if offset == 0 else int(words[first + n + offset // 2 + code - int(starts[n])])
            if offset == 0 or glyph:
                found[code] = (glyph + int(deltas[n])) & _LAST_PLANE
    return found


def _file(tables: dict[str, bytes]) -> bytes:
    power = 1 << (len(tables).bit_length() - 1)
    searching = (power * 16, power.bit_length() - 1, (len(tables) - power) * 16)
    directory, body = [], b""
    start = 12 + 16 * len(tables)
    for tag, data in sorted(tables.items()):
        padded = data + b"\0" * (-len(data) % 4)
        total = int(np.frombuffer(padded, dtype=">u4").sum(dtype=np.uint64) & 0xFFFFFFFF)
        directory.append(struct.pack(">4sLLL", tag.encode("ascii"), total, start + len(body), len(data)))
        body += padded
    return struct.pack(">LHHHH", 0x00010000, len(tables), *searching) + b"".join(directory) + body
