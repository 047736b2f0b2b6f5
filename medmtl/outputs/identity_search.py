"""Finished files searched for what they must not hold, byte by byte."""

import gzip
import io
import re
from collections.abc import Collection
from pathlib import Path

import pydicom

from medmtl.errors import Code, OutputError

SHORTEST = 4
"""Shorter texts, "M" or "CT" say, stand in any file."""

_LONG_ENOUGH = 8  # four letters stand in 100 MB of pixels by chance, eight do not
_PICTURE = re.compile(rb"base64,[A-Za-z0-9+/=]+")


def search(folder: Path, texts: Collection[str], own_words: str) -> int:
    """Looks for `texts` in every file below `folder`, in names too; gives the number of files.

    Packed files are unpacked. In pixel data and pictures only texts of 8 and more characters are looked for. A text
    that our own wording holds is passed over: a description may well be Heart, and our titles are.

    Args:
        folder: to search.
        texts: values that identify; those under `SHORTEST` characters are not looked for.
        own_words: texts of medmtl and the model, which results are made of.

    Raises:
        OutputError: `identity-left`; the message names the file's kind and never the text.
    """
    needles = sorted({text for text in texts if len(text) >= SHORTEST and text not in own_words})
    encoded = [(text, _encodings(text)) for text in needles]
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in paths:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        header = _without_pixels(path.suffix, data)
        place = path.relative_to(folder).as_posix()
        for text, forms in encoded:
            where = data if len(text) >= _LONG_ENOUGH else header
            if text in place or any(form in where for form in forms):
                what = f"an identifying text of {len(text)} characters was found in {path.name}"
                raise OutputError(Code.IDENTITY_LEFT, what, "nothing was written; report this")
    return len(paths)


def _encodings(text: str) -> set[bytes]:
    forms = {text.encode("utf-8", "surrogatepass")}
    for codec in ("latin-1", "gb18030", "utf-16-le", "utf-16-be"):
        try:
            forms.add(text.encode(codec))
        except UnicodeEncodeError:
            continue
    return forms


def _without_pixels(suffix: str, data: bytes) -> bytes:
    if suffix == ".html":
        return _PICTURE.sub(b"", data)
    if suffix != ".dcm":
        return data
    dataset = pydicom.dcmread(io.BytesIO(data))
    element = dataset.get_item("PixelData")
    start = None if element is None else getattr(element, "value_tell", None)
    return data if start is None else data[:start]
