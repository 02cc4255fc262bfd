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
    variants = [Variant("ce", {"method": {"kind": "ce"}, "teacher": None})]
    for kind in setting.methods:
        field, default = MAIN_WEIGHTS[kind]
        grid = [{f"method.{field}": round(default * factor, 6)} for factor in setting.factors]
        variants.append(Variant(kind, {"method": {"kind": kind}}, grid))
    return Experiment("methods", base(setting), variants, setting.seeds, reference="kd")
