"""Search in the catalogue of architectures. Does not import torch."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.architectures import installed
from api.architectures.schemas import ArchitectureOut, ArchitecturePage
from api.http.pagination import decode_cursor, encode_cursor
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.student import prunable
from ttm_jobs.errors import NotFound
from ttm_jobs.settings import Settings

_CURSOR = "architectures"


class ArchitectureNotFound(NotFound):
    """There is no such architecture. The message suggests similar names."""

    code = "architecture_not_found"


def page(
    session: Session, settings: Settings, *, query: str, family: str | None, limit: int, cursor: str | None
) -> ArchitecturePage:
    """A page of the matching architectures: those of the service, then those that running workers have installed."""
    packaged = tuple(installed.by_name(session, settings).values())
    found: Sequence[Architecture] = catalogue.search(query, family=family, also=packaged)
    if cursor is not None:
        names = [architecture.name for architecture in found]
        last = decode_cursor(_CURSOR, cursor, lambda position: names.index(position[0]))
        found = found[last + 1 :]
    has_more = len(found) > limit
    items = [_view(architecture) for architecture in found[:limit]]
    following = encode_cursor(_CURSOR, [items[-1].name]) if has_more else None
    return ArchitecturePage(items=items, next_cursor=following, has_more=has_more)


def get(session: Session, settings: Settings, name: str) -> ArchitectureOut:
    """An architecture by its exact name. Raises ArchitectureNotFound with similar names."""
    try:
        return _view(catalogue.find(name, installed.for_names(session, settings, [name])))
    except catalogue.UnknownArchitecture as error:
        near = " or ".join(repr(other) for other in error.nearest)
        raise ArchitectureNotFound(
            f"There is no architecture {name!r}." + (f" Did you mean {near}?" if near else "")
        ) from None


def _view(architecture: Architecture) -> ArchitectureOut:
    return ArchitectureOut(
        name=architecture.name,
        family=architecture.family,
        parameters=architecture.parameters,
        macs=architecture.macs,
        input_size=list(architecture.input_size),
        pretrained=architecture.pretrained,
        prunable=None if architecture.origin else prunable.is_prunable(architecture.name),
        origin=architecture.source,
    )
