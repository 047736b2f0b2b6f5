"""Findings to a DICOM structured report: Comprehensive 3D SR, TID 1500 Measurement Report (PS3.16)."""

import warnings
from collections.abc import Mapping
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as Concept

from medmtl import __version__
from medmtl.outputs.dicom_seg import ANY_LESION, SERIES_NUMBER, concept_of
from medmtl.outputs.dicom_source import MANUFACTURER, SourceStudy, described, settle
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


def report(result: CaseResult, source: SourceStudy, seg: Dataset, segments: tuple[Structure, ...]) -> Dataset:
    """A Comprehensive 3D SR: volume of every segment, size of every lesion, classes with their probabilities.

    Each measurement group refers to its segment of `seg`; a lesion's group to the segment that holds most of it.

    Raises:
        ValueError, AttributeError, KeyError, TypeError: the source headers cannot carry a report.
    """
    writer = _Writer(result, source, seg)
    groups: list[Any] = [writer.structure(segment) for segment in segments]
    for item in (result.findings.get("lesions") or {}).get("items", []):
        group = writer.lesion(item, segments)
        if group is not None:
            groups.append(group)
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
            evidence=[*source.headers, seg],
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
    for task in result.tasks:
        probabilities = tasks.get(task.name, {}).get("values", {}).get("probabilities", {})
        if not task.is_voxel:
            numbers.extend(probabilities[label.name] for label in task.labels if probabilities)
    return np.array([number for number in numbers if number is not None], dtype=np.float64)


class _Writer:
    """Measurement groups of one case."""

    def __init__(self, result: CaseResult, source: SourceStudy, seg: Dataset) -> None:
        self._result = result
        self._source = source
        self._seg = seg
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

    def structure(self, segment: Structure) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
        """Volume of one whole segment."""
        values = self._result.findings["tasks"][segment.task]["values"][segment.label.name]
        hosts = {task.name: task.inside for task in self._result.tasks}
        tracking = self._tracking(
            f"{segment.task}.{segment.label.name}", f"segment|{segment.task}|{segment.label.name}"
        )
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            referenced_segment=self._segment(segment),
            finding_type=concept_of(segment),
            algorithm_id=self._algorithm,
            finding_sites=self._host(hosts[segment.task]),
            measurements=[self._measure(VOLUME, values["ml"], MILLILITRE)],
        )

    def lesion(
        self, item: Mapping[str, Any], segments: tuple[Structure, ...]
    ) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | None:
        """Volume and axes of one lesion, pointing at the segment that holds most of it."""
        shares = item["ml_by_label"]
        held = [s for s in segments if s.is_lesion and shares.get(s.label.name, 0.0) > 0.0]
        if not held:
            return None
        main = max(held, key=lambda s: (shares[s.label.name], -s.number))
        measured = [
            (VOLUME, "ml", MILLILITRE),
            (LONG_AXIS, "long_axis_mm", MILLIMETRE),
            (SHORT_AXIS, "short_axis_mm", MILLIMETRE),
        ]
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(f"Lesion {item['id']}", f"lesion|{item['id']}"),
            referenced_segment=self._segment(main),
            finding_type=ANY_LESION if len(held) > 1 else concept_of(main),
            algorithm_id=self._algorithm,
            finding_sites=self._host(item.get("host")),
            measurements=[
                self._measure(name, item[key], unit) for name, key, unit in measured if item[key] is not None
            ],
        )

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

    def _segment(self, segment: Structure) -> hd.sr.ReferencedSegment:
        # a whole segment: frames may not be named beside a segment (PS3.3 C.17.3 wants one or the other)
        return hd.sr.ReferencedSegment(
            sop_class_uid=self._seg.SOPClassUID,
            sop_instance_uid=self._seg.SOPInstanceUID,
            segment_number=segment.number,
            source_series=hd.sr.SourceSeriesForSegmentation(self._source.headers[0].SeriesInstanceUID),
        )

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


def _concept(label: Label) -> Concept:
    if label.code is None:
        return Concept(label.name[:16], PRIVATE_SCHEME, label.title("en")[:64])
    return Concept(label.code.value, label.code.scheme, label.code.meaning)
