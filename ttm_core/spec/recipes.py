"""Recipes: partial specs of published runs, as YAML files in `recipes/`. Torch-free.

For example, `cifar100/resnet56-resnet20/wttm` is a row of a table in the WTTM paper. A spec with a recipe adds what the
recipe leaves open (the data and the teacher's checkpoint) and may override any other field.
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

# The loader of libyaml, if PyYAML has it, is 7 times faster than the one in Python.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The field that a string is short for, if it is not `kind`.
_SHORT_FOR = {"teacher": "checkpoint", "student": "architecture", "dataset": "uri", "optimizer": "name"}


class UnknownRecipe(UserError, ValueError):
    """No recipe has this name. The message lists similar names."""

    code = "unknown_recipe"


@dataclass(frozen=True)
class Recipe:
    """A partial spec with the source and the published accuracies."""

    name: str
    title: str
    source: str
    published: Mapping[str, float]
    """Top-1 accuracy in % of the `teacher`, of the `student` trained alone, and of the `distilled` student."""
    spec: Mapping[str, Any]
    """A partial DistillSpec."""


def names() -> list[str]:
    """The names of all recipes, sorted."""
    return list(_recipes())


def find(name: str) -> Recipe:
    """The recipe with this name. Raises UnknownRecipe."""
    try:
        return _recipes()[name]
    except KeyError:
        near = difflib.get_close_matches(name, names(), 3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownRecipe(f"unknown recipe {name!r}{hint}") from None


def expand(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the fields of the recipe that a spec names. Fields of the spec take precedence.

    Objects are merged field by field. An object of another `kind` (for optimizers: another `name`) replaces the
    recipe's object, because their fields differ.
    """
    merged = _merged(find(spec["recipe"]).spec, spec)
    if spec.get("teachers") is not None and spec.get("teacher") is None:
        merged.pop("teacher", None)  # `teachers` replaces the `teacher` of the recipe
    student = spec.get("student")
    if isinstance(student, dict) and student.get("prune") is not None:
        merged["student"].pop("architecture", None)  # a pruned student replaces that of the recipe
    return merged


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(dict(base))
    for one, other in (("gamma", "temperature"), ("temperature", "gamma")):
        if given.get(one) is not None and given.get(other) is None:
            result.pop(other, None)  # gamma = 1 / temperature
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
