"""Resolves the student's input: size, channels and normalization."""

import torch

from ttm_core.data.dataset import Dataset
from ttm_core.data.images import ArrayImages, gray
from ttm_core.errors import BadSpec
from ttm_core.models.teachers.load import Teacher
from ttm_core.pipeline.student.base import StudentBase
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.normalization import Normalization

SMALL_IMAGE = 64
_PART = 256  # images whose sums are taken at once


def image_size(spec: DistillSpec, dataset: Dataset, base: StudentBase) -> int:
    """Side in pixels of the student's input: the spec's, else that of the weights to start from, else that of a
    dataset of small images, else the default of the architecture.

    Raises:
        BadSpec: the spec's size does not fit the weights to start from.
    """
    requested = spec.student.image_size
    if base.image_size is not None:
        if requested not in (None, base.image_size):
            raise BadSpec(
                f"student.image_size must be {base.image_size}, the only size that the weights of the teacher's "
                f"{base.architecture} fit. Omit the field."
            )
        return base.image_size
    if requested is not None:
        return requested
    if dataset.image_size is not None and 8 <= dataset.image_size <= SMALL_IMAGE:
        return dataset.image_size
    return catalogue.find(base.architecture).input_size[1]


def input_channels(spec: DistillSpec, dataset: Dataset, base: StudentBase, teacher: Teacher | None) -> int:
    """Channels of the student's input: those of the weights to start from if they are known, else the dataset's."""
    if base.in_chans is not None:
        return base.in_chans
    if spec.student.from_teacher is not None and teacher is not None:
        return teacher.preprocess.channels
    return dataset.channels


def normalization(
    spec: DistillSpec, dataset: Dataset, teacher: Teacher | None, base: StudentBase, channels: int
) -> Normalization:
    """The spec's, else that of the weights to start from, else the teacher's, else measured on training images in
    memory, else the architecture's default.

    Raises:
        BadSpec: the spec's normalization has another number of channels.
    """
    given = spec.student.normalization
    if given is not None:
        if len(given.mean) != channels:
            raise BadSpec(
                f"student.normalization has {len(given.mean)} channels, but the student has {channels} input channels."
            )
        return given
    if base.normalization is not None and len(base.normalization.mean) == channels:
        return base.normalization
    if teacher is not None and teacher.preprocess.channels == channels:
        return teacher.preprocess.normalization
    if isinstance(dataset.train.images, ArrayImages):
        images = dataset.train.images
        if channels == 1:
            images = gray(images)
        measured = _measured(images.pixels, torch.from_numpy(dataset.train.indices))
        # A model with three channels gets gray images with three equal ones.
        repeats = channels // len(measured.mean)
        return Normalization(mean=measured.mean * repeats, std=measured.std * repeats)
    cfg = catalogue.find(base.architecture)
    mean, std = list(cfg.mean), list(cfg.std)
    if channels == 1:
        return Normalization(mean=[sum(mean) / len(mean)], std=[sum(std) / len(std)])
    return Normalization(mean=mean, std=std)


def _measured(pixels: torch.Tensor, indices: torch.Tensor) -> Normalization:
    """Mean and standard deviation of each channel of the images `indices` of uint8 [N, C, H, W], from exact sums."""
    sums = squares = torch.zeros(pixels.shape[1], dtype=torch.int64)
    count = 0
    for part in indices.split(_PART):
        values = pixels[part].to(torch.int32)
        sums = sums + values.sum((0, 2, 3))
        squares = squares + values.square().sum((0, 2, 3))
        count += values[:, 0].numel()
    mean, std = [], []
    for total, square in zip(sums.tolist(), squares.tolist(), strict=True):
        mean.append(round(total / count / 255, 4))
        variance = (square * count - total**2) / count**2  # of integers, so nothing cancels
        std.append(max(round(variance**0.5 / 255, 4), 1e-3))
    return Normalization(mean=mean, std=std)
