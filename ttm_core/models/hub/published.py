"""Published weights on the Hugging Face Hub: `timm:NAME` and `hf:OWNER/REPO`, optionally `hf:OWNER/REPO@REVISION`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from timm.models import get_pretrained_cfg

from ttm_core.data.cache import DataCache
from ttm_core.errors import BadSpec
from ttm_core.models.hub.download import HubFile, download
from ttm_core.spec import catalogue
from ttm_core.spec.dataset import Pixels
from ttm_core.spec.normalization import Normalization

# Repositories also have pickles of their models, which are never downloaded.
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_MAX_CONFIG_BYTES = 2**20
_SCHEMES = ("timm:", "hf:")


@dataclass(frozen=True)
class Published:
    """Downloaded weights, with what the publisher says about the model."""

    path: Path
    architecture: str
    normalization: Normalization | None = None
    image_size: int | None = None


def is_published(uri: str) -> bool:
    """Returns whether a URI names published weights."""
    return uri.startswith(_SCHEMES)


def fetch(uri: str, cache: DataCache, *, field: str) -> Published:
    """Downloads published weights to the cache.

    Args:
        uri: `timm:NAME` or `hf:OWNER/REPO`, optionally with `@REVISION`.
        cache: keeps the files by the commit that they come from.
        field: the field of the spec for messages.

    Raises:
        BadSpec: there are no such weights, or the repository does not describe a model of timm.
        HubUnreachable: the Hub cannot be reached and the files are not in a cache.
    """
    if uri.startswith("timm:"):
        return _timm(uri.removeprefix("timm:"), cache, field)
    repository, _, revision = uri.removeprefix("hf:").partition("@")
    config = download(HubFile(repository, _CONFIG, revision or None), cache, field, max_bytes=_MAX_CONFIG_BYTES)
    architecture, preprocessing = _described(config, uri, field)
    weights = download(HubFile(repository, _WEIGHTS, revision or None), cache, field)
    return Published(weights, architecture, _normalization(preprocessing), _image_size(preprocessing))


def _timm(name: str, cache: DataCache, field: str) -> Published:
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the architecture does not have
        config = None
    if config is None or not config.hf_hub_id:
        raise BadSpec(f"{field}: timm has no published weights named {name!r}.")
    normalization = Normalization(mean=list(config.mean), std=list(config.std))
    weights = download(HubFile(config.hf_hub_id, _WEIGHTS), cache, field)
    return Published(weights, name, normalization, config.input_size[-1])


def _described(path: Path, uri: str, field: str) -> tuple[str, dict[str, Any]]:
    """The architecture in a timm `config.json`, and what it says about the input."""
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        architecture, arguments = config["architecture"], dict(config.get("model_args") or {})
        preprocessing = dict(config.get("pretrained_cfg") or {})
        catalogue.find(architecture)
    except catalogue.UnknownArchitecture as error:
        raise BadSpec(f"{field}: the config.json of {uri!r} names an unknown architecture: {error}") from error
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise BadSpec(f"{field}: {uri!r} has no valid config.json of timm.") from error
    if arguments:
        raise BadSpec(
            f"{field}: {uri!r} is a {architecture} with arguments of its own, which are not supported: "
            f"{', '.join(map(str, arguments))[:200]}."
        )
    return architecture, preprocessing


def _normalization(preprocessing: dict[str, Any]) -> Normalization | None:
    try:
        return Normalization(mean=list(preprocessing["mean"]), std=list(preprocessing["std"]))
    except (KeyError, TypeError, ValueError):
        return None


def _image_size(preprocessing: dict[str, Any]) -> int | None:
    try:
        return TypeAdapter(Pixels).validate_python(preprocessing["input_size"][-1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
