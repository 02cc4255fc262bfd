"""What each capability is worth, with the default method."""

from pathlib import Path

from bench.results.experiments.experiment import Experiment, Setting, Values, Variant
from bench.results.experiments.methods import base


def capabilities(setting: Setting) -> Experiment:
    """Number of views, precision, moving average and batch size, one at a time.

    Each run computes the teacher's logits of its views.
    """
    changes: dict[str, Values] = {
        "defaults": {},
        **{f"{count} view{'s' * (count > 1)}": {"training.views": count} for count in (1, 2, 5)},
        "float32": {"training.precision": "float32"},
        "EMA 0.99": {"training.ema": 0.99},
        "batch size 32": {"training.batch_size": 32},
    }
    variants = [Variant(name, each, cold=True) for name, each in changes.items()]
    return Experiment("capabilities", base(setting), variants, min(setting.seeds, 3), reference="defaults")


def unlabelled(setting: Setting) -> Experiment | None:
    """Labelled images with unlabelled ones, and labelled images alone in as many epochs and in as many steps."""
    if setting.unlabelled is None:
        return None
    labelled, more = (_files(folder) for folder in (setting.data / "train", setting.unlabelled))
    epochs = setting.training["epochs"]
    longer = round(epochs * (labelled + more) / labelled)
    reference = f"labelled images, {longer} epochs"
    dataset = {"uri": setting.data.as_uri(), "unlabelled": [setting.unlabelled.as_uri()]}
    variants = [
        Variant(reference, {"training.epochs": longer}),
        Variant(f"labelled images, {epochs} epochs"),
        Variant(f"with {more:,} unlabelled images, {epochs} epochs", {"dataset": dataset}),
    ]
    return Experiment("unlabelled", base(setting), variants, min(setting.seeds, 3), reference=reference)


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


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
