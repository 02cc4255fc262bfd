"""Maps a person's groups to projects and scopes."""

from collections.abc import Collection, Mapping
from typing import Any

from ttm_jobs.models import Scope
from ttm_jobs.settings import GroupAccess

_MAX_NAME = 100
_MAX_USER_ID = 255
_NAMES = ("email", "preferred_username", "name")


def granting(groups: object, mapping: Mapping[str, GroupAccess]) -> list[str]:
    """Those of a person's groups that give access. Accepts any JSON value: a claim may hold one group or a list."""
    listed: Collection[object] = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else ()
    held = {group for group in listed if isinstance(group, str)}
    return [group for group in mapping if group in held]


def access(groups: Collection[str], mapping: Mapping[str, GroupAccess]) -> dict[str, Scope]:
    """The projects of the groups, each with the highest scope, in the order of the mapping."""
    found: dict[str, Scope] = {}
    for group, grant in mapping.items():
        if group in groups:
            scope = Scope(grant.scope)
            held = found.get(grant.project)
            found[grant.project] = scope if held is None or scope.includes(held) else held
    return found


def display_name(claims: Mapping[str, Any], user_id: str) -> str:
    """The person's name in the audit log and as the owner of jobs: the email address if the provider states it."""
    for name in _NAMES:
        value = claims.get(name)
        if name == "email" and claims.get("email_verified") is False:
            continue
        if isinstance(value, str) and value.strip() and value.isprintable():
            return value.strip()[:_MAX_NAME]
    return user_id[:_MAX_NAME]


def is_user_id(value: object) -> bool:
    """Whether a claim is a usable subject."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_USER_ID and value.isprintable()
