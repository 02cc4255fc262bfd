"""Example bodies of POST /jobs. Each is valid once its upload exists."""

from fastapi.openapi.models import Example

_UPLOAD = "upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"

SPECS: dict[str, Example] = {
    "three strings": {
        "summary": "Teacher, student and dataset; all other fields have defaults",
        "value": {"teacher": _UPLOAD, "student": "resnet18", "dataset": "file:///data/pets"},
    },
    "method and training": {
        "summary": "WTTM with a custom temperature, and custom training options",
        "value": {
            "name": "pets, smaller",
            "teacher": {"checkpoint": _UPLOAD, "architecture": "resnet50", "num_classes": 37},
            "student": {"architecture": "resnet18", "image_size": 160},
            "dataset": {"uri": "file:///data/pets", "validation": {"share": 0.1}},
            "method": {"kind": "wttm", "beta": 2.0, "temperature": 5.0},
            "training": {"epochs": 20, "batch_size": 64, "seed": 1},
        },
    },
    "labels alone": {
        "summary": "Training on labels only (cross-entropy), without a teacher",
        "value": {"student": "resnet18", "dataset": "file:///data/pets", "method": "ce"},
    },
}
