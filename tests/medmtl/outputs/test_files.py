import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.errors import Code, OutputError
from medmtl.outputs.files import gzip_bytes, json_bytes, plain, write_atomic


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "a.bin", b"old")
    write_atomic(tmp_path / "deep" / "a.bin", b"new")
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "deep").iterdir()] == [("a.bin", b"new")]


def test_a_failed_write_is_a_refusal_without_the_path(tmp_path: Path) -> None:
    (tmp_path / "DOE^JOHN").write_text("a file where a folder should be")
    with pytest.raises(OutputError) as caught:
        write_atomic(tmp_path / "DOE^JOHN" / "a.bin", b"x")
    assert caught.value.code is Code.CANNOT_WRITE
    assert "DOE" not in str(caught.value)


@given(st.binary(max_size=2000))
def test_gzip_holds_no_time_and_comes_back(data: bytes) -> None:
    packed = gzip_bytes(data)
    assert gzip.decompress(packed) == data
    assert packed[4:8] == bytes(4)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_float32_comes_back_bit_for_bit(value: float) -> None:
    back = json.loads(json_bytes({"v": value}))["v"]
    assert np.float32(back) == np.float32(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_nan_never_reaches_json(value: float) -> None:
    with pytest.raises(ValueError, match="no place in JSON"):
        json_bytes({"v": [value]})


def test_plain_keeps_key_order_and_turns_arrays_to_lists() -> None:
    told = plain({"b": np.arange(3), "a": (np.float64(0.1) + 0.2, np.int64(2), True, None)})
    assert list(told) == ["b", "a"]
    assert told == {"b": [0, 1, 2], "a": [0.3, 2, True, None]}
    assert told["a"][2] is True


def test_what_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError):
        plain({"v": {1, 2}})
