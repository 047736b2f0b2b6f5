"""Checks of the files of a series against each other, before anything is put in order, and what is said of them."""

from collections import Counter
from collections.abc import Sequence
from hashlib import file_digest

from medmtl.errors import Code, Notice, StudyError
from medmtl.reading.dicom_header import Instance
from medmtl.reading.dicom_split import Placed


def numbered(fault: StudyError, instances: Sequence[Instance], instance: Instance) -> StudyError:
    """The fault of one file, saying which of the files by name it is; the name itself is not said."""
    total = len(instances)
    if total == 1:
        return fault
    place = sorted(other.path for other in instances).index(instance.path) + 1
    return StudyError(fault.code, f"file {place} of {total} by name: {fault.what}", fault.todo)


def check_alike(instances: Sequence[Instance]) -> None:
    """One patient, study, kind of object, polarity and frame of reference (0020,0052).

    Raises:
        StudyError: `mixed-patients`, `mixed-series`, `mixed-frame-of-reference`.
    """
    checks = (
        (Code.MIXED_PATIENTS, "patient", {i.patient for i in instances}),
        (Code.MIXED_SERIES, "study", {i.study_uid for i in instances}),
        (Code.MIXED_SERIES, "modality or kind of object", {(i.modality, i.sop_class_uid) for i in instances}),
        (Code.MIXED_SERIES, "polarity of the pixels", {i.photometric for i in instances}),
        (Code.MIXED_FRAME_OF_REFERENCE, "frame of reference", {i.frame_of_reference_uid for i in instances}),
    )
    for code, what, values in checks:
        if len(values) > 1:
            raise StudyError(code, f"the images of one series differ in {what}", "give each part alone")


def check_matrix(placed: Sequence[Placed], instances: Sequence[Instance]) -> None:
    """One number of Rows (0028,0010) and of Columns (0028,0011).

    Args:
        placed: the planes of one orientation.
        instances: all of the series.

    Raises:
        StudyError: `mixed-matrix`.
    """
    counts = Counter((instance.rows, instance.columns) for instance, _ in placed)
    if len(counts) > 1:
        rare = counts.most_common()[-1][0]
        odd = next(instance for instance, _ in placed if (instance.rows, instance.columns) == rare)
        what = f"{rare[0]} x {rare[1]} pixels, unlike other images of the series"
        raise numbered(StudyError(Code.MIXED_MATRIX, what, "give each part alone"), instances, odd)


def check_complete(placed: Sequence[Placed], instances: Sequence[Instance]) -> None:
    """Position, orientation and pixel spacing of every image.

    Raises:
        StudyError: `missing-geometry`.
    """
    for keyword in ("position", "orientation", "pixel_spacing"):
        lacking = [instance for instance, plane in placed if getattr(plane, keyword) is None]
        if lacking:
            what = f"{len(lacking)} of {len(placed)} images have no {keyword.replace('_', ' ')}"
            fault = StudyError(Code.MISSING_GEOMETRY, what, "export the series with its geometry")
            raise fault if len(lacking) == len(placed) else numbered(fault, instances, lacking[0])


def without_copies(instances: Sequence[Instance]) -> tuple[list[Instance], tuple[Notice, ...]]:
    """The instances without byte-for-byte copies of one SOP Instance UID (0008,0018), and a notice where some were."""
    counts = Counter(instance.instance_uid for instance in instances)
    kept: list[Instance] = []
    seen: set[tuple[str, str]] = set()
    for instance in sorted(instances, key=lambda one: one.path):
        if instance.instance_uid and counts[instance.instance_uid] > 1:
            with instance.path.open("rb") as stream:
                key = (instance.instance_uid, file_digest(stream, "sha256").hexdigest())
            if key in seen:
                continue
            seen.add(key)
        kept.append(instance)
    dropped = len(instances) - len(kept)
    return kept, ((dropped_notice(dropped),) if dropped else ())


def dropped_notice(count: int) -> Notice:
    """That slices which were there already were left out."""
    return Notice(code=Code.DUPLICATE_DROPPED, text=f"{count} copy or copies of slices already there were left out")


def value_notices(instances: Sequence[Instance]) -> tuple[Notice, ...]:
    """What may be misunderstood of the values: an inverted display, numbers that may not be Hounsfield units."""
    notices = []
    if instances[0].photometric == "MONOCHROME1":
        text = "MONOCHROME1: the values are used as stored, the display is inverted"
        notices.append(Notice(code=Code.INVERTED_DISPLAY, text=text))
    if instances[0].modality == "CT":
        text = ""
        if not all(one.rescaled for one in instances):
            text = "no rescale slope: the values may not be Hounsfield units"
        elif any(one.rescale_unit not in ("", "HU") for one in instances):
            text = "the rescale type is not HU: the values may not be Hounsfield units"
        notices += [Notice(code=Code.NO_RESCALE, text=text)] if text else []
    return tuple(notices)


def count_notices(instances: Sequence[Instance]) -> tuple[Notice, ...]:
    """A missing first or last slice leaves no gap: only counts can tell."""
    if any(len(instance.planes) > 1 for instance in instances):
        return ()
    numbers = sorted(one.instance_number for one in instances if one.instance_number is not None)
    announced = max((one.images_in_acquisition or 0 for one in instances), default=0)
    whole = numbers == list(range(1, len(instances) + 1))
    if whole and announced <= len(instances):
        return ()
    text = "the image numbers do not rule out that a first or last slice is missing"
    return (Notice(code=Code.SLICES_UNVERIFIED, text=text),)
