"""Inference with a downloaded student."""

import os
from importlib import import_module
from typing import Any, Protocol


class Student(Protocol):
    """A loaded student: its architecture, its classes in the order of its outputs, its preprocessing and its model.

    >>> student = load_student(trained)
    >>> student.architecture, student.class_names
    ('mini/resnet8_025', ['cat', 'dog'])
    """

    architecture: str
    class_names: list[str]
    preprocess: Any
    model: Any

    def predict(self, image: Any) -> Any:
        """Returns class probabilities [B, num_classes] for a PIL image or a batch of images as a tensor.

        >>> load_student(trained).predict(image).shape
        torch.Size([1, 2])
        """
        ...


def load_student(path: str | os.PathLike[str]) -> Student:
    """Loads a student from its file. Raises ImportError without `ttm-core`, which only this function needs.

    >>> student = load_student(trained)
    >>> probabilities = student.predict(image)
    >>> student.class_names[int(probabilities[0].argmax())] in ("cat", "dog")
    True
    """
    try:
        export = import_module("ttm_core.export")
    except ImportError as error:
        raise ImportError(f"load_student needs the engine: pip install 'ttm-client[student]' ({error})") from error
    student: Student = export.load_student(os.fspath(path))
    return student
