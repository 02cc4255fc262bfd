"""Computes the tables of a damage report from per-image predictions. Without NumPy, for the engine and the API."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ttm_core.spec.damage.predictions import ModelPredictions
from ttm_core.spec.damage.schema import (
    Calibration,
    CalibrationBin,
    ClassDamage,
    Confusion,
    DamageTables,
    Outcome,
)

MAX_CLASSES, MAX_CONFUSIONS = 1000, 50
_BINS = 15
_Z = 1.96


def tabulate(
    labels: Sequence[int],
    student: ModelPredictions,
    reference: ModelPredictions,
    class_names: Sequence[str],
    *,
    labelled: bool,
) -> DamageTables:
    """The tables of a student against a reference on the same images.

    Args:
        labels: class of each image: its label, or the reference's class for images without labels.
        labelled: whether `labels` are the dataset's.
    """
    classes = _classes(labels, student.classes, reference.classes, class_names) if labelled else []
    grown = _confusions(labels, student.classes, reference.classes)
    outcomes = Counter(outcomes_of(labels, student.classes, reference.classes, labelled=labelled))
    names: tuple[Outcome, ...] = ("lost", "gained", "both_wrong") if labelled else ("disagreement",)
    return DamageTables(
        images=len(labels),
        outcomes={name: outcomes[name] for name in names},
        class_count=len(classes),
        classes=classes[:MAX_CLASSES],
        confusion_count=len(grown),
        confusions=[
            Confusion(label=class_names[label], predicted=class_names[predicted], reference=before, student=after)
            for (label, predicted), before, after in grown[:MAX_CONFUSIONS]
        ],
        student_calibration=_calibration(labels, student) if labelled else None,
        reference_calibration=_calibration(labels, reference) if labelled else None,
    )


def outcomes_of(
    labels: Iterable[int], student: Iterable[int], reference: Iterable[int], *, labelled: bool
) -> Iterator[Outcome | None]:
    """The outcome of each image; None if both models are right, or agree on an image without a label."""
    for label, ours, theirs in zip(labels, student, reference, strict=True):
        if not labelled:
            yield None if ours == theirs else "disagreement"
        elif ours == label:
            yield None if theirs == label else "gained"
        else:
            yield "lost" if theirs == label else "both_wrong"


def retention_interval(both: int, student_only: int, reference_only: int) -> tuple[float, float]:
    """The 95 % hybrid Wilson score interval of the ratio of two paired proportions.

    Bonett and Price, "Confidence intervals for a ratio of binomial proportions based on paired data", Statistics in
    Medicine 25 (2006). Images that neither model has right carry no information about the ratio.

    Args:
        both: images that both models have right.
        student_only: images that only the student has right.
        reference_only: images that only the reference has right.

    Returns:
        Lower and upper end of the student's accuracy divided by the reference's. The upper end is infinite if the
        reference has no image right.
    """
    total = both + student_only + reference_only
    ours, theirs = both + student_only, both + reference_only
    if theirs == 0:
        return 0.0, math.inf
    spread = math.sqrt((student_only + reference_only + 2) / ((ours + 1) * (theirs + 1)))
    parts = [math.sqrt((1 - (count + 1) / (total + 2)) / (count + 1)) for count in (ours, theirs)]
    z = _Z * spread / sum(parts)
    (low, high), (their_low, their_high) = _wilson(ours, total, z), _wilson(theirs, total, z)
    return low / their_high, high / their_low


def _wilson(count: int, total: int, z: float) -> tuple[float, float]:
    middle, margin = 2 * count + z**2, z * math.sqrt(z**2 + 4 * count * (1 - count / total))
    return (middle - margin) / (2 * (total + z**2)), (middle + margin) / (2 * (total + z**2))


def _classes(
    labels: Sequence[int], student: Sequence[int], reference: Sequence[int], class_names: Sequence[str]
) -> list[ClassDamage]:
    """Lowest retention first; classes without a retention last."""
    counts = Counter(
        (label, ours == label, theirs == label) for label, ours, theirs in zip(labels, student, reference, strict=True)
    )
    rows = []
    for label, name in enumerate(class_names):
        both, student_only = counts[label, True, True], counts[label, True, False]
        reference_only, neither = counts[label, False, True], counts[label, False, False]
        images = both + student_only + reference_only + neither
        if not images:
            continue
        retention = low = high = None
        if both + reference_only:
            retention = _percent((both + student_only) / (both + reference_only))
            low, high = map(_percent, retention_interval(both, student_only, reference_only))
        rows.append(
            ClassDamage(
                name=name,
                images=images,
                student_correct=both + student_only,
                reference_correct=both + reference_only,
                retention_percent=retention,
                retention_low=low,
                retention_high=high,
            )
        )
    return sorted(rows, key=_by_retention)


def _by_retention(row: ClassDamage) -> tuple[float, int, str]:
    retention = math.inf if row.retention_percent is None else row.retention_percent
    return retention, row.student_correct - row.reference_correct, row.name


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _confusions(
    labels: Sequence[int], student: Sequence[int], reference: Sequence[int]
) -> list[tuple[tuple[int, int], int, int]]:
    """Pairs (label, predicted) that grew, with the reference's and the student's count; largest growth first."""
    before, after = (
        Counter(pair for pair in zip(labels, predicted, strict=True) if pair[0] != pair[1])
        for predicted in (reference, student)
    )
    grown = [(pair, before[pair], count) for pair, count in after.items() if count > before[pair]]
    return sorted(grown, key=lambda each: (each[1] - each[2], -each[2], each[0]))


def _calibration(labels: Sequence[int], model: ModelPredictions) -> Calibration:
    images, right, confidence = [0] * _BINS, [0] * _BINS, [0.0] * _BINS
    for label, predicted, probability in zip(labels, model.classes, model.probabilities, strict=True):
        # Bins are open below and closed above: a probability of 1 is in the last one.
        number = min(max(math.ceil(probability * _BINS) - 1, 0), _BINS - 1)
        images[number] += 1
        right[number] += predicted == label
        confidence[number] += probability
    bins = [
        CalibrationBin(
            low=round(number / _BINS, 4),
            high=round((number + 1) / _BINS, 4),
            images=count,
            confidence=round(confidence[number] / count, 6) if count else None,
            accuracy=round(right[number] / count, 6) if count else None,
        )
        for number, count in enumerate(images)
    ]
    error = sum(abs(sums - hits) for sums, hits in zip(confidence, right, strict=True)) / max(len(labels), 1)
    return Calibration(error=round(error, 6), bins=bins)
