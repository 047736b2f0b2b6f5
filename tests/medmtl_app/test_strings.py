"""One catalogue of texts, whole in both languages and without a word too many."""

import json
import re
from pathlib import Path

import pytest

import medmtl_app
from medmtl.outputs.sentences import LANGUAGES, RESEARCH_USE
from medmtl_app.workspace import StudyState

HERE = Path(medmtl_app.__file__).parent
TEXTS = json.loads((HERE / "strings.json").read_text(encoding="utf-8"))
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((HERE / "component").glob("*.js")))


@pytest.mark.parametrize("key", TEXTS)
def test_every_text_is_there_in_both_languages(key: str) -> None:
    entry = TEXTS[key]
    assert set(entry) == set(LANGUAGES)
    assert all(entry.values())
    holes = [sorted(re.findall(r"\{(\w+)\}", text)) for text in entry.values()]
    assert holes[0] == holes[1]
    assert re.search(r"[\u4e00-\u9fff]", entry["zh"])


def test_no_key_stands_there_twice() -> None:
    """JSON would take the last one without a word."""
    pairs = json.loads((HERE / "strings.json").read_text(encoding="utf-8"), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)) > 100


def used_keys() -> set[str]:
    plain = set(re.findall(r"""\bt\(\s*["'](\w+)["']""", CODE))
    both = re.findall(r"""\bt\(\s*\w[\w.]*\s*\?\s*"(\w+)"\s*:\s*"(\w+)"\)""", CODE)
    return plain | {key for pair in both for key in pair}


def built_prefixes() -> set[str]:
    return set(re.findall(r"\bt\(`(\w+)\$\{", CODE))


def test_the_page_asks_for_no_text_that_is_not_there() -> None:
    assert used_keys()
    assert used_keys() - set(TEXTS) == set()
    assert all(any(key.startswith(prefix) for key in TEXTS) for prefix in built_prefixes())


def test_no_text_is_left_over() -> None:
    planes = {"axial", "coronal", "sagittal"}
    before = {"sign_in"}  # on the page that stands before
    left = set(TEXTS) - used_keys() - planes - before
    assert {key for key in left if not key.startswith(tuple(built_prefixes()))} == set()


def test_every_key_and_state_has_its_text() -> None:
    names = re.findall(r'\{ name: "(\w+)", shown', CODE)
    assert len(names) > 10
    assert {f"key_{name}" for name in names} <= set(TEXTS)
    own_words = {StudyState.READY, StudyState.RUNNING}
    assert {f"state_{state}" for state in set(StudyState) - own_words} <= set(TEXTS)


def test_research_use_is_said_in_the_reports_words() -> None:
    assert TEXTS["research"] == RESEARCH_USE
