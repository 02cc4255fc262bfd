"""The same distillation by other libraries, and the cost of equal accuracy."""

from importlib.util import find_spec

from bench.results.experiments.experiment import Contender, Experiment, Setting, Variant
from bench.results.experiments.methods import base


def peers(setting: Setting) -> Experiment:
    """KD with its default weights by every contender, in fewer epochs because the others run the teacher at every step.

    Ours runs with an empty store, with a full one, and shorter with a student that starts with the teacher's weights.
    """
    epochs = max(setting.training["epochs"] * 2 // 5, 1)
    short = {**setting.training, "epochs": epochs}
    inherited = {
        "student": {"architecture": setting.student, "initialize": "teacher"},
        "training.epochs": max(epochs // 2, 1),
    }
    contenders: list[Contender] = ["timm", "torchdistill"]
    variants = [
        Variant("plain loop", contender="plain"),
        # `make results` installs torchdistill, which is not in the environment.
        *(Variant(name, contender=name) for name in contenders if find_spec(name) is not None),
        Variant("ours, first job", cold=True),
        Variant("ours, later jobs"),
        Variant(f"ours, inherited weights, {inherited['training.epochs']} epochs, first job", inherited, cold=True),
    ]
    spec = {**base(setting), "method": {"kind": "kd"}, "training": {**short, "threads": 1}}
    return Experiment("peers", spec, variants, setting.seeds, reference="plain loop")
