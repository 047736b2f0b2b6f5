import subprocess
import sys
from pathlib import Path

import pytest

import medmtl.tasks
from medmtl.tasks import collect_views


def test_the_three_of_the_contract_are_found() -> None:
    assert set(collect_views()) == {"lesions", "organs", "diagnosis"}


def test_a_file_dropped_into_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bone_age_tiny.py").write_text(
        '"""A task of its own."""\nNAME = "bone_age"\n\n\ndef view(answers):\n    return 7\n', encoding="utf-8"
    )
    monkeypatch.setattr(medmtl.tasks, "__path__", [*medmtl.tasks.__path__, str(tmp_path)])
    assert collect_views()["bone_age"](None) == 7  # type: ignore[arg-type]


def test_two_files_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'NAME = "lesions"\n\n\ndef view(answers):\n    return None\n'
    (tmp_path / "more_lesions_tiny.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(medmtl.tasks, "__path__", [*medmtl.tasks.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match="lesions"):
        collect_views()


def test_tasks_need_no_network() -> None:
    code = "import sys, medmtl.tasks; medmtl.tasks.collect_views(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
