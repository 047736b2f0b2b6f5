"""`CaseInput`: one case to be read, before anything of it is in memory."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from medmtl.errors import MedmtlError


class InputKind(StrEnum):
    """What the files of a case are, told by their content.

    NIFTI stands for every format of one volume in one file: NIfTI, NRRD, MetaImage.
    """

    NIFTI = "nifti"
    DICOM = "dicom"


@dataclass(frozen=True, kw_only=True)
class CaseInput:
    """Where one case lies.

    Attributes:
        name: name of the case in files and logs: the stem of a NIfTI, `study-` and 8 hex digits for DICOM.
        kind: what the files are.
        paths: the channels of a NIfTI case; the files of a DICOM study; the archive alone for a zip.
        source: the file or folder as the user named or would find it. May hold an identity: never logged.
        archive: whether `paths` is a zip to be unpacked first.
        study_uid: which study of the files is meant, None for all of them.
        series_uid: which volume of the study is meant, as `medmtl inspect` names it, None to let the reader choose.
        error: why there is nothing to read, None where nothing is known against it.
    """

    name: str
    kind: InputKind
    paths: tuple[Path, ...]
    source: Path
    archive: bool = False
    study_uid: str | None = None
    series_uid: str | None = None
    error: MedmtlError | None = None

    @property
    def where(self) -> str:
        """What a refusal calls this case."""
        return self.name
