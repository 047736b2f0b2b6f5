"""Every refusal and warning of medmtl, by code.

MedmtlError
├── UsageError            the call is wrong (exit 2)
├── StudyError            a study or file cannot be read as it is
├── GuardError            readable, but no model of ours may answer for it
├── BundleError           a model folder is damaged, foreign or unsafe
├── DatasetError          a training data set has a fault
├── TrainingError         a training run cannot start or go on
├── OutputError           a result cannot be written
└── PeerError             another node cannot be reached, or does not do what was asked

A message says what is wrong and what to do. Names, patient IDs and UIDs never stand in one.
"""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The word that names one refusal or warning, the same in every output."""

    # the call
    BAD_OPTION = "bad-option"
    NOT_FOUND = "not-found"
    NO_MODEL_FITS = "no-model-fits"
    MODEL_AMBIGUOUS = "model-ambiguous"
    UNKNOWN_TASK = "unknown-task"
    UNKNOWN_SERIES = "unknown-series"
    NO_DEVICE = "no-device"
    OUTPUT_OF_ANOTHER_CALL = "output-of-another-call"
    # files
    NOT_AN_IMAGE = "not-an-image"
    EMPTY_INPUT = "empty-input"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    UNSAFE_ARCHIVE = "unsafe-archive"
    TOO_LARGE = "too-large"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    HEADER_REPAIRED = "header-repaired"
    # values
    NOT_FINITE = "not-finite"
    CONSTANT_IMAGE = "constant-image"
    BAD_RESCALE = "bad-rescale"
    COLOUR_IMAGE = "colour-image"
    BAD_PIXELS = "bad-pixels"
    NO_RESCALE = "no-rescale"
    INVERTED_DISPLAY = "inverted-display"
    PADDING_MASKED = "padding-masked"
    # geometry
    NOT_THREE_DIMENSIONAL = "not-three-dimensional"
    FOUR_DIMENSIONAL = "four-dimensional"
    SINGLE_SLICE = "single-slice"
    MISSING_SLICE = "missing-slice"
    UNEVEN_SLICES = "uneven-slices"
    SLICES_RESAMPLED = "slices-resampled"
    DOUBLED_SLICE = "doubled-slice"
    TILTED = "tilted"
    MOSAIC = "mosaic"
    LOCALIZER = "localizer"
    MIXED_ORIENTATION = "mixed-orientation"
    MIXED_SERIES = "mixed-series"
    MIXED_PATIENTS = "mixed-patients"
    MIXED_FRAME_OF_REFERENCE = "mixed-frame-of-reference"
    MIXED_SPACING = "mixed-spacing"
    MIXED_MATRIX = "mixed-matrix"
    MISSING_GEOMETRY = "missing-geometry"
    BAD_GEOMETRY = "bad-geometry"
    SPACING_CONTRADICTION = "spacing-contradiction"
    GRID_MISMATCH = "grid-mismatch"
    CHANNEL_MISSING = "channel-missing"
    CHANNEL_RESAMPLED = "channel-resampled"
    DUPLICATE_DROPPED = "duplicate-dropped"
    SLICES_UNVERIFIED = "slices-unverified"
    SERIES_CHOSEN = "series-chosen"
    PHASES_CHOSEN = "phases-chosen"
    SERIES_SPLIT = "series-split"
    # guards
    MODALITY_MISMATCH = "modality-mismatch"
    NOT_HOUNSFIELD = "not-hounsfield"
    FIELD_OF_VIEW = "field-of-view"
    OUT_OF_DISTRIBUTION = "out-of-distribution"
    # findings
    LESION_OUTSIDE_HOST = "lesion-outside-host"
    CLASS_AGAINST_BURDEN = "class-against-burden"
    EMPTY_ORGAN = "empty-organ"
    DERIVED_UNDEFINED = "derived-undefined"
    DERIVED_IMPLAUSIBLE = "derived-implausible"
    ORGAN_TRUNCATED = "organ-truncated"
    UNCERTAIN_DIAGNOSIS = "uncertain-diagnosis"
    # bundle
    NOT_A_BUNDLE = "not-a-bundle"
    BUNDLE_DAMAGED = "bundle-damaged"
    BUNDLE_VERSION = "bundle-version"
    UNSAFE_WEIGHTS = "unsafe-weights"
    # data sets and training
    BAD_DATASET = "bad-dataset"
    BAD_CASES = "bad-cases"
    BAD_LABEL_VALUE = "bad-label-value"
    NO_PATIENT_COLUMN = "no-patient-column"
    PATIENT_IN_TWO_FOLDS = "patient-in-two-folds"
    EMPTY_LABEL = "empty-label"
    DUPLICATE_IMAGE = "duplicate-image"
    NEAR_DUPLICATE = "near-duplicate"
    SHORTCUT = "shortcut"
    NOT_ANNOTATED = "not-annotated"
    RARE_CLASS = "rare-class"
    MIRRORED_SIDES = "mirrored-sides"
    UNLISTED_FILE = "unlisted-file"
    SEEN_IN_TRAINING = "seen-in-training"
    FAST_WAY = "fast-way"
    CHECKPOINT_MISMATCH = "checkpoint-mismatch"
    RUN_EXISTS = "run-exists"
    NOT_CONVERGING = "not-converging"
    CLASS_COLLAPSE = "class-collapse"
    NOT_PROMOTED = "not-promoted"
    # outputs
    CANNOT_WRITE = "cannot-write"
    OUTPUT_CHECK_FAILED = "output-check-failed"
    NO_DICOM_OUTPUT = "no-dicom-output"
    # de-identification
    BURNED_IN = "burned-in"
    IDENTITY_LEFT = "identity-left"
    # PACS
    EXTRA_MISSING = "extra-missing"
    BAD_SETTINGS = "bad-settings"
    PEER_UNREACHABLE = "peer-unreachable"
    PEER_REFUSED = "peer-refused"
    PEER_CANNOT_STORE = "peer-cannot-store"
    NOT_COMMITTED = "not-committed"
    NO_RULE = "no-rule"
    UNKNOWN_JOB = "unknown-job"
    SUPERSEDES = "supersedes"
    # while a case runs
    OUT_OF_MEMORY = "out-of-memory"
    TIMED_OUT = "timed-out"
    WORKER_ENDED = "worker-ended"
    # anything else, caught at the boundary of a case
    INTERNAL_ERROR = "internal-error"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A warning that travels with a result: its code and one sentence, no identities."""

    code: Code
    text: str


class MedmtlError(Exception):
    """A refusal: one line with a code, what is wrong and what to do.

    Args:
        code: the word that names it, listed in `docs/errors.md`.
        what: what is wrong, in a clause without a full stop.
        todo: what the user can do about it.
    """

    def __init__(self, code: Code, what: str, todo: str) -> None:
        super().__init__(f"{what}; {todo}")
        self.code = code
        self.what = what
        self.todo = todo

    def __reduce__(self) -> tuple[type["MedmtlError"], tuple[Code, str, str]]:
        return type(self), (self.code, self.what, self.todo)  # whole, from the process of a worker too

    def line(self, where: str) -> str:
        """`CODE where: what is wrong; what to do`."""
        return f"{self.code} {where}: {self.what}; {self.todo}"


class UsageError(MedmtlError):
    """The call itself is wrong."""


class StudyError(MedmtlError):
    """A study or file cannot be read as it is."""


class GuardError(MedmtlError):
    """The study is readable, but the model must not answer for it."""


class BundleError(MedmtlError):
    """A model folder is damaged, foreign or unsafe."""


class DatasetError(MedmtlError):
    """A training data set has a fault."""


class TrainingError(MedmtlError):
    """A training run cannot start or go on."""


class OutputError(MedmtlError):
    """A result cannot be written, or what was written does not read back the same."""


class PeerError(MedmtlError):
    """Another node of the network cannot be reached, or does not do what it was asked."""


MEANINGS: dict[Code, str] = {
    # what it means; what to do about it. `docs/errors.md` is made from this (`make docs`).
    Code.BAD_OPTION: "an option of the call has a value that cannot be used; correct it, see `--help`",
    Code.NOT_FOUND: "a file, folder or model named in the call does not exist; check the name",
    Code.NO_MODEL_FITS: "no installed model fits the study, or a NIfTI does not say its modality; name one with `-m`",
    Code.MODEL_AMBIGUOUS: "several installed models fit the study; name one with `-m`",
    Code.UNKNOWN_TASK: "the model has no task of this name; `medmtl models show` lists its tasks",
    Code.UNKNOWN_SERIES: "the study has no series of this UID; `medmtl inspect` lists its series",
    Code.NO_DEVICE: "the device asked for is not there; use `--device auto` or `cpu`",
    Code.OUTPUT_OF_ANOTHER_CALL: "the output holds results of another input, model or options; "
    "choose another folder or replace them with `--overwrite`",
    Code.NOT_AN_IMAGE: "the file is neither NIfTI nor a DICOM image; leave it out or convert it",
    Code.EMPTY_INPUT: "nothing that could be read was found; check the path",
    Code.TRUNCATED: "the file ends before its data do; copy or export it again",
    Code.UNREADABLE: "the file is damaged or may not be read; check its permissions or export it again",
    Code.UNSAFE_ARCHIVE: "the archive holds paths outside itself, links or far too much data; "
    "unpack it by hand and look at it",
    Code.TOO_LARGE: "the image needs more memory than is allowed; raise `--max-memory` or use a larger machine",
    Code.UNSUPPORTED_ENCODING: "the pixels are compressed in a way that cannot be decoded; "
    "export the study uncompressed",
    Code.HEADER_REPAIRED: "part of a header had to be told from elsewhere; compare the result with the images",
    Code.NOT_FINITE: "voxels or geometry hold NaN or infinity; export the image again",
    Code.CONSTANT_IMAGE: "all voxels have one value; export the image again",
    Code.BAD_RESCALE: "rescale slope or intercept is zero, not finite or contradictory; export the series again",
    Code.COLOUR_IMAGE: "the image is in colour and holds no measured intensities; use the original series",
    Code.BAD_PIXELS: "the pixel data do not fit rows, columns and bits of the header; export the series again",
    Code.NO_RESCALE: "a CT states no rescale and its values were taken as they are; compare air and water with HU",
    Code.INVERTED_DISPLAY: "the series is stored for inverted display and was read by value; nothing need be done",
    Code.PADDING_MASKED: "padding outside the field of view was set to the lowest value; nothing need be done",
    Code.NOT_THREE_DIMENSIONAL: "the image has fewer than three dimensions; use a volume",
    Code.FOUR_DIMENSIONAL: "the image has more than three dimensions, several phases say; export one of them",
    Code.SINGLE_SLICE: "the series has one slice and is no volume; use a series of several slices",
    Code.MISSING_SLICE: "a gap between the slices says that some are missing; fetch the whole series",
    Code.UNEVEN_SLICES: "the slices lie beside each other, off one line, or at distances that differ too much; use a "
    "series of even spacing",
    Code.SLICES_RESAMPLED: "the slices lie at uneven distances and were interpolated onto even planes; compare the "
    "result with the images where slices are far apart",
    Code.DOUBLED_SLICE: "several different slices lie at one position; export one acquisition or phase",
    Code.TILTED: "the slices are sheared against each other (gantry tilt); answers are found on upright voxels and "
    "come back on the slices, compare them with the images",
    Code.MOSAIC: "the slices are tiled into one picture (mosaic) and its private headers do not tell their places; "
    "export them as slices",
    Code.LOCALIZER: "the series is a localizer; use the diagnostic series",
    Code.MIXED_ORIENTATION: "slices of one series have different orientations; export them as separate series",
    Code.MIXED_SERIES: "the files belong to several series and none was chosen; choose one with `--series`",
    Code.MIXED_PATIENTS: "the files belong to several patients; separate them first",
    Code.MIXED_FRAME_OF_REFERENCE: "slices refer to different frames of reference; export one acquisition",
    Code.MIXED_SPACING: "slices of one series have different pixel spacing; export them as separate series",
    Code.MIXED_MATRIX: "slices of one series have different rows or columns; export them as separate series",
    Code.MISSING_GEOMETRY: "position, orientation or spacing is missing in the header; export the original series",
    Code.BAD_GEOMETRY: "position, orientation or spacing is impossible; export the original series",
    Code.SPACING_CONTRADICTION: "two fields of the header state different spacings; correct the one that is wrong",
    Code.GRID_MISMATCH: "two images that belong together lie on different grids; resample one onto the other",
    Code.CHANNEL_MISSING: "the model needs several images of a case and one is not there; add it as NAME_0001 say",
    Code.CHANNEL_RESAMPLED: "a further channel lay on other voxels and was resampled to the first; check that the "
    "patient did not move between the series",
    Code.DUPLICATE_DROPPED: "the same instance was there more than once and was read once; nothing need be done",
    Code.SLICES_UNVERIFIED: "whether the first and last slices are all there cannot be seen; compare with the archive",
    Code.SERIES_CHOSEN: "the study has several series and one was chosen; check it, or name one with `--series`",
    Code.PHASES_CHOSEN: "end-diastole and end-systole were chosen from a cine, as the phases of the largest and the "
    "smallest cavity found; compare them with the images, or name two phases with `--series`",
    Code.SERIES_SPLIT: "one series holds several volumes (phases, echoes, orientations) and was split; "
    "`medmtl inspect` lists them, `--series UID:NUMBER` names one",
    Code.MODALITY_MISMATCH: "the model was trained on another modality; choose another model, "
    "or pass with `--allow modality-mismatch` at your own risk",
    Code.NOT_HOUNSFIELD: "the values of a CT cannot be Hounsfield units; export it with its rescale tags, "
    "or pass with `--allow not-hounsfield` at your own risk",
    Code.FIELD_OF_VIEW: "the study covers less or other anatomy than the model was trained on; "
    "choose another series, or pass with `--allow field-of-view` at your own risk",
    Code.OUT_OF_DISTRIBUTION: "the image looks unlike what the model was trained on; read the result with caution",
    Code.LESION_OUTSIDE_HOST: "a lesion lies outside the organ it belongs to; look at it in the images",
    Code.CLASS_AGAINST_BURDEN: "the class and the found lesions contradict each other; look at both in the images",
    Code.EMPTY_ORGAN: "an organ that should be there was not found; look at the images",
    Code.DERIVED_UNDEFINED: "a value cannot be computed, since a structure it is divided by was not found; "
    "look at the images",
    Code.DERIVED_IMPLAUSIBLE: "a share computed from the found volumes lies below 0 or above 100 %, so an outline is "
    "wrong or two images are swapped; look at the images",
    Code.ORGAN_TRUNCATED: "an organ reaches the edge of the study and its millilitres are too small; do not quote them",
    Code.UNCERTAIN_DIAGNOSIS: "the probabilities of the classes lie close together; take the class as undecided",
    Code.NOT_A_BUNDLE: "the folder is no model bundle; name a folder with `bundle.yaml`, or a run",
    Code.BUNDLE_DAMAGED: "a file of the bundle is missing or has another checksum; install the bundle again",
    Code.BUNDLE_VERSION: "the bundle was written for another version of the format; update medmtl or the bundle",
    Code.UNSAFE_WEIGHTS: "the weights are no safetensors, a pickle say, and are never loaded; get them as safetensors",
    Code.BAD_DATASET: "`dataset.yaml` or the layout of the data set is wrong; correct what the message names",
    Code.BAD_CASES: "`cases.csv` or the files of a case are wrong; correct what the message names",
    Code.BAD_LABEL_VALUE: "a label map holds a value that `dataset.yaml` does not declare; correct map or declaration",
    Code.NO_PATIENT_COLUMN: "`cases.csv` has no column `patient` and every case counts as a patient; "
    "add it where a patient has several cases",
    Code.PATIENT_IN_TWO_FOLDS: "cases of one patient lie in different folds, so no held-out figure is honest; "
    "give all cases of a patient one fold in `cases.csv`",
    Code.EMPTY_LABEL: "a label occurs in no voxel of a case that counts as annotated for it; "
    "complete the map, or say in `cases.csv` that it was not drawn",
    Code.DUPLICATE_IMAGE: "two cases hold the same image; remove one, or give both the same patient",
    Code.NEAR_DUPLICATE: "two cases hold nearly the same image, shifted or cropped say; "
    "remove one, or give both the same patient and fold",
    Code.SHORTCUT: "a class can be guessed from geometry, padding or a further column of `cases.csv`; "
    "balance it over the classes, or show that the model beats that figure",
    Code.NOT_ANNOTATED: "a case has no label at all and teaches nothing; annotate it or remove its row",
    Code.RARE_CLASS: "a class has too few cases to be learnt or measured; add cases, or merge it with another",
    Code.MIRRORED_SIDES: "the plan mirrors images from side to side although left and right structures are labels of "
    "their own; take the axis out of `flips` and `mirror`",
    Code.UNLISTED_FILE: "a file of the data set belongs to no row of `cases.csv`; add the row or remove the file",
    Code.FAST_WAY: "a case was answered with --fast, which the model's figures do not cover; run it without",
    Code.SEEN_IN_TRAINING: "a case was part of the model's training and cannot be scored with it; use held-out cases",
    Code.CHECKPOINT_MISMATCH: "the checkpoint was made with other settings or data; resume with the same ones, "
    "or start a new run",
    Code.RUN_EXISTS: "the folder holds a run already; go on with `--resume`, or choose another folder",
    Code.NOT_CONVERGING: "the loss is not finite or does not fall; lower the learning rate and check the labels",
    Code.CLASS_COLLAPSE: "the network no longer answers a label or class that the training data have; raise `balanced` "
    "or the task's weight, or train longer",
    Code.NOT_PROMOTED: "the retrained model is not shown to be as good as the one before; use more held-out cases, "
    "train longer, or keep the old model",
    Code.CANNOT_WRITE: "the output cannot be written; check space and permissions",
    Code.OUTPUT_CHECK_FAILED: "what was written does not read back the same; report it with the study's properties",
    Code.NO_DICOM_OUTPUT: "DICOM outputs were asked for and the input is no DICOM; drop these formats, or give DICOM",
    Code.BURNED_IN: "the images are marked as annotated, or were made from others and may be, so a name may stand in "
    "their pixels; blank it in the archive and export them again",
    Code.IDENTITY_LEFT: "a text of the patient's was found in what was about to be written, and nothing was; "
    "report it with the element that the message names",
    Code.EXTRA_MISSING: "the command needs packages that were not installed; install medmtl with the extra it names",
    Code.BAD_SETTINGS: "the settings file is wrong; correct what the message names",
    Code.PEER_UNREACHABLE: "the other node does not answer; check its address, port, AE titles and TLS",
    Code.PEER_REFUSED: "the other node refused what was asked; look at its log for the status that the message names",
    Code.PEER_CANNOT_STORE: "the other node has no such object class or encoding; send by DICOMweb, or leave the "
    "format out of its rule",
    Code.NOT_COMMITTED: "the archive took the objects and does not confirm that it keeps them; look at its log, "
    "then `medmtl queue retry`",
    Code.NO_RULE: "no rule of the settings wants these images; nothing need be done, or add a rule",
    Code.UNKNOWN_JOB: "the queue has no such entry; list it with `medmtl queue list`",
    Code.SUPERSEDES: "more images of the study came in, and this result replaces the one without them; use this one",
    Code.OUT_OF_MEMORY: "the case needs more memory than there is; close other programs, or use `--jobs 1`",
    Code.TIMED_OUT: "nothing happened for a long time, so the case was given up; run it alone with `--debug`",
    Code.WORKER_ENDED: "the process of a case was ended from outside; free memory and run the same command again",
    Code.INTERNAL_ERROR: "medmtl itself failed on this case; report it with the debug log (`--debug`)",
}
