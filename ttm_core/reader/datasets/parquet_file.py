"""Copies the images of Parquet files into files with random access.

Read with pyarrow instead of the datasets library, which would open paths and URLs in image columns.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow import parquet

from ttm_core.data.archives.unpack import Limits
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.errors import BadDataset
from ttm_core.files.full_disk import save_array
from ttm_core.spec.names import check_class_names

_LABELS = ("label", "fine_label", "labels", "cls", "class", "target")
_ROWS = 64
_BATCH_BYTES = 2**28


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str | None
    names: list[str] | None
    """Class names from the schema's metadata, if present."""
    other_labels: tuple[str, ...] = field(default=(), compare=False)
    """Columns that would contain the labels if `label` did not exist."""


def pack(files: Mapping[str, list[Path]], packed: Path) -> None:
    """Copies the encoded images of each split into one file, because single Parquet rows cannot be read efficiently.

    Uses memory for a few rows at a time. Writes `<split>.images`, `<split>.npy` (int64 [N, 4]: 0, offset, length,
    label) and `classes.json` (names, or null).

    Raises:
        BadDataset: the image column is missing or ambiguous, a row has no image bytes, only some rows of a split have a
            label, the column of labels is ambiguous, class names are too long, or a file is damaged.
    """
    columns = {split: _columns(paths[0]) for split, paths in files.items()}
    if "unlabelled" in columns:
        columns["unlabelled"] = _Columns(columns["unlabelled"].image, None, None)
    names = _shared_class_names(columns.values())
    labels: dict[str, int] = {}
    for split, paths in files.items():
        rows: list[tuple[int, int, int, int]] = []
        with (packed / f"{split}.images").open("wb") as out:
            for image, label in _rows(paths, columns[split]):
                number = labels.setdefault(label, len(labels)) if isinstance(label, str) else label
                rows.append((0, out.tell(), len(image), number))
                out.write(image)
        _check_labelled(split, [number for *_, number in rows], columns[split])
        save_array(packed / f"{split}.npy", np.array(rows, dtype=np.int64).reshape(-1, 4))
    if labels:
        names = sorted(labels)
        _renumber(packed, files, np.argsort(np.argsort(list(labels))))
    check_class_names(names or [])
    (packed / "classes.json").write_text(json.dumps(names))


def _check_labelled(split: str, labels: Sequence[int], columns: _Columns) -> None:
    """Raises BadDataset if only some rows of a split have a label, or if the labels may be in another column."""
    missing = labels.count(NO_LABEL)
    if split == "train" and missing == len(labels) > 0 and columns.other_labels:
        raise BadDataset(
            f"Column {columns.label!r} of the train split has no labels (null or -1 in all rows), and there is also a "
            f"column {columns.other_labels[0]!r}: remove the one that is not to be used."
        )
    if 0 < missing < len(labels):
        raise BadDataset(
            f"The {split} split has {missing:,} rows without a label (null or -1), and {len(labels) - missing:,} with "
            "one: remove them, or move them to files whose names begin with unlabelled."
        )


def _renumber(packed: Path, files: Mapping[str, list[Path]], number: NDArray[np.int64]) -> None:
    """Sorts classes that rows name by their names, as for image folders."""
    for split in files:
        index = np.load(packed / f"{split}.npy")
        labelled = index[:, 3] != NO_LABEL
        index[labelled, 3] = number[index[labelled, 3]]
        save_array(packed / f"{split}.npy", index)


def _rows(paths: list[Path], columns: _Columns) -> Iterator[tuple[bytes, int | str]]:
    budget = Limits.ratio * sum(path.stat().st_size for path in paths) + 2**20
    for path in paths:
        with _opened(path) as file:
            found = _columns(path, file.schema_arrow)
            if found.image != columns.image or (columns.label is not None and found != columns):
                raise BadDataset(f"{path.name} has other columns than the first file of its split.")
            selected = [columns.image] if columns.label is None else [columns.image, columns.label]
            try:
                for batch in _batches(file, columns.image, selected):
                    images = batch.column(columns.image).to_pylist()
                    for image, label in zip(images, _labels(batch, columns.label, path), strict=True):
                        data = image.get("bytes") if isinstance(image, dict) else image
                        if not isinstance(data, bytes):
                            raise BadDataset(f"{path.name} has a row without image bytes.")
                        budget -= len(data)
                        if budget < 0:
                            raise BadDataset(
                                f"The images are more than {Limits.ratio} times larger than their files, which may be "
                                "decompression bombs."
                            )
                        yield data, label
            except (pa.ArrowException, OSError) as error:
                _damaged(path, error)


def _batches(file: parquet.ParquetFile, image: str, selected: list[str]) -> Iterator[pa.RecordBatch]:
    """Yields batches of few rows. A dictionary page stores an image once, and each row of a batch gets a copy."""
    for group in range(file.num_row_groups):
        chunks = file.metadata.row_group(group)
        largest = max(
            (
                chunks.column(index).total_uncompressed_size
                for index in range(chunks.num_columns)
                if chunks.column(index).path_in_schema.split(".")[0] == image
            ),
            default=0,
        )
        rows = max(1, min(_ROWS, _BATCH_BYTES // max(largest, 1)))
        yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=selected)


def _labels(batch: pa.RecordBatch, column: str | None, path: Path) -> list[int | str]:
    if column is None:
        return [NO_LABEL] * batch.num_rows
    # Test splits whose labels are secret have -1 in every row on the Hugging Face Hub.
    labels = [NO_LABEL if label is None else label for label in batch.column(column).to_pylist()]
    for label in labels:
        if not isinstance(label, str) and not (type(label) is int and NO_LABEL <= label < 2**31):
            raise BadDataset(f"{path.name} has label {label!r}, which is neither a name nor a non-negative integer.")
    return labels


def _opened(path: Path) -> parquet.ParquetFile:
    try:
        # Reads row groups page by page instead of completely.
        return parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    except (pa.ArrowException, OSError) as error:
        _damaged(path, error)


def _damaged(path: Path, error: Exception) -> NoReturn:
    raise BadDataset(f"{path.name} cannot be read: {error}") from error


def _columns(path: Path, schema: pa.Schema | None = None) -> _Columns:
    if schema is None:
        with _opened(path) as file:
            schema = file.schema_arrow
    images = [field.name for field in schema if _is_image_column(field.type)]
    if len(images) != 1:
        found = f"several ({', '.join(images)})" if images else "none"
        listed = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:20])
        raise BadDataset(
            f"Exactly one image column (bytes, or a struct with bytes) is required; there are {found} among {listed}."
        )
    class_names = _class_labels(schema)
    labels = [name for name in dict.fromkeys((*_LABELS, *class_names)) if name in schema.names]
    if not labels:
        return _Columns(images[0], None, None)
    return _Columns(images[0], labels[0], class_names.get(labels[0]), tuple(labels[1:]))


def _shared_class_names(columns: Iterable[_Columns]) -> list[str] | None:
    """The class names in the schemas of all splits. Raises BadDataset if splits differ, because label numbers would
    too.
    """
    by_split = [each.names for each in columns if each.label is not None]
    if any(names != by_split[0] for names in by_split):
        raise BadDataset("The splits have different class names.")
    return by_split[0] if by_split else None


def _is_image_column(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_image_column(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Class names by column, from the metadata that the datasets library writes into the schema."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: [str(value) for value in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
