"""The settings: what is written is what is done, and a wrong word is refused by its name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medmtl.errors import Code, UsageError
from medmtl.pacs.settings import Delivery, Rule, Settings, read_settings

GOOD: dict[str, Any] = {
    "accept": {"peers": [{"ae_title": "CT1", "host": "10.0.0.5"}], "quiet_s": 30},
    "destinations": {
        "pacs": {"ae_title": "PACS", "host": "10.0.0.9", "port": 104, "commitment": True},
        "web": {"url": "https://pacs/dicom-web", "tls": {"authority": "ca.pem"}},
    },
    "rules": [{"name": "hearts", "calling": "CT*", "description": "*LGE*", "send_to": ["pacs", "web"]}],
    "retention_days": None,
}


def read(folder: Path, told: Any) -> Settings:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(told))
    return read_settings(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)
    assert settings.accept.quiet_s == 30.0
    assert settings.destinations["web"].tls is not None
    assert settings.destinations["web"].tls.authority == tmp_path / "ca.pem"
    assert settings.retention_days is None
    assert settings.rules[0].formats == ("seg", "sr")


def test_nothing_is_sent_without_a_destination(tmp_path: Path) -> None:
    settings = read(tmp_path, {"accept": GOOD["accept"], "rules": [{"name": "all"}]})
    assert settings.destinations == {}
    assert settings.rules[0].send_to == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"acept": {}}, "acept"),
        ({"accept": {"peers": []}}, "peers"),
        ({"accept": {"peers": [{"ae_title": "A" * 17}]}}, "AE title"),
        ({"accept": {"peers": [{"ae_title": "A", "prot": 1}]}}, "prot"),
        ({"accept": {"peers": [{"host": "h"}]}}, "ae_title"),
        ({"accept": {**GOOD["accept"], "quiet_s": "soon"}}, "quiet_s"),
        ({"accept": {**GOOD["accept"], "associations": -1}}, "associations"),
        ({"rules": [{"name": "a", "send_to": ["nowhere"]}]}, "nowhere"),
        ({"rules": [{"name": "a", "formats": ["dcm"]}]}, "dcm"),
        ({"rules": [{"name": "a", "formats": ["nii"], "send_to": ["pacs"]}]}, "sends nothing"),
        ({"rules": [{"name": "a", "allow": ["missing-slice"]}]}, "missing-slice"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, "one name"),
        ({"rules": {"name": "a"}}, "rules"),
        ({"destinations": {"pacs": {"host": "h"}, "web": {"url": "u"}}}, "pacs"),
        ({"destinations": {"pacs": GOOD["destinations"]["pacs"], "web": {"url": "u", "commitment": True}}}, "web"),
        ({"device": "tpu"}, "device"),
        ({"retention_days": -1}, "retention_days"),
    ],
)
def test_a_wrong_word_is_named(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(tmp_path, {**GOOD, **change})
    assert refusal.value.code is Code.BAD_SETTINGS
    assert word in str(refusal.value)


def test_no_yaml_and_no_file_are_refused(tmp_path: Path) -> None:
    for told in ("a: [", "- just\n- a list", "!!python/object/apply:os.system [ls]"):
        (tmp_path / "bad.yaml").write_text(told)
        with pytest.raises(UsageError):
            read_settings(tmp_path / "bad.yaml")
    with pytest.raises(UsageError):
        read_settings(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (("CT1", "MR", "sa LGE psir"), True),
        (("ct12", "mr", "LGE"), True),
        (("MR1", "MR", "LGE"), False),
        (("CT1", "MR", "cine"), False),
        (("CT1", "CT", "LGE"), False),
    ],
)
def test_a_rule_wants_what_its_patterns_say(told: tuple[str, str, str], wanted: bool) -> None:
    assert Rule(name="r", calling="CT*", modality="MR", description="*lge*").wants(*told) is wanted


def test_pauses_double_up_to_the_longest() -> None:
    plan = Delivery(first_s=10.0, longest_s=3600.0)
    assert [plan.wait_s(n) for n in (1, 2, 3, 9, 10, 1000)] == [10.0, 20.0, 40.0, 2560.0, 3600.0, 3600.0]
