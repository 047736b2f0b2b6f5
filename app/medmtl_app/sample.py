"""The sample study: a real heart, one click away on first start."""

import shutil
from pathlib import Path

from medmtl_app.workspace import Study, Workspace

TITLE = "Sample heart (LGE)"


def sample_path() -> Path | None:
    """The sample as a zip of DICOM files; None where the package is installed without its source."""
    root = Path(__file__).resolve().parents[2]
    found = sorted((root / "sample_data" / "cardiac_lge" / "dicom").glob("*.zip"))
    return found[0] if found else None


def take_sample(workspace: Workspace) -> Study | None:
    """The sample as a waiting study, or the one that is in the worklist already."""
    source = sample_path()
    if source is None:
        return None
    for study in workspace.studies():
        if study.sample:
            return study
    upload = workspace.new_upload()
    shutil.copyfile(source, workspace.upload_folder(upload) / source.name)
    return workspace.add(upload, title=TITLE, sample=True)
