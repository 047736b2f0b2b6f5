"""The worklist survives what happens to its server."""

import stat
from pathlib import Path

import pytest

from medmtl.pacs.inbox import default_workspace
from medmtl_app.workspace import StudyState, Workspace


def test_only_the_owner_may_look_in(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    root.mkdir(mode=0o755)
    workspace = Workspace(root)
    study = workspace.add(workspace.new_upload())
    for folder in (root, root / "uploads", root / "studies", workspace.folder(study.id)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_crash_loses_nothing(tmp_path: Path) -> None:
    before = Workspace(tmp_path)
    kept, lost = before.new_upload(), before.new_upload()
    first, second = before.add(kept, title="one"), before.add(kept, number=1)
    before.change(second.id, {"state": StudyState.READY, "summary": {"lesions": 2}})
    running = before.next_waiting()
    assert running is not None
    assert running.id == first.id
    # no close(): the process is gone
    after = Workspace(tmp_path)
    after.recover()
    assert after.study(first.id).state is StudyState.WAITING
    assert after.study(second.id).summary == {"lesions": 2}
    assert after.upload_folder(kept).is_dir()
    assert not after.upload_folder(lost).exists()


def test_studies_are_taken_in_the_order_they_came(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    studies = [workspace.add(workspace.new_upload()) for _ in range(3)]
    taken = [workspace.next_waiting() for _ in range(4)]
    assert [study.id if study else None for study in taken] == [*(study.id for study in studies), None]


def test_a_study_moves_only_from_the_states_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    study = workspace.add(workspace.new_upload())
    assert not workspace.move(study.id, frozenset({StudyState.RUNNING}), StudyState.READY, {})
    assert workspace.study(study.id).state is StudyState.WAITING
    assert workspace.move(study.id, frozenset({StudyState.WAITING}), StudyState.CANCELLED, {"message": "by hand"})
    assert workspace.study(study.id).message == "by hand"
    assert not workspace.move("unknown", frozenset(StudyState), StudyState.READY, {})


def test_an_upload_goes_with_its_last_study(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    upload = workspace.new_upload()
    first, second = workspace.add(upload), workspace.add(upload, number=1)
    workspace.remove(first.id)
    assert workspace.upload_folder(upload).is_dir()
    workspace.remove(second.id)
    assert not workspace.upload_folder(upload).exists()
    assert not workspace.folder(second.id).exists()
    assert workspace.studies() == ()


def test_columns_that_decide_identity_cannot_be_changed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    study = workspace.add(workspace.new_upload())
    with pytest.raises(ValueError, match="upload"):
        workspace.change(study.id, {"upload": "../.."})


def test_the_workspace_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDMTL_WORKSPACE", str(tmp_path / "own"))
    assert default_workspace() == tmp_path / "own"
    monkeypatch.delenv("MEDMTL_WORKSPACE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_workspace() == tmp_path / "medmtl" / "workspace"


def test_what_a_crash_left_of_a_review_is_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.folder(workspace.add(workspace.new_upload()).id)
    for name in ("reviews/1/case", "reviews/.2.partial/case", ".export-ab/case", "drafts/one", "view"):
        (folder / name).mkdir(parents=True)
    workspace.recover()
    assert sorted(path.name for path in folder.iterdir()) == ["reviews", "view"]
    assert [path.name for path in (folder / "reviews").iterdir()] == ["1"]
