"""Findings to a DICOM structured report: Comprehensive 3D SR, TID 1500 Measurement Report (PS3.16)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as Concept

from medmtl import __version__
from medmtl.outputs.dicom_seg import ANY_LESION, SERIES_NUMBER, concept_of
from medmtl.outputs.dicom_source import MANUFACTURER, SourceStudy, described, settle
from medmtl.outputs.quantities import derived_concept, finding_site, unit_concept
from medmtl.outputs.structures import Structure
from medmtl.result import CaseResult
from medmtl.shapes import FloatArray
from medmtl.task import Label, Task

VOLUME = Concept("118565006", "SCT", "Volume")
LONG_AXIS = Concept("103339001", "SCT", "Long axis")
SHORT_AXIS = Concept("103340004", "SCT", "Short axis")
DIAGNOSIS = Concept("439401001", "SCT", "Diagnosis")
PROBABILITY = Concept("122157", "DCM", "Probability")
MILLILITRE = Concept("mL", "UCUM", "milliliter")
MILLIMETRE = Concept("mm", "UCUM", "millimeter")
NO_UNITS = Concept("1", "UCUM", "no units")
REPORTED = {
    "CT": Concept("77477000", "SCT", "Computerized axial tomography"),
    "MR": Concept("113091000", "SCT", "Magnetic resonance imaging"),
}
IMAGING = Concept("363679005", "SCT", "Imaging procedure")
PRIVATE_SCHEME = "99MEDMTL"


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmented:
    """A segmentation that a report refers to: the series it was drawn on, the object, what is in it."""

    source: SourceStudy
    seg: Dataset
    segments: tuple[Structure, ...]


def report(
    result: CaseResult,
    source: SourceStudy,
    seg: Dataset,
    segments: tuple[Structure, ...],
    further: Sequence[Segmented] = (),
) -> Dataset:
    """A Comprehensive 3D SR: volume of every segment, size of every lesion, derived values, classes with probabilities.

    Each measurement group refers to its segment of `seg`, or of one of `further`, which are drawn on other series of
    the study; a lesion's group to the segment that holds most of it.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry a report.
    """
    parts = [Segmented(source=source, seg=seg, segments=segments), *further]
    writer = _Writer(result, source)
    groups: list[Any] = [writer.structure(segment, part) for part in parts for segment in part.segments]
    for item in (result.findings.get("lesions") or {}).get("items", []):
        group = writer.lesion(item, parts)
        if group is not None:
            groups.append(group)
    groups.extend(group for task in result.tasks for group in writer.derived(task))
    groups.extend(group for task in result.tasks if not task.is_voxel for group in writer.case_level(task))
    allowed = result.findings.get("allowed", [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source's own values, such as a name without ^
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=writer.observer()),
            procedure_reported=REPORTED.get(result.volume.modality or "", IMAGING),
            imaging_measurements=groups,
            title=Concept("126000", "DCM", "Imaging Measurement Report"),
        )
        sr = hd.sr.Comprehensive3DSR(
            evidence=[one for part in parts for one in (*part.source.headers, part.seg)],
            content=content,
            series_instance_uid=source.uid("sr-series"),
            series_number=SERIES_NUMBER + 1,
            sop_instance_uid=source.uid("sr"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            software_versions=__version__,
            manufacturer_model_name=str(result.findings["model"]["name"])[:64],
            content_date=source.date,
            content_time=source.time,
        )
        settle(sr, source, described("report", allowed))
    return sr


def expected_numbers(result: CaseResult, segments: tuple[Structure, ...]) -> FloatArray:
    """What a report must hold, straight from the findings and in document order."""
    tasks = result.findings["tasks"]
    numbers = [tasks[segment.task]["values"][segment.label.name]["ml"] for segment in segments]
    written = {segment.label.name for segment in segments if segment.is_lesion}
    for item in (result.findings.get("lesions") or {}).get("items", []):
        if any(ml > 0.0 and name in written for name, ml in item["ml_by_label"].items()):
            numbers.extend(item[key] for key in ("ml", "long_axis_mm", "short_axis_mm"))
    numbers.extend(row["value"] for task in result.tasks for row in tasks.get(task.name, {}).get("derived", ()))
    for task in result.tasks:
        probabilities = tasks.get(task.name, {}).get("values", {}).get("probabilities", {})
        if not task.is_voxel:
            numbers.extend(probabilities[label.name] for label in task.labels if probabilities)
    return np.array([number for number in numbers if number is not None], dtype=np.float64)


class _Writer:
    """Measurement groups of one case."""

    def __init__(self, result: CaseResult, source: SourceStudy) -> None:
        self._result = result
        self._source = source
        model = result.findings["model"]
        self._algorithm = hd.sr.AlgorithmIdentification(
            name=f"medmtl {model['name']}",
            version=str(model["version"]),
            parameters=[f"model SHA-256 {model['sha256']}"],
        )

    def observer(self) -> hd.sr.ObserverContext:
        """The device that observed, named as what it is."""
        device = hd.sr.DeviceObserverIdentifyingAttributes(
            uid=self._source.uid("observer"),
            name="medmtl, research use only, not for diagnosis",
            manufacturer_name=MANUFACTURER,
            model_name=str(self._result.findings["model"]["name"]),
            serial_number=str(self._result.findings["model"]["version"]),
        )
        return hd.sr.ObserverContext(
            observer_type=Concept("121007", "DCM", "Device"), observer_identifying_attributes=device
        )

    def structure(
        self, segment: Structure, part: Segmented
    ) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
        """Volume of one whole segment."""
        values = self._result.findings["tasks"][segment.task]["values"][segment.label.name]
        hosts = {task.name: task.inside for task in self._result.tasks}
        tracking = self._tracking(
            f"{segment.task}.{segment.label.name}", f"segment|{segment.task}|{segment.label.name}"
        )
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            referenced_segment=_referenced(segment, part),
            finding_type=concept_of(segment),
            algorithm_id=self._algorithm,
            finding_sites=self._host(hosts[segment.task]),
            measurements=[self._measure(VOLUME, values["ml"], MILLILITRE)],
        )

    def lesion(
        self, item: Mapping[str, Any], parts: Sequence[Segmented]
    ) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | None:
        """Volume and axes of one lesion, pointing at the segment that holds most of it."""
        shares = item["ml_by_label"]
        held = [
            (s, part) for part in parts for s in part.segments if s.is_lesion and shares.get(s.label.name, 0.0) > 0.0
        ]
        if not held:
            return None
        main, home = max(held, key=lambda pair: (shares[pair[0].label.name], -pair[0].number))
        measured = [
            (VOLUME, "ml", MILLILITRE),
            (LONG_AXIS, "long_axis_mm", MILLIMETRE),
            (SHORT_AXIS, "short_axis_mm", MILLIMETRE),
        ]
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(f"Lesion {item['id']}", f"lesion|{item['id']}"),
            referenced_segment=_referenced(main, home),
            finding_type=ANY_LESION if len(held) > 1 else concept_of(main),
            algorithm_id=self._algorithm,
            finding_sites=self._host(item.get("host")),
            measurements=[
                self._measure(name, item[key], unit) for name, key, unit in measured if item[key] is not None
            ],
        )

    def derived(self, task: Task) -> list[hd.sr.MeasurementsAndQualitativeEvaluations]:
        """Each derived value of a task that could be computed, with its unit and code."""
        rows = self._result.findings["tasks"].get(task.name, {}).get("derived", ())
        known = {one.name: one for one in task.derived}
        return [
            hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=self._tracking(f"{task.name}.{row['name']}", f"derived|{task.name}|{row['name']}"),
                algorithm_id=self._algorithm,
                finding_sites=finding_site(task, known[row["name"]], self._result),
                measurements=[
                    self._measure(
                        derived_concept(known[row["name"]], self._result.volume.modality),
                        row["value"],
                        unit_concept(row["unit"]),
                    )
                ],
            )
            for row in rows
            if row["value"] is not None and row["name"] in known
        ]

    def case_level(self, task: Task) -> list[Any]:
        """The class and the probability of every class of a case-level task."""
        values = self._result.findings["tasks"].get(task.name, {}).get("values", {})
        probabilities = values.get("probabilities")
        if not probabilities:
            return []
        groups = []
        chosen = [values["class"]] if "class" in values else values.get("present", [])
        word = self._result.findings.get("review", {}).get("classes", {}).get(task.name)
        if word is not None and word["decision"] != "accepted":  # probabilities are the model's, the diagnosis not
            chosen = [word["class"]]
        for label in task.labels:
            said = [hd.sr.QualitativeEvaluation(DIAGNOSIS, _concept(label))] if label.name in chosen else None
            groups.append(
                hd.sr.MeasurementsAndQualitativeEvaluations(
                    tracking_identifier=self._tracking(f"{task.name}.{label.name}", f"class|{task.name}|{label.name}"),
                    finding_type=_concept(label),
                    algorithm_id=self._algorithm,
                    measurements=[self._measure(PROBABILITY, probabilities[label.name], NO_UNITS)],
                    qualitative_evaluations=said,
                )
            )
        return groups

    def _tracking(self, name: str, role: str) -> hd.sr.TrackingIdentifier:
        return hd.sr.TrackingIdentifier(uid=self._source.uid(role), identifier=name)

    def _host(self, host: str | None) -> list[hd.sr.FindingSite] | None:
        if host is None:
            return None
        task_name, label_name = host.split(".", 1)
        for task in self._result.tasks:
            if task.name == task_name:
                return [hd.sr.FindingSite(anatomic_location=_concept(task.label(label_name)))]
        return None

    def _measure(self, name: Concept, value: float, unit: Concept) -> hd.sr.Measurement:
        return hd.sr.Measurement(name=name, value=float(value), unit=unit)


def _referenced(segment: Structure, part: Segmented) -> hd.sr.ReferencedSegment:
    # a whole segment: frames may not be named beside a segment (PS3.3 C.17.3 wants one or the other)
    return hd.sr.ReferencedSegment(
        sop_class_uid=part.seg.SOPClassUID,
        sop_instance_uid=part.seg.SOPInstanceUID,
        segment_number=segment.number,
        source_series=hd.sr.SourceSeriesForSegmentation(part.source.headers[0].SeriesInstanceUID),
    )


def _concept(label: Label) -> Concept:
    if label.code is None:
        return Concept(label.name[:16], PRIVATE_SCHEME, label.title("en")[:64])
    return Concept(label.code.value, label.code.scheme, label.code.meaning)
