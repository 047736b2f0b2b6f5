from dataclasses import replace
from pathlib import Path

import pytest

from medmtl.errors import Code
from medmtl.pipeline.guards import provenance_notices
from tests.tiny import heart_volume, unwritten_bundle


@pytest.mark.parametrize(("used", "told"), [(("a",), True), (("b",), False), (("a", "b"), True)])
def test_a_case_is_named_as_seen_if_a_network_in_use_was_trained_on_it(
    tmp_path: Path, used: tuple[str, ...], told: bool
) -> None:
    volume = heart_volume()
    networks = [
        {"weights": "a.safetensors", "cases": 1, "images_sha256": [volume.content_hash]},
        {"weights": "b.safetensors", "cases": 1, "images_sha256": ["0" * 64]},
    ]
    bundle = replace(
        unwritten_bundle(tmp_path),
        training={"networks": networks},
        weights=tuple(tmp_path / f"{name}.safetensors" for name in used),
    )
    notices = provenance_notices((volume,), bundle)
    assert [notice.code for notice in notices] == ([Code.SEEN_IN_TRAINING] if told else [])
