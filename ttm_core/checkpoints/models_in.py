"""Chooses the weights of one model in a file that has several, such as a student and a teacher, or averaged weights.

Tensors of nested dicts have the names `key.name`, so a model is a prefix of names, whether a program wrote it as a dict
or as a part of a state dict.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ttm_core.checkpoints.fit import Fit, fit, fit_or_align
from ttm_core.checkpoints.key_map import KeyMap, without_wrappers
from ttm_core.checkpoints.kinds import Kind
from ttm_core.checkpoints.signatures import COUNTER, Shape, Signature
from ttm_core.errors import BadSpec

# Keys under which training scripts save weights, in the order of timm's loader.
_WEIGHT_KEYS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"),
)
# Published code evaluates and releases averages of weights, and the teacher of a student that learns without labels.
_PREFERRED = re.compile(r"(^|_)(ema|swa|averaged|teacher)(_|$)")
# It does not release weights before averaging, and the momentum encoders of contrastive methods.
_SECONDARY = re.compile(r"(^|_)(student|momentum|target|encoder_k|current_model_state)(_|$)")
# Parts of a state dict that are models. A backbone is not one, because its classifier is outside.
_MODELS = re.compile(
    r"^(\w+_)?(student|teacher|ema|swa|online|target|encoder_[qk]|(base|momentum)_encoder)(_\w+)?$"
    r"|^(model|net|network)_[st]$"
)
_PLAIN_MODELS = re.compile(r"^(model|net|network)$")
_SMALL_SHARE = 0.1  # of the tensors of the largest model: centers, queues, metrics
_MOST_MODELS = 32
_DEEPEST_PREFIX = 8


@dataclass(frozen=True)
class Model:
    """A model in a file."""

    key: str
    """Prefix of its names in the file, without the last dot; empty for a file that is one state dict."""
    names: Mapping[str, str]
    """The name in the file of each tensor, by its name without the prefix and those of wrappers."""


def choose_model(
    shapes: Mapping[str, Shape],
    roots: Sequence[str],
    *,
    key: str | None = None,
    signature: Signature | None = None,
    key_map: KeyMap | None = None,
    needs_classifier: bool = True,
) -> list[Model]:
    """The models in a file, at most 32. The first one is to be loaded.

    It is the one that fits the architecture best. Of those that fit equally, or without an architecture, it is the one
    with averaged weights, else a teacher, else any but a student.

    Args:
        shapes: of all tensors of the file by name.
        roots: prefixes of the names in each dict of tensors, such as `["", "state_dict."]`.
        key: `checkpoint_key`, which selects the models that have it in their key.
        signature: of the architecture, if it is known.
        key_map: renames for this architecture.
        needs_classifier: whether the model needs the architecture's classifier, as a teacher does.

    Raises:
        BadSpec: no model has the key, or the key map applies to none.
    """
    models = list(_models(shapes, roots, key, signature))
    largest = max((len(model.names) for model in models), default=0)
    models.sort(key=lambda model: _preference(model, largest))
    if key is not None:
        models = _with_key(models, key)
    if signature is not None and len(models) > 1:
        models = _by_fit(models, shapes, signature, key_map, needs_classifier=needs_classifier)
    return models


def layout_of(kind: Kind, models: Sequence[Model]) -> str:
    """The key of the first model, or the format of a file that is one state dict."""
    key = models[0].key if models else ""
    return key or ("state dict" if kind == "torch" else kind)


def _models(
    shapes: Mapping[str, Shape], roots: Sequence[str], key: str | None, signature: Signature | None
) -> Iterator[Model]:
    """The dicts of a file, or the parts of one that are named like models; what has the given key, and what has the
    first tensor of the architecture. No two have the same tensors.
    """
    prefixes = [prefix for root, names in _by_root(shapes, roots).items() for prefix in _parts(root, names)]
    if key is not None:
        prefixes.insert(0, f"{key.strip('.')}.")
    if signature is not None:
        prefixes += _prefixes_of(signature, shapes)
    seen: set[frozenset[str]] = set()
    for prefix in dict.fromkeys(prefixes):
        model = _model(prefix, shapes, roots)
        tensors = frozenset(model.names.values())
        if tensors and tensors not in seen:
            seen.add(tensors)
            yield model
        if len(seen) == _MOST_MODELS:
            return


def _by_root(shapes: Mapping[str, Shape], roots: Sequence[str]) -> dict[str, list[str]]:
    """The names that each dict has itself, without those of dicts in it."""
    longest_first = sorted(roots, key=len, reverse=True)
    names: dict[str, list[str]] = {root: [] for root in roots}
    for name in shapes:
        names[next(root for root in longest_first if name.startswith(root))].append(name)
    return names


def _model(prefix: str, shapes: Mapping[str, Shape], roots: Sequence[str]) -> Model:
    inner = [root for root in roots if root.startswith(prefix) and root != prefix] if prefix in roots else []
    names = [name for name in shapes if name.startswith(prefix) and not name.startswith(tuple(inner))]
    return Model(prefix[:-1], without_wrappers({name.removeprefix(prefix): name for name in names}))


def _parts(root: str, names: Sequence[str]) -> list[str]:
    """The prefixes of the models in a dict; the dict's own prefix if it has no such parts."""
    plain = without_wrappers({name.removeprefix(root): name for name in names})
    parts: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    for name, full in plain.items():
        first, dot, _ = name.partition(".")
        if dot:
            parts.setdefault(first, full.removesuffix(name) + first + dot)
            sizes[first] += 1
    least = _SMALL_SHARE * max(sizes.values(), default=0)
    large = {first: prefix for first, prefix in parts.items() if sizes[first] >= least}
    named = [prefix for first, prefix in large.items() if _MODELS.match(first)]
    plainly = [prefix for first, prefix in large.items() if _PLAIN_MODELS.match(first)]
    return [*plainly, *named] if named else [root]


def _prefixes_of(signature: Signature, shapes: Mapping[str, Shape]) -> list[str]:
    """The prefixes under which a file has the first tensor of an architecture and at least half as many tensors."""
    first = next(iter(signature.shapes))
    found = [name.removesuffix(first) for name in shapes if name == first or name.endswith(f".{first}")]
    counts: Counter[str] = Counter()
    for name in shapes:
        parts = name.split(".")[: _DEEPEST_PREFIX + 1]
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, len(parts)))
    counts[""] = len(shapes)
    return [prefix for prefix in found if 2 * counts[prefix] >= len(signature.shapes)]


def _with_key(models: Sequence[Model], key: str) -> list[Model]:
    found = [model for model in models if f".{key.strip('.')}." in f".{model.key}."]
    if found:
        return found
    keys = [repr(model.key) for model in models if model.key]
    raise BadSpec(
        f"checkpoint_key: the checkpoint has no tensors under {key!r}. "
        + (f"It has models under {', '.join(keys[:8])}." if keys else "It has one model, so remove the field.")
    )


def _preference(model: Model, largest: int) -> tuple[object, ...]:
    parts = model.key.split(".")
    rank = 1
    if any(_PREFERRED.search(part) for part in parts):
        rank = 0
    elif any(_SECONDARY.search(part) for part in parts):
        rank = 2
    known = min((_WEIGHT_KEYS.index(part) for part in parts if part in _WEIGHT_KEYS), default=len(_WEIGHT_KEYS))
    return len(model.names) < _SMALL_SHARE * largest, rank, known


def _by_fit(
    models: Sequence[Model],
    shapes: Mapping[str, Shape],
    signature: Signature,
    key_map: KeyMap | None,
    *,
    needs_classifier: bool,
) -> list[Model]:
    """The models, the best fit first; in the given order where they fit equally. Raises BadSpec."""
    fits: list[tuple[float, Model]] = []
    errors: list[BadSpec] = []
    for model in models:
        own = {name: shapes[full] for name, full in model.names.items() if not name.endswith(COUNTER)}
        try:
            found = fit(own, signature, key_map) if key_map else fit_or_align(own, signature)
        except BadSpec as error:
            errors.append(error)
            fits.append((-1.0, model))
        else:
            fits.append((_quality(found, needs_classifier=needs_classifier), model))
    if len(errors) == len(models):
        raise errors[0]
    fits.sort(key=lambda entry: -entry[0])
    return [model for _, model in fits]


def _quality(found: Fit, *, needs_classifier: bool) -> float:
    """From 0 to 4; models that differ by less than a tenth in their share of matching tensors are equal."""
    if found.complete:
        return 2.0 if found.how == "aligned" else 4.0
    classifiers = tuple(f"{module}." for module in found.signature.classifiers)
    others = [*found.missing, *found.unexpected, *found.mismatched]
    if found.how != "aligned" and all(name.startswith(classifiers) for name in others):
        return 1.0 if needs_classifier else 3.0
    return round(found.score, 1) - 0.1
