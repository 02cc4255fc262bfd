"""The pairs of models to time, with the number of images for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A teacher and a student at one input size (pixels)."""

    teacher: str
    student: str
    size: int
    classes: int
    images: int  # in the made data set
    batch: int


PAIRS = {
    "resnet34-resnet18": Pair("resnet34", "resnet18", 64, 1000, 256, 64),
    "resnet50-mobilenetv1": Pair("resnet50", "mobilenetv1_100", 128, 1000, 64, 32),
    "deit3_small-deit_tiny": Pair("deit3_small_patch16_224", "deit_tiny_patch16_224", 224, 1000, 16, 8),
    "resnet56-resnet20": Pair("cifar/resnet56", "cifar/resnet20", 32, 100, 512, 64),
    "resnet32x4-resnet8x4": Pair("cifar/resnet32x4", "cifar/resnet8x4", 32, 100, 192, 64),
}

EPOCHS = 4
GPU_IMAGES = 4096  # a CPU would take minutes for them, a GPU less than a second for fewer
CONTENDERS = {
    "torchdistill": "torchdistill's DistillationBox",
    "timm": "timm's LogitDistillationTask in a plain loop",
    "timm-channels-last": "the same, both models channels-last",
    "plain-ce": "a plain loop of the student alone, channels-last",
    "ours-ce": "this engine, cross-entropy only",
    "ours-online": "this engine, online teacher",
    "ours-cold": "this engine, an empty store, as many views as epochs",
    "ours-quarter": "this engine, an empty store, a quarter as many views as epochs",
    "ours-warm": "this engine, a full store",
    "ours-warm-graphs": "the same, the student compiled with CUDA graphs",
}
GPU_CONTENDERS = ("torchdistill", "timm", "timm-channels-last", "ours-cold", "ours-warm", "ours-warm-graphs")
"""Those that run by default on a GPU, where starting a process takes longer than its steps."""
CPU_CONTENDERS = tuple(name for name in CONTENDERS if name != "ours-warm-graphs")
