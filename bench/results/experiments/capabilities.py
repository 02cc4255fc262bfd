"""What each capability is worth, with the default method."""

from bench.results.experiments.experiment import Experiment, Setting, Variant
from bench.results.experiments.methods import base


def capabilities(setting: Setting) -> Experiment:
    """Number of views, precision, moving average, batch size and unlabelled images, one at a time."""
    variants = [
        Variant("defaults"),
        *(Variant(f"{count} view{'s' * (count > 1)}", {"training.views": count}) for count in (1, 2, 5)),
        Variant("float32", {"training.precision": "float32"}),
        Variant("EMA 0.99", {"training.ema": 0.99}),
        Variant("batch size 32", {"training.batch_size": 32}),
    ]
    if setting.unlabelled is not None:
        # About as many steps as the other variants, because an epoch has the unlabelled images, too.
        epochs = max(setting.training["epochs"] // 5, 1)
        dataset = {"uri": setting.data.as_uri(), "unlabelled": [setting.unlabelled.as_uri()]}
        changes = {"dataset": dataset, "training.epochs": epochs}
        variants.append(Variant(f"unlabelled images, {epochs} epochs", changes))
    return Experiment("capabilities", base(setting), variants, min(setting.seeds, 3), reference="defaults")


def students(setting: Setting) -> Experiment:
    """Where the initial weights come from: random, blocks of the teacher, or channels of the teacher."""
    inherited = {"student": {"architecture": setting.student, "initialize": "teacher"}}
    epochs = max(setting.training["epochs"] // 4, 1)
    variants = [
        Variant("random weights"),
        Variant("inherited weights", inherited),
        Variant(f"inherited weights, {epochs} epochs", {**inherited, "training.epochs": epochs}),
        Variant("pruned teacher", {"student": {"prune": {"macs": setting.share}}}),
    ]
    return Experiment("students", base(setting), variants, min(setting.seeds, 3), reference="random weights")
