"""Reads the dataset of a run."""

from ttm_core.data.build import read_dataset
from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.unlabelled import add_unlabelled, check_no_overlap, read_unlabelled
from ttm_core.errors import BadDataset
from ttm_core.pipeline.context import RunContext
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec

_LISTED_UNREADABLE = 100


def load_dataset(spec: DistillSpec, context: RunContext) -> Dataset:
    """The dataset, with all unlabelled images in its training split.

    Raises:
        BadDataset: it cannot be read, or not be used with the spec.
    """
    with context.activity("reading the dataset"):
        dataset = context.distributed.main_first(
            lambda: read_dataset(spec.dataset, context.inputs.dataset, context.data_cache, context.pool)
        )
        dataset = _with_unlabelled(spec, dataset, context)
    if dataset.checked:
        context.log(f"decoded {dataset.checked:,} images once to find unreadable ones; later runs skip this")
    for bad in dataset.unreadable[:_LISTED_UNREADABLE]:
        context.on_event(events.Log(level="warning", message=f"skipped unreadable image {bad.name}: {bad.reason}"))
    for warning in dataset.warnings:
        context.warn(warning)
    if spec.method.requirements.labels and not dataset.train.labelled:
        raise BadDataset(
            f"the training images have no labels, and method {spec.method.kind!r} requires them: use wttm, ttm or kd "
            "with ce_weight 0, which learn from the teacher alone"
        )
    return dataset


def _with_unlabelled(spec: DistillSpec, dataset: Dataset, context: RunContext) -> Dataset:
    """The dataset with all unlabelled images in its training split. Raises BadDataset."""
    if not spec.method.requirements.learns_without_labels:
        if dataset.unlabelled is not None:
            context.warn(
                f"the {len(dataset.unlabelled):,} unlabelled images are not used: method {spec.method.kind!r} learns "
                "from labelled images only"
            )
        return dataset
    uris = spec.dataset.unlabelled
    for uri, path in zip(uris, context.inputs.unlabelled, strict=True):
        check_no_overlap(uri, path, context.inputs.dataset)
    reading = Reading(spec.dataset.max_unreadable, context.pool, context.data_cache)
    sources = context.distributed.main_first(
        lambda: [read_unlabelled(uri, path, reading) for uri, path in zip(uris, context.inputs.unlabelled, strict=True)]
    )
    for uri, source in zip(uris, sources, strict=True):
        context.log(f"{len(source.split):,} unlabelled images in {uri}")
        if source.had_labels:
            context.warn(f"{uri} is listed in dataset.unlabelled: its labels are ignored")
    merged = add_unlabelled(dataset, sources)
    if spec.training.unlabelled_ratio is not None and not (merged.train.labelled and len(merged.train.without_label)):
        raise BadDataset(
            "training.unlabelled_ratio is set, but the dataset does not have both labelled and unlabelled training "
            "images: omit the field, or name images in dataset.unlabelled"
        )
    return merged
