"""Maps the names of a file's tensors to those of an architecture.

A key map replaces prefixes: `{"linear.": "fc."}`. Of several prefixes that match a name, the longest applies.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from ttm_core.checkpoints.signatures import Shape, Signature
from ttm_core.errors import BadSpec

KeyMap = Mapping[str, str]
_T = TypeVar("_T")

# Prefixes added by wrappers: DataParallel, torch.compile, averaged and Lightning models.
_WRAPPERS = (
    "module.",
    "_orig_mod.",
    "ema.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "student.",
    "timm_model.",
)
# Tensors that training and profiling leave next to those of a model: the counter of AveragedModel, thop's counts of
# operations, and losses and metrics that are modules of a Lightning module.
_NOT_OF_THE_MODEL = re.compile(
    r"^n_averaged$|(^|\.)total_(ops|params)$"
    r"|^(\w+_)?(criterion|loss|loss_fn|loss_func|loss_function|metrics?|acc|accuracy|f1|f1_score|auroc|confmat)(_\w+)?\."
)

# Names that published code uses for the last layer.
_CLASSIFIERS = ("fc", "linear", "classifier", "head", "head.fc", "heads.head", "last_linear", "output", "logits")
_RENAMES = (
    # The projection of a shortcut, in code derived from the two usual CIFAR repositories and from torchvision.
    (re.compile(r"\.shortcut\."), ".downsample."),
    (re.compile(r"\.downsample\."), ".shortcut."),
    # torchvision's DenseNets were published before their modules were renamed.
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
)


def without_wrappers(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """The tensors without the prefixes that wrappers add to every name, and without what is not part of a model."""
    tensors = {name: tensor for name, tensor in tensors.items() if not _NOT_OF_THE_MODEL.search(name)}
    while tensors:
        prefix = next((p for p in _WRAPPERS if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def apply(key_map: KeyMap, names: Iterable[str]) -> dict[str, str]:
    """The new name of each name.

    Raises:
        BadSpec: a prefix matches no name, or two names become equal.
    """
    names = list(names)
    by_length = sorted(key_map, key=len, reverse=True)
    used: set[str] = set()
    renamed: dict[str, str] = {}
    for name in names:
        prefix = next((prefix for prefix in by_length if name.startswith(prefix)), None)
        renamed[name] = name if prefix is None else key_map[prefix] + name.removeprefix(prefix)
        used |= set() if prefix is None else {prefix}
    if unused := [prefix for prefix in key_map if prefix not in used]:
        raise BadSpec(f"key_map: no tensor of the checkpoint starts with {unused[0]!r}. The first is {names[0]!r}.")
    (most_common, count), *_ = Counter(renamed.values()).most_common(1)
    if count > 1:
        raise BadSpec(f"key_map gives two tensors the name {most_common!r}.")
    return renamed


def known_renames(names: Collection[str], signature: Signature) -> dict[str, str]:
    """The new name of each name after renames that are safe to apply without asking: without a prefix that all names
    have, or with another name of the classifier or of the shortcuts, as published code uses.
    """
    outer = _common_prefix(names, signature)
    plain = {name: name.removeprefix(outer) for name in names}
    renamed = {name: _renamed(inner, signature) for name, inner in plain.items()}
    classifier = signature.classifier
    if classifier and f"{classifier}.weight" not in renamed.values():
        others = [other for other in _CLASSIFIERS if f"{outer}{other}.weight" in plain]
        if len(others) == 1 and not any(name.startswith(f"{others[0]}.") for name in signature.shapes):
            prefix = f"{others[0]}."
            renamed |= {
                name: f"{classifier}.{inner.removeprefix(prefix)}"
                for name, inner in plain.items()
                if inner.startswith(prefix)
            }
    return renamed if len(set(renamed.values())) == len(renamed) else {name: name for name in names}


def _common_prefix(names: Collection[str], signature: Signature) -> str:
    """The prefix of all names without which most of them are those of the architecture; empty if that is no prefix."""
    first = next(iter(names), "")
    prefixes = [first[: end + 1] for end, character in enumerate(first) if character == "."]
    common = ["", *(prefix for prefix in prefixes if all(name.startswith(prefix) for name in names))]
    return max(common, key=lambda prefix: sum(name.removeprefix(prefix) in signature.shapes for name in names))


def _renamed(name: str, signature: Signature) -> str:
    if name in signature.shapes:
        return name
    candidates = (pattern.sub(replacement, name) for pattern, replacement in _RENAMES)
    return next((candidate for candidate in candidates if candidate in signature.shapes), name)


def align(shapes: Mapping[str, Shape], signature: Signature) -> dict[str, str]:
    """Pairs modules of the file with modules of the architecture by shape and order.

    The k-th layer (convolution, linear, embedding) with certain leaf names and shapes is the k-th with the same ones.
    Norms belong to the layer before them, since code bases register the parts of a block in different orders. Tensors
    without a counterpart keep their names.

    Equal shapes do not prove an equal meaning, so this is a proposal that the user confirms.
    """
    found, expected = _modules(shapes), _modules(signature.shapes)
    last = _last_like(found, expected.get(signature.classifier or ""))
    first = _first_like(found, expected.get(signature.first_conv or ""))
    pairs = _pair_in_order(
        {module: _role(module, leaves, first, last) for module, leaves in found.items() if _is_layer(leaves)},
        {
            module: _role(module, leaves, signature.first_conv, signature.classifier)
            for module, leaves in expected.items()
            if _is_layer(leaves)
        },
    )
    norms, expected_norms = _norms_after(found), _norms_after(expected)
    for layer, target in list(pairs.items()):
        ours, theirs = norms.get(layer, []), expected_norms.get(target, [])
        if [_key(found[norm]) for norm in ours] == [_key(expected[norm]) for norm in theirs]:
            pairs |= dict(zip(ours, theirs, strict=True))
    paired = set(pairs.values())
    pairs |= _pair_in_order(
        {module: _key(leaves) for module, leaves in found.items() if module not in pairs},
        {module: _key(leaves) for module, leaves in expected.items() if module not in paired},
    )
    renamed = {name: name for name in shapes}
    for module, target in pairs.items():
        renamed |= {_join(module, leaf): _join(target, leaf) for leaf in found[module]}
    return renamed if len(set(renamed.values())) == len(renamed) else {name: name for name in shapes}


def _pair_in_order(found: Mapping[str, object], expected: Mapping[str, object]) -> dict[str, str]:
    """Pairs the k-th module of each role with the k-th module of the same role."""
    queues: dict[object, list[str]] = defaultdict(list)
    for module, role in reversed(list(expected.items())):
        queues[role].append(module)
    return {module: queues[role].pop() for module, role in found.items() if queues[role]}


def _role(module: str, leaves: Mapping[str, Shape], first: str | None, last: str | None) -> object:
    return "first" if module == first else "last" if module == last else _key(leaves)


def _is_layer(leaves: Mapping[str, Shape]) -> bool:
    return any(len(shape) > 1 for shape in leaves.values())


def _norms_after(modules: Mapping[str, Mapping[str, Shape]]) -> dict[str, list[str]]:
    """The modules without layers between each layer and the next, by the layer before them."""
    norms: dict[str, list[str]] = defaultdict(list)
    layer = ""
    for module, leaves in modules.items():
        if _is_layer(leaves):
            layer = module
        else:
            norms[layer].append(module)
    return norms


def compress(renamed: Mapping[str, str]) -> dict[str, str]:
    """The shortest key map found that renames as given."""
    prefixes: dict[str, str] = {}
    for old, new in renamed.items():
        if old != new:
            old_parts, new_parts = old.split("."), new.split(".")
            while len(old_parts) > 1 and len(new_parts) > 1 and old_parts[-1] == new_parts[-1]:
                old_parts.pop()
                new_parts.pop()
            prefixes.setdefault(_prefix(old, old_parts), _prefix(new, new_parts))
    try:
        if apply(prefixes, renamed) == dict(renamed):
            return prefixes
    except BadSpec:
        pass
    return {old: new for old, new in renamed.items() if old != new}


def _prefix(name: str, parts: list[str]) -> str:
    joined = ".".join(parts)
    return joined if joined == name else f"{joined}."


def _modules(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """The shapes of each module's own tensors by leaf name."""
    modules: dict[str, dict[str, Shape]] = defaultdict(dict)
    for name, shape in shapes.items():
        module, _, leaf = name.rpartition(".")
        modules[module][leaf] = shape
    return dict(modules)


def _key(leaves: Mapping[str, Shape]) -> tuple[tuple[str, Shape], ...]:
    return tuple(sorted(leaves.items()))


def _join(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def _last_like(found: Mapping[str, Mapping[str, Shape]], layer: Mapping[str, Shape] | None) -> str | None:
    """The last module with the classifier's shapes except for the number of classes."""
    if layer is None or "weight" not in layer:
        return None
    alike = (
        module
        for module, leaves in reversed(list(found.items()))
        if leaves.keys() == layer.keys() and leaves["weight"][1:] == layer["weight"][1:] and len(leaves["weight"]) > 1
    )
    return next(alike, None)


def _first_like(found: Mapping[str, Mapping[str, Shape]], layer: Mapping[str, Shape] | None) -> str | None:
    """The first module with the first convolution's shapes except for the number of channels."""
    if layer is None or "weight" not in layer:
        return None
    side = layer["weight"]
    alike = (
        module
        for module, leaves in found.items()
        if leaves.keys() == layer.keys()
        and len(leaves["weight"]) == 4
        and (leaves["weight"][0], *leaves["weight"][2:]) == (side[0], *side[2:])
    )
    return next(alike, None)
