"""The teacher's logits of a validation or test split, kept in the teacher store for later runs."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.batches import full_images
from ttm_core.data.dataset import Split
from ttm_core.models.teachers.ensemble import Ensemble
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, forward
from ttm_core.teacher_store.codecs import Float32
from ttm_core.teacher_store.key import evaluation_key
from ttm_core.teacher_store.store import Stores, open_store, prune

# Apart from the stores of training views, because these are published to other machines and listed.
FOLDER = "evaluation"
# At most a twentieth of the limit of the training views, in addition to it.
_SHARE = 20


def evaluation_logits(
    teacher: Teacher,
    split: Split,
    stores: Stores | None,
    *,
    batch: int,
    device: torch.device,
    precision: Precision,
) -> Iterator[Tensor]:
    """Yields the teacher's logits of full images by batches of neighboring images: float32 [B, C] on the device. The
    images have the teacher's own size; each teacher of an ensemble gets them in its own.

    With `stores`, reads batches that an earlier run computed, and stores the others. Stored logits are exact, so a run
    is the same with and without them. Logits of ensembles are not stored.

    Args:
        teacher: the teacher, in evaluation mode.
        split: validation or test images.
        stores: teacher stores shared with other runs.
        batch: images per forward pass.
        device: of the teacher.
        precision: of its forward pass.
    """
    batches = [split.indices[start : start + batch] for start in range(0, len(split), batch)]
    if isinstance(teacher.model, Ensemble):
        yield from _averaged(teacher.model, split, batches, device, precision)
        return
    if stores is None:
        yield from _computed(teacher, split, batches, device, precision)
        return
    key = evaluation_key(teacher, split, precision=precision, device=device, block=batch)
    root = stores.root / FOLDER
    ends = np.cumsum([len(indices) for indices in batches])
    with open_store(root, key, Float32(teacher.classes), ends=ends) as file:
        prune(root, stores.max_bytes // _SHARE)
        every = np.arange(len(batches))
        file.drop_damaged(every)
        missing = set(file.missing(every))
        absent = (indices for block, indices in enumerate(batches) if block in missing)
        computed = _computed(teacher, split, absent, device, precision)
        for block, indices in enumerate(batches):
            first = block * batch
            if block in missing:
                logits = next(computed)
                file.write(block, first, logits.cpu().numpy())
            else:
                logits = torch.from_numpy(file.read(np.arange(first, first + len(indices)))).to(device)
            yield logits


@torch.inference_mode()
def _computed(
    teacher: Teacher,
    split: Split,
    batches: Iterable[NDArray[np.int64]],
    device: torch.device,
    precision: Precision,
) -> Iterator[Tensor]:
    for batch in full_images(split, batches, size=teacher.preprocess.image_size, device=device):
        yield forward(teacher.model, teacher.preprocess, batch.pixels, precision)


@torch.inference_mode()
def _averaged(
    ensemble: Ensemble,
    split: Split,
    batches: Sequence[NDArray[np.int64]],
    device: torch.device,
    precision: Precision,
) -> Iterator[Tensor]:
    """The logits of an ensemble. Images are decoded once for each size of its teachers."""
    sizes = {member.preprocess.image_size for member in ensemble.teachers}
    views = [full_images(split, batches, size=size, device=device) for size in sizes]
    for of_sizes in zip(*views, strict=True):
        pixels = {size: batch.pixels for size, batch in zip(sizes, of_sizes, strict=True)}
        yield ensemble.mean(
            [
                forward(member.model, member.preprocess, pixels[member.preprocess.image_size], precision)
                for member in ensemble.teachers
            ]
        )
