"""Published runs by name: a partial spec each, in YAML under `recipes/`. Torch-free.

`cifar100/resnet56-resnet20/wttm` is a row of the paper; what a recipe leaves open (the data, the teacher's file) is
given beside its name, and whatever else is given there overrides the recipe.
"""

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ttm_core.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "recipes"

# libyaml's, where PyYAML was built with it, reads all recipes in a seventh of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The field that a bare string stands for, where it is not the variant's `kind`.
_SHORT_FOR = {"teacher": "checkpoint", "student": "architecture", "dataset": "uri", "optimizer": "name"}


class UnknownRecipe(UserError, ValueError):
    """A name that no recipe has; the message holds the names that come closest."""

    code = "unknown_recipe"


@dataclass(frozen=True)
class Recipe:
    """A published run."""

    name: str
    title: str
    source: str
    published: Mapping[str, float]
    """Top-1 accuracy in per cent of the `teacher`, of the `student` trained alone, and of the `distilled` student."""
    spec: Mapping[str, Any]
    """A part of a DistillSpec."""


def names() -> list[str]:
    """Every recipe's name, in order."""
    return list(_recipes())


def find(name: str) -> Recipe:
    """The recipe of this very name. Raises UnknownRecipe."""
    try:
        return _recipes()[name]
    except KeyError:
        near = difflib.get_close_matches(name, names(), 3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownRecipe(f"there is no recipe {name!r}{hint}") from None


def expand(told: Mapping[str, Any]) -> dict[str, Any]:
    """A spec that names a recipe, with all that the recipe says; what the spec says itself stays.

    Objects are merged field by field; an object of another `kind` (an optimizer of another name) replaces the recipe's,
    since their fields differ.
    """
    merged = _merged(find(told["recipe"]).spec, told)
    if told.get("teachers") is not None and told.get("teacher") is None:
        merged.pop("teacher", None)  # several teachers stand where the recipe has one
    return merged


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(dict(base))
    for one, other in (("gamma", "temperature"), ("temperature", "gamma")):
        if given.get(one) is not None and given.get(other) is None:
            result.pop(other, None)  # one follows from the other
    for key, value in given.items():
        below = result.get(key)
        if isinstance(value, str) and isinstance(below, dict):
            value = {_SHORT_FOR.get(key, "kind"): value}
        if isinstance(value, dict) and isinstance(below, dict) and _same_variant(key, below, value):
            value = _merged(below, value)
        result[key] = value
    return result


def _same_variant(key: str, base: dict[str, Any], given: dict[str, Any]) -> bool:
    tag = "name" if key == "optimizer" else "kind"
    return given.get(tag, base.get(tag)) == base.get(tag)


@cache
def _recipes() -> dict[str, Recipe]:
    files = sorted(FOLDER.rglob("*.yaml"), key=lambda path: path.with_suffix("").relative_to(FOLDER).as_posix().lower())
    return {recipe.name: recipe for recipe in map(_read, files)}


def _read(path: Path) -> Recipe:
    spec = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    about = spec.pop("about")
    return Recipe(
        name=path.relative_to(FOLDER).with_suffix("").as_posix(),
        title=about["title"],
        source=about["source"],
        published=about["published"],
        spec=spec,
    )
