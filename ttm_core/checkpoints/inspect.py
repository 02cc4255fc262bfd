"""Inspects a checkpoint: what it is, and which architectures its tensors fit."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ttm_core.checkpoints.fit import Fit, fit, fit_or_align
from ttm_core.checkpoints.key_map import KeyMap, compress, without_wrappers
from ttm_core.checkpoints.schema import Candidate
from ttm_core.checkpoints.signatures import COUNTER, Shape, Signature, read_signatures
from ttm_core.spec import catalogue
from ttm_core.spec.job import Normalization

_COMPARED = 40
_LISTED_CANDIDATES = 8
_LISTED_NAMES = 20
_LEAST_SCORE = 0.3
# More tensors are compared by shape only: no architecture has as many.
_MOST_TENSORS = 5000


def find_candidates(
    shapes: Mapping[str, Shape],
    architecture: str | None = None,
    key_map: KeyMap | None = None,
    signatures: Iterable[Signature] | None = None,
) -> list[Candidate]:
    """The architectures that the tensors fit best, at most eight.

    Args:
        shapes: of the file's tensors by name.
        architecture: named by the file or by the user; it comes first.
        key_map: renames for this architecture.
        signatures: of all architectures, if they have been read.

    Raises:
        BadSpec: the key map does not apply.
    """
    shapes = {name: shape for name, shape in without_wrappers(shapes).items() if not name.endswith(COUNTER)}
    if not shapes or len(shapes) > _MOST_TENSORS:
        return []
    base = architecture and architecture.partition(".")[0]
    fits = [
        fit(shapes, signature, key_map)
        if key_map and signature.architecture == base
        else fit_or_align(shapes, signature)
        for signature in _alike(shapes, base, read_signatures() if signatures is None else signatures)
    ]
    fits = [found for found in fits if found.score >= _LEAST_SCORE or found.signature.architecture == base]
    fits.sort(key=lambda found: _order(found, base))
    if fits and fits[0].complete:
        # Partial matches are of no interest next to complete ones.
        fits = [found for found in fits if found.complete]
    return [_describe(found, shapes) for found in fits[:_LISTED_CANDIDATES]]


def _alike(
    shapes: Mapping[str, Shape], architecture: str | None, signatures: Iterable[Signature]
) -> Iterator[Signature]:
    """The architectures with the most equal shapes, whatever the names."""
    counts = Counter(shapes.values())
    scored: list[tuple[float, int, Signature]] = []
    for position, signature in enumerate(signatures):
        expected = signature.fixed_shapes()
        common = sum(min(count, expected[shape]) for shape, count in counts.items())
        score = 2 * common / (len(shapes) + len(signature.shapes))
        if signature.architecture == architecture:
            score = math.inf
        scored.append((score, -position, signature))
    scored.sort(key=lambda entry: entry[:2], reverse=True)
    yield from (signature for _, _, signature in scored[:_COMPARED])


def _order(found: Fit, architecture: str | None) -> tuple[object, ...]:
    name = found.signature.architecture
    # timm's models offer features, so they come before torchvision's; the shortest name is the plain variant.
    return (
        name != architecture,
        not found.complete,
        -found.score,
        found.how == "aligned",
        bool(found.identity_shortcuts),
        name.startswith("torchvision/"),
        len(name),
        name,
    )


def _describe(found: Fit, shapes: Mapping[str, Shape]) -> Candidate:
    row = catalogue.find(found.signature.architecture)
    return Candidate(
        architecture=row.name,
        score=round(found.score, 4),
        loads=found.complete,
        num_classes=found.num_classes(shapes),
        key_map=compress(found.renamed) if found.how == "aligned" else None,
        conversions=[
            *(["known_renames"] if found.how == "known_renames" else []),
            *(["identity_shortcuts"] if found.identity_shortcuts else []),
            *(["auxiliary_classifiers_dropped"] if len(found.renamed) < len(shapes) else []),
        ],
        missing=_listed(found.missing),
        missing_count=len(found.missing),
        unexpected=_listed(found.unexpected),
        unexpected_count=len(found.unexpected),
        mismatched=_listed(found.mismatched),
        mismatched_count=len(found.mismatched),
        normalization=Normalization(mean=list(row.mean), std=list(row.std)),
        input_size=list(row.input_size),
    )


def _listed(names: Sequence[str]) -> list[str]:
    return [name[:200] for name in names[:_LISTED_NAMES]]
