"""Reads structures from the metadata of untrusted files."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ttm_core.errors import BadCheckpoint
from ttm_core.spec.structure import ModelStructure, structure_of

_LONGEST_REASON = 300


def read_structure(metadata: Mapping[str, Any]) -> ModelStructure | None:
    """The structure in the metadata of a student file of any version; None if the metadata has none.

    Raises:
        BadCheckpoint: the metadata has an unknown version or an invalid structure.
    """
    try:
        return structure_of(metadata)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "structure"
        reason = f"{place}: {first['msg']}"[:_LONGEST_REASON]
    except ValueError as error:
        reason = str(error)[:_LONGEST_REASON]
    raise BadCheckpoint(f"The file's metadata has no valid model structure: {reason}")
