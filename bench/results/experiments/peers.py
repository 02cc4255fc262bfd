"""The same distillation by other libraries, and the cost of equal accuracy."""

from importlib.util import find_spec

from bench.results.experiments.experiment import Contender, Experiment, Setting, Variant
from bench.results.experiments.methods import MAIN_WEIGHTS, base


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


def equal_accuracy(setting: Setting) -> Experiment:
    """The cost of the accuracy that another library reaches at full length with its usual recipe.

    Ours are the shortest runs found that reach it: few views, small batches, AdamW, and wttm. The plain loop with the
    same recipe shows what the recipe is worth without the service.
    """
    ours = {"method": {"kind": "wttm", "beta": MAIN_WEIGHTS["wttm"][1]}, "training": dict(setting.fast, threads=1)}
    inherited = {
        **ours,
        "student": {"architecture": setting.student, "initialize": "teacher"},
        "training": dict(setting.fastest, threads=1),
    }
    recipe = {"training": ours["training"]}
    reference: Contender = "torchdistill" if find_spec("torchdistill") is not None else "plain"
    epochs, fewer = setting.fast["epochs"], setting.fastest["epochs"]
    variants = [
        Variant(f"{reference}, {setting.training['epochs']} epochs", contender=reference),
        Variant(f"plain loop, our recipe, {epochs} epochs", recipe, contender="plain"),
        Variant(f"ours, {epochs} epochs, first job", ours, cold=True),
        Variant(f"ours, {epochs} epochs, later jobs", ours),
        Variant(f"ours, inherited weights, {fewer} epochs, first job", inherited, cold=True),
        Variant(f"ours, inherited weights, {fewer} epochs, later jobs", inherited),
    ]
    spec = {**base(setting), "method": {"kind": "kd"}}
    return Experiment("equal_accuracy", spec, variants, setting.seeds, reference=variants[0].name)
