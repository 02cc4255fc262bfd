"""Decides whether a run stores its teacher's logits, and for how many views."""

import shutil
from pathlib import Path

from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.spec.job import DistillSpec
from ttm_core.teacher_store.store import Stores


def stored_views(
    spec: DistillSpec, workdir: Path, stores: Stores | None, *, images: int, num_classes: int
) -> dict[str, object]:
    """Whether teacher logits are stored, and the number of views per image.

    They are stored if the store is shared with other runs and has room for all views. The number of threads is never
    chosen by timing: it is part of the store's key, so a number that depends on the machine's load would split stores.
    """
    training = spec.training
    if training.teacher_logits is not None and training.views != "fit":
        return {}

    def decide() -> dict[str, object]:
        view_bytes = (2 if training.stored_as == "float16" else 1) * images * num_classes * len(spec.all_teachers)
        views_that_fit = _available_bytes(stores, workdir) // view_bytes if view_bytes else 0
        views = training.views
        if views == "fit":
            views = max(min(views_that_fit, training.epoch_count), 1)
        logits = training.teacher_logits
        if logits is None:
            shared = stores is not None and spec.method.requirements.stored_logits_suffice
            logits = "stored" if shared and (views or training.epoch_count) <= views_that_fit else "online"
        if logits == "online":
            views = None if training.views == "fit" else training.views
        return {"teacher_logits": logits, "views": views}

    decided: dict[str, object] = decide_once(workdir, "stored_views", decide)
    return decided


def _available_bytes(stores: Stores | None, workdir: Path) -> int:
    """Bytes that a run may fill with logits."""
    root = workdir if stores is None else stores.root
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free // 2
    return free if stores is None else min(stores.max_bytes, free)
