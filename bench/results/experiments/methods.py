"""Which method: cross-entropy and six methods of distillation, each with its main weight tuned."""

from typing import Any

from bench.results.experiments.experiment import Experiment, Setting, Variant

MAIN_WEIGHTS = {
    "kd": ("kd_weight", 0.9),
    "ttm": ("beta", 8.0),
    "wttm": ("beta", 2.0),
    "dkd": ("weight", 1.0),
    "dist": ("weight", 1.0),
    "wkd": ("weight", 200.0),
}
"""The field of each method that balances teacher and labels, with its default."""


_DECIDED = ("dkd", "dist", "wkd")
"""Methods whose default weight depends on the number of steps: its value here is the published one."""


def base(setting: Setting) -> dict[str, Any]:
    """A job of the setting with the default method."""
    return {
        "teacher": dict(setting.teacher),
        "student": setting.student,
        "dataset": setting.data.as_uri(),
        "method": {"kind": "wttm", "beta": MAIN_WEIGHTS["wttm"][1]},
        "exports": [],
        "training": {**setting.training, "threads": 1},
    }


def methods(setting: Setting) -> Experiment:
    """The factors times the default of the main weight are tried for each method."""
    variants = [_LABELS]
    for kind in setting.methods:
        grid = [_weight(kind, factor) for factor in setting.factors]
        variants.append(Variant(kind, {"method": {"kind": kind}}, grid))
    return Experiment("methods", base(setting), variants, setting.seeds, reference="kd")


def default_weights(setting: Setting) -> Experiment:
    """The same methods at their default weights. Runs that `methods` made are not repeated."""
    variants = [
        Variant(kind, {"method": {"kind": kind}, **({} if kind in _DECIDED else _weight(kind, 1.0))})
        for kind in setting.methods
    ]
    return Experiment("default_weights", base(setting), [_LABELS, *variants], min(setting.seeds, 3), reference="ce")


_LABELS = Variant("ce", {"method": {"kind": "ce"}, "teacher": None})


def _weight(kind: str, factor: float) -> dict[str, float]:
    field, default = MAIN_WEIGHTS[kind]
    return {f"method.{field}": round(default * factor, 6)}
