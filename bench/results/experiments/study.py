"""A study: the smallest student that keeps three quarters of the teacher's accuracy."""

from typing import Any

from bench.results.experiments.experiment import Setting


def study(setting: Setting) -> dict[str, Any]:
    """The body of `POST /studies`: students with the teacher's weights, and a small one with random weights."""
    inherited = [{"architecture": name, "initialize": "teacher"} for name in setting.study.students]
    smallest = setting.study.students[0]
    return {
        "teacher": dict(setting.teacher),
        "dataset": setting.data.as_uri(),
        "goal": "smallest",
        "limits": {**setting.study.limits, "precision": "fp32"},
        "students": [smallest, *inherited],
        "method": {"kind": "wttm"},
        "training": {**setting.training, "epochs": setting.study.epochs, "threads": 1},
        "search": {"training.optimizer.learning_rate": list(setting.study.rates)},
        "exports": ["onnx"],
        "seeds": setting.study.seeds,
    }
