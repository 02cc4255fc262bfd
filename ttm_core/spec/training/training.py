"""How a run trains its student. Torch-free."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec, by_name, or_short
from ttm_core.spec.dataset import AugmentationSpec
from ttm_core.spec.optimizer.optimizers import Cosine, EmaSpec, GradientClipping, OptimizerSpec, ScheduleSpec, Sgd

MemoryFormat = Literal["channels_last", "contiguous"]


FEWEST_EPOCHS, MOST_EPOCHS = 30, 100
"""Bounds of the default number of epochs."""

DEFAULT_IMAGES = 320_000
"""Images that a run of default length reads, unless the bounds of its epochs say otherwise: 5,000 batches of 64.

A practical choice: it keeps the first job on a CPU short. Published runs are longer: 240 epochs of 50,000 CIFAR images
are 37 times as many. BiT's rule for fine-tuning on small datasets has 256,000 (Kolesnikov et al. 2020, arXiv
1912.11370).
"""


def default_epochs(images: int) -> int:
    """The number of epochs of a run that leaves it open, from the number of images per epoch."""
    return min(max(math.ceil(DEFAULT_IMAGES / max(images, 1)), FEWEST_EPOCHS), MOST_EPOCHS)


class TrainingSpec(Spec):
    """Training of the student."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None,
        description="Default: by the number of training images, so that a run reads about 320,000 images; at least 30 "
        "(from 10,667 images), at most 100 (up to 3,200). In a study: 30.",
    )
    batch_size: Annotated[int, Field(ge=2, le=65_536)] | None = Field(
        None,
        description="Images per step, over all devices. Default: 64, or 32 in short runs, which would have "
        "less than 3,000 steps of 64 images.",
    )
    unlabelled_ratio: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None,
        description="Unlabelled images per labelled image in every batch, for datasets with both. An epoch uses each "
        "labelled image once. Default: by size, so that an epoch uses each image once.",
    )
    optimizer: Annotated[OptimizerSpec, by_name("name", OptimizerSpec)] = Sgd()
    schedule: Annotated[ScheduleSpec, by_name("kind", ScheduleSpec)] = Cosine()
    augmentation: Annotated[AugmentationSpec, by_name("kind", AugmentationSpec)] | None = Field(
        None, description="Default: crop_flip for images up to 64 px, resized_crop for larger ones."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Share of each label that is distributed over all classes, in the cross-entropy with the labels.",
    )
    gradient_clipping: Annotated[GradientClipping | None, or_short(GradientClipping | float | None)] = Field(
        None, description="Limit on gradients. A number limits their norm."
    )
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Number of parts a batch is split into, to use less memory with the same step size."
    )
    ema: Annotated[EmaSpec | None, or_short(EmaSpec | float | None)] = Field(
        None, description="Validate and save a moving average of the weights. A number sets its decay."
    )
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Stop after this number of epochs without an improvement of validation accuracy."
    )
    views: Annotated[int, Field(ge=1, le=100_000)] | Literal["fit"] | None = Field(
        None,
        description="Number of augmented views per image, which the epochs use in rotation. Default: one per "
        "epoch. With "
        "stored teacher logits, fewer views mean fewer teacher forward passes. fit: as many as fit into the store, at "
        "most one per epoch.",
    )
    teacher_logits: Literal["online", "stored"] | None = Field(
        None,
        description="stored: compute the teacher's logits of each view once and reuse them in later epochs and in jobs "
        "with the same teacher, data and augmentation. online: run the teacher at every step. Default: stored if the "
        "worker has a store with enough space.",
    )
    stored_as: Literal["float16", "int8"] = Field(
        "float16",
        description="Encoding of stored logits. int8 needs half the space; its error is at most 1/508 of a row's "
        "range.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of forward passes; weights, losses and statistics stay float32. auto: bfloat16 where "
        "the device has units for it (CPUs with AMX-BF16 or AVX512-BF16; GPUs since Ampere), else float32. On CPUs, "
        "depthwise convolutions whose bfloat16 gradients are slow stay in float32. float16 requires a GPU.",
    )
    teacher_precision: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Precision of the teacher's forward passes. Default: `precision`."
    )
    memory_format: Literal["auto"] | MemoryFormat = Field(
        "auto",
        description="Memory format of the student's images and convolutions: channels_last (NHWC) or contiguous "
        "(NCHW). It changes rounding. auto: the faster one, which the first attempt of a long run measures; "
        "channels_last in short runs.",
    )
    teacher_memory_format: Literal["auto"] | MemoryFormat = Field(
        "auto", description="The same for the teacher's forward passes. Part of the key of stored logits."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of the initial weights, the order of the images and dropout."
    )
    view_seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0,
        description="Seed of the augmented views. Runs with equal view seeds share stored teacher logits, whatever "
        "their `seed`.",
    )
    tf32: bool = Field(
        True, description="On GPUs, compute float32 matrix products and convolutions with TF32 (10 bits of mantissa)."
    )
    reproducible: bool = Field(
        True,
        description="Equal runs and resumed runs give bit-identical students. false: on GPUs, cuDNN chooses kernels by "
        "timing, and kernels that add in any order are allowed. Changes nothing on CPUs.",
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="Compile the student, and a teacher whose logits are not stored, with torch.compile, except with "
        "feature losses. auto: on a GPU, if a measurement shows that it saves more time in this run than it takes; "
        "never on a CPU or in runs of less than a minute. true needs a compiler on the worker.",
    )
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="CPU threads. Later attempts use the same number, because it affects rounding."
    )
    devices: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="GPUs of one machine (or processes without a GPU) that share each batch. `batch_size` is the "
        "total over "
        "all devices. Batch norms use the images of each device.",
    )
    checkpoint_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        60.0, description="Seconds between checkpoints."
    )

    @property
    def epoch_count(self) -> int:
        """`epochs` of a resolved spec, or of a study's."""
        assert self.epochs is not None, "the engine resolves the number of epochs"
        return self.epochs

    @property
    def images_per_step(self) -> int:
        """`batch_size` of a resolved spec."""
        assert self.batch_size is not None, "the engine resolves the batch size"
        return self.batch_size

    @property
    def view_count(self) -> int:
        """The number of views per image of a resolved spec."""
        assert self.views != "fit", "the engine resolves 'fit'"
        return self.views or self.epoch_count

    @model_validator(mode="after")
    def _parts_have_two_images(self) -> Self:
        parts = self.gradient_accumulation * self.devices
        if self.batch_size is not None and self.batch_size < 2 * parts:
            raise ValueError(
                f"batch_size must be at least {2 * parts}: batch norm needs two images in each of the {parts} "
                "parts of a batch "
                "(gradient_accumulation * devices)"
            )
        return self
