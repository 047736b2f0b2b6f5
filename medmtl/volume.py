"""`Volume`: one 3D image with its place in the patient."""

from dataclasses import dataclass, field

from medmtl.errors import Notice
from medmtl.geometry.grid import Grid
from medmtl.shapes import VoxelArray


@dataclass(frozen=True, kw_only=True)
class DicomSource:
    """What DICOM outputs need of the series a volume came from. Holds identities: never logged.

    Attributes:
        study_uid: Study Instance UID (0020,000D).
        series_uid: Series Instance UID (0020,000E), may be empty where an anonymiser removed it.
        sop_class_uid: SOP Class UID (0008,0016) of the instances.
        frame_of_reference_uid: (0020,0052), empty where absent.
        instances: path of the file of each slice, in the order of axis k.
        instance_uids: SOP Instance UID (0008,0018) of the file of each slice, in the order of axis k.
        frames: number of the frame of each slice in its file, from 1, in the order of axis k; empty for single-frame
            files.
        description: Series Description (0008,103E).
        number: Series Number (0020,0011).
        part: which volume of its series it is, from 1, where the series holds several.
        places: where the slices lie at uneven distances, the index of each along axis k of the volume's even grid;
            empty where the slices are the planes of the grid.
        mosaic: whether the slices are tiles of one picture, to which no DICOM object can refer slice by slice.
    """

    study_uid: str
    series_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str
    instances: tuple[str, ...]
    instance_uids: tuple[str, ...]
    frames: tuple[int, ...] = ()
    description: str = ""
    number: int | None = None
    part: int | None = None
    places: tuple[float, ...] = ()
    mosaic: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A 3D image: voxels, grid, modality and origin.

    Attributes:
        array: `(i, j, k)` int16 or float32, read-only; HU for CT, arbitrary units for MR.
        grid: where the voxels lie, LPS mm.
        modality: "CT", "MR", or None where the file does not say (NIfTI).
        content_hash: SHA-256 (hex) of the source files' bytes; one input, one hash.
        dicom: the series it came from, None for NIfTI.
        notices: repairs and warnings of reading.
        frame: which volume of a file of several it is, from 1; None where the file holds one, and for DICOM.
        acquired: the channel on its own voxels, where `array` was resampled to those of another channel.
    """

    array: VoxelArray
    grid: Grid
    modality: str | None
    content_hash: str
    dicom: DicomSource | None = None
    notices: tuple[Notice, ...] = field(default=())
    frame: int | None = None
    acquired: "Volume | None" = None

    @property
    def own(self) -> "Volume":
        """The channel as it was acquired, on its own voxels."""
        return self.acquired or self

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise ValueError(f"array {self.array.shape} does not fill the grid {self.grid.shape}")
        self.array.setflags(write=False)
