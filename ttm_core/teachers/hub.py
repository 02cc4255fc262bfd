"""`timm:NAME`: the weights that timm's authors published for a model, from the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from timm.models import get_pretrained_cfg

from ttm_core.errors import BadSpec, TeacherUnreachable
from ttm_core.spec import TeacherSpec

_SCHEME = "timm:"
# The hub keeps a pickle beside it, which is never asked for.
_FILE = "model.safetensors"


def is_published(uri: str) -> bool:
    """Whether an address names published weights."""
    return uri.startswith(_SCHEME)


def fetch(spec: TeacherSpec) -> tuple[TeacherSpec, Path]:
    """The file of a teacher `timm:NAME`, kept in the hub's own cache, and the spec with its architecture.

    Raises:
        BadSpec: timm has no such model, or published no weights of it.
        TeacherUnreachable: the hub cannot be reached, and the file is not in the cache.
    """
    name = spec.checkpoint.removeprefix(_SCHEME)
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the architecture does not have
        config = None
    if config is None or not config.hf_hub_id:
        raise BadSpec(f"timm has no published weights called {name!r}")
    try:
        path = hf_hub_download(config.hf_hub_id, _FILE)
    except LocalEntryNotFoundError as error:
        raise TeacherUnreachable(
            f"{name!r} lies on the Hugging Face hub, which this worker cannot reach: upload the file instead, or put "
            "it into the hub's cache on the worker"
        ) from error
    except EntryNotFoundError as error:
        raise BadSpec(f"the hub has no {_FILE} of {name!r}") from error
    except (HfHubHTTPError, OSError) as error:
        raise TeacherUnreachable(f"the Hugging Face hub did not send {name!r}: {type(error).__name__}") from error
    return spec.model_copy(update={"architecture": spec.architecture or name}), Path(path)
