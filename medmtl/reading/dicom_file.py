"""What the first bytes of a file say: whether it is DICOM (PS3.10), and whether it can be inflated at all."""

import zlib
from typing import IO

from pydicom.uid import DeflatedExplicitVRLittleEndian

from medmtl.errors import Code, StudyError

MAX_INFLATED_BYTES = 2 << 30


def is_directory_file(head: bytes) -> bool:
    """Whether a DICOM file is a DICOMDIR, the index of a medium (PS3.10 8)."""
    return b"1.2.840.10008.1.3.10" in head[132:512]


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first 140 bytes open a DICOM file, with its preamble or, as some exports, without."""
    if head[128:132] == b"DICM":
        return True
    # a data set may start only with group 0002 or 0008, low element, little endian
    if head[:2] not in (b"\x02\x00", b"\x08\x00") or len(head) < 12 or head[3] != 0 or head[2] > 0x18:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") <= 256


def check_deflated(stream: IO[bytes], head: bytes) -> None:
    """Inflates a deflated file once without keeping it, so that pydicom may; others are passed over.

    Args:
        stream: the open file, back at its start afterwards.
        head: its first bytes, the meta group among them.

    Raises:
        StudyError: `too-large` beyond `MAX_INFLATED_BYTES`, `truncated`.
    """
    if DeflatedExplicitVRLittleEndian.encode() + b"\x00" not in head[132:]:
        return
    start = 144 + int.from_bytes(head[140:144], "little")  # the meta group opens with its own length, PS3.10 7.1
    stream.seek(start)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        while chunk := stream.read(1 << 16):
            while chunk:
                total += len(inflate.decompress(chunk, 1 << 20))
                chunk = inflate.unconsumed_tail
                if total > MAX_INFLATED_BYTES:
                    raise StudyError(Code.TOO_LARGE, "a file inflates beyond 2 GiB", "export it uncompressed")
    except zlib.error as fault:
        raise StudyError(Code.TRUNCATED, "the deflated data of a file are damaged", "copy the series again") from fault
    if not inflate.eof:
        raise StudyError(Code.TRUNCATED, "the deflated data of a file end too early", "copy the series again")
    stream.seek(0)
