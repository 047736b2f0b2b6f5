"""`diagnosis`: the class, its probabilities, and what the truth of the training rested on."""

from typing import Any

from medmtl.answers import Answers
from medmtl.task import Kind

NAME = "diagnosis"
LEAST_CHANGE = 0.005  # of the probability, to be worth a line


def view(answers: Answers) -> dict[str, Any] | None:
    """The most probable class with every class's probability."""
    task = answers.task(NAME)
    if task is None or task.kind not in (Kind.CLASSIFICATION, Kind.ORDINAL) or NAME not in answers.case:
        return None
    probabilities = answers.case[NAME]
    best = task.labels[int(probabilities.argmax())]
    return {
        "class": best.name,
        "title": {"en": best.title("en"), "zh": best.title("zh")},
        "probabilities": {label.name: round(float(p), 6) for label, p in zip(task.labels, probabilities, strict=True)},
        "calibrated": NAME in answers.calibration.classes,
        "prediction_set": answers.prediction_set(task),
        "influence": [
            {"structure": name, "change": round(gain, 4)}
            for name, gain in sorted(answers.influence.get(NAME, {}).items(), key=lambda item: (-abs(item[1]), item[0]))
            if abs(gain) >= LEAST_CHANGE
        ],
        "basis": task.basis,
    }
