"""Architectures of other packages: entry points of the group `ttm.architectures`, each a model function of timm."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import timm
from timm.models import register_model

from ttm_core.models.installed.describe import describe_model
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import ENTRY_POINTS, Architecture

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Refused(Exception):
    """An entry point cannot be used; the message says why."""


def load_installed() -> list[Architecture]:
    """Registers the models of installed packages with timm and with the catalogue. Returns their rows, by name.

    An entry point is logged and omitted if it raises, or if its name is invalid or that of another architecture.
    """
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    if not found:
        return []
    # A package may register several models when the first one is loaded.
    known = frozenset(timm.list_models())
    rows = []
    for point in found:
        try:
            row = _load(point, known)
            catalogue.add(row)
        except (Exception, SystemExit) as error:  # code of other packages raises exceptions of any type
            log.warning(
                "The architecture %r of the package %s is omitted: %s",
                point.name,
                point.dist.name if point.dist else "?",
                error if isinstance(error, Refused) else f"{type(error).__name__}: {error}",
            )
        else:
            rows.append(row)
    return rows


def _load(point: EntryPoint, known: frozenset[str]) -> Architecture:
    name = point.name
    if _NAME.fullmatch(name) is None:
        raise Refused("a name has at most 64 lower-case letters, digits and underscores, and starts with a letter")
    if name in known or catalogue.has(name):
        raise Refused("another architecture has this name")
    function: Callable[..., Any] = point.load()
    if getattr(function, "__name__", None) != name:
        raise Refused(f"{point.value} is not a function named {name}")
    if not timm.is_model(name):
        register_model(function)
    row, _, _ = describe_model(name)
    version = point.dist.version if point.dist else ""
    return replace(row, origin=f"{point.dist.name if point.dist else '?'} {version}".strip())
