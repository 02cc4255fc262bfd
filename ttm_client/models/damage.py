"""Typed responses about damage reports and predictions."""

from ttm_client.models.base import ApiModel


class ClassDamage(ApiModel):
    """Top-1 of a class. `retention_percent` is the student's accuracy in % of the reference's, with its 95 % interval
    from `retention_low` to `retention_high`; None if the reference has no image right.

    >>> worst = client.jobs.damage(distilled).classes[0]
    >>> worst.images, worst.student_correct < worst.reference_correct
    (40, True)
    """

    name: str
    images: int
    student_correct: int
    reference_correct: int
    retention_percent: float | None
    retention_low: float | None
    retention_high: float | None


class Confusion(ApiModel):
    """The number of images of class `label` that the student and the reference predict as class `predicted`.

    >>> confusion = client.jobs.damage(distilled).confusions[0]
    >>> confusion.student > confusion.reference
    True
    """

    label: str
    predicted: str
    reference: int
    student: int


class CalibrationBin(ApiModel):
    """Images whose predicted class has a probability above `low`, up to `high`.

    >>> curve = client.jobs.damage(distilled).student_calibration
    >>> sum(each.images for each in curve.bins)
    200
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


class Calibration(ApiModel):
    """A reliability curve and its expected calibration error.

    >>> curve = client.jobs.damage(distilled).student_calibration
    >>> len(curve.bins), 0 <= curve.error <= 1
    (15, True)
    """

    error: float
    bins: list[CalibrationBin]


class DamageReport(ApiModel):
    """What a student lost against its teacher, or against the student of another job (`reference_job`). `outcomes`
    counts images by outcome: `lost` means that the reference is right and the student wrong.

    >>> report = client.jobs.damage(distilled)
    >>> report.reference, report.images, list(report.outcomes)
    ('teacher', 200, ['lost', 'gained', 'both_wrong'])
    """

    job: str
    reference: str
    reference_job: str | None
    split: str
    against: str
    data: str
    images: int
    outcomes: dict[str, int]
    class_count: int
    classes: list[ClassDamage]
    confusion_count: int
    confusions: list[Confusion]
    student_calibration: Calibration | None
    reference_calibration: Calibration | None
    gallery_count: int


class Guess(ApiModel):
    """A predicted class and its probability.

    >>> image = next(client.jobs.damage_images(distilled))
    >>> len(image.student), 0 <= image.student[0].probability <= 1
    (3, True)
    """

    name: str
    probability: float


class DamageImage(ApiModel):
    """An image of the gallery with the most probable classes of both models. `label` is None without labels.

    >>> image = next(client.jobs.damage_images(distilled, outcome="lost"))
    >>> image.reference[0].name == image.label != image.student[0].name
    True
    """

    number: int
    image: int
    outcome: str
    label: str | None
    student: list[Guess]
    reference: list[Guess]
    side: int
    href: str


class ModelPrediction(ApiModel):
    """The five most probable classes of one model, and its median latency for one image in ms.

    >>> student, *others = client.jobs.predict(distilled, photo).models
    >>> student.model, [other.model for other in others]
    ('student', ['student_fp16', 'student_int8', 'teacher'])
    """

    model: str
    file: str
    top: list[Guess]
    latency_ms: float
    runs: int


class Prediction(ApiModel):
    """The answers of a job's models to one image.

    >>> answer = client.jobs.predict(distilled, photo)
    >>> answer.width, answer.height, answer.threads
    (24, 24, 1)
    """

    width: int
    height: int
    threads: int
    models: list[ModelPrediction]
