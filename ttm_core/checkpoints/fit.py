"""Fits the tensors of a file to an architecture: new names, tensors to ignore, and tensors to add."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ttm_core.checkpoints import key_map as maps
from ttm_core.checkpoints.signatures import Shape, Signature

_SHORTCUT = ".downsample."
How = Literal["as_is", "known_renames", "key_map", "aligned"]


@dataclass(frozen=True)
class Fit:
    """How the tensors of a file correspond to those of an architecture."""

    signature: Signature
    how: How
    renamed: Mapping[str, str]
    """The new name of each tensor of the file that is used."""
    matched: int
    missing: Sequence[str]
    """Tensors of the architecture that the file lacks, except for those of `identity_shortcuts`."""
    unexpected: Sequence[str]
    mismatched: Sequence[str]
    """Tensors of another shape."""
    identity_shortcuts: Sequence[str]
    """Shortcut modules (`layer2.0.downsample`) that the file lacks because its shortcuts have no parameters."""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def score(self) -> float:
        """Share of the tensors of file and architecture that match, from 0 to 1."""
        others = len(self.missing) + len(self.unexpected) + len(self.mismatched)
        return self.matched / max(self.matched + others, 1)

    def num_classes(self, shapes: Mapping[str, Shape]) -> int | None:
        """The number of classes of the file."""
        weight = f"{self.signature.classifier}.weight"
        return next((shapes[old][0] for old, new in self.renamed.items() if new == weight and shapes[old]), None)


def fit(shapes: Mapping[str, Shape], signature: Signature, key_map: maps.KeyMap | None = None) -> Fit:
    """Fits a file as it is, with known renames, or with the given key map.

    Args:
        shapes: of the file's tensors by name, without counters and the prefixes of wrappers.
        signature: of the architecture.
        key_map: renames chosen by the user.

    Raises:
        BadSpec: `key_map` does not apply to the file.
    """
    if key_map:
        return _fit(shapes, signature, maps.apply(key_map, shapes), "key_map")
    as_is = _fit(shapes, signature, {name: name for name in shapes}, "as_is")
    if as_is.complete:
        return as_is
    known = _fit(shapes, signature, maps.known_renames(list(shapes), signature), "known_renames")
    return known if known.matched > as_is.matched else as_is


def fit_or_align(shapes: Mapping[str, Shape], signature: Signature) -> Fit:
    """Like `fit`; where names differ, proposes a key map from the order and shapes of the modules."""
    plain = fit(shapes, signature)
    if plain.complete:
        return plain
    aligned = _fit(shapes, signature, maps.align(shapes, signature), "aligned")
    return aligned if aligned.matched > plain.matched else plain


def _fit(shapes: Mapping[str, Shape], signature: Signature, renamed: Mapping[str, str], how: How) -> Fit:
    used = {old: new for old, new in renamed.items() if not new.startswith(signature.ignored)}
    present = {new: shapes[old] for old, new in used.items()}
    fitting = {new for new, shape in present.items() if signature.fits(new, shape)}
    missing = [name for name in signature.shapes if name not in present]
    shortcuts = _identity_shortcuts(signature, missing)
    return Fit(
        signature=signature,
        how=how,
        renamed=used,
        matched=len(fitting),
        missing=[] if shortcuts else missing,
        unexpected=[old for old, new in used.items() if new not in signature.shapes],
        mismatched=[old for old, new in used.items() if new in signature.shapes and new not in fitting],
        identity_shortcuts=shortcuts,
    )


def _identity_shortcuts(signature: Signature, missing: Sequence[str]) -> list[str]:
    """The shortcut modules, if the file of a CIFAR ResNet lacks exactly these.

    He et al. 2015, section 4.2, option A: shortcuts subsample and pad with zero channels.
    """
    if not signature.architecture.startswith("cifar/resnet") or not missing:
        return []
    modules = {name: name.partition(_SHORTCUT) for name in signature.shapes if _SHORTCUT in name}
    if set(missing) != set(modules):
        return []
    return list(dict.fromkeys(parent + _SHORTCUT.rstrip(".") for parent, _, _ in modules.values()))
