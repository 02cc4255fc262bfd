"""A study: the smallest student that keeps three quarters of the teacher's accuracy."""

from typing import Any

from bench.results.experiments.experiment import Setting


def study(setting: Setting) -> dict[str, Any]:
    """The body of `POST /studies`: students from random weights, with the teacher's weights, and cut out of it."""
    inherited = [{"architecture": name, "initialize": "teacher"} for name in setting.study.students]
    return {
        "teacher": dict(setting.teacher),
        "dataset": setting.data.as_uri(),
        "goal": "smallest",
        "limits": dict(setting.study.limits),
        "students": [*setting.study.students, *inherited, {"prune": {"macs": 0.15}}],
        "method": {"kind": "wttm"},
        "training": {**setting.training, "epochs": setting.study.epochs, "threads": 1},
        "exports": ["onnx"],
        "seeds": setting.study.seeds,
    }
