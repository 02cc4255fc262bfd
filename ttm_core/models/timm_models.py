from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from timm.models import build_model_with_cfg, generate_default_cfgs, get_pretrained_cfg, register_model
from timm.models._pretrained import DefaultCfg

from ttm_core.errors import BadSpec, TeacherUnreachable
from ttm_core.models.cifar.classifier import Classifier
from ttm_core.spec.job import TeacherSpec


class Design(NamedTuple):
    """A family and what sets one of its models apart."""

    family: type[Classifier]
    arguments: tuple[Any, ...] = ()


Designs = Mapping[str, Design]


def timm_name(name: str) -> str:
    """The name under which `timm.create_model` knows a model: `cifar/resnet20` is `cifar_resnet20` there."""
    folder, slash, model = name.partition("/")
    return f"{folder}_{model}" if slash and folder in ("cifar", "mini") else name


def configurations(folder: str, designs: Designs, **common: Any) -> dict[str, DefaultCfg]:
    """What timm tells of each model: `common` (input size, mean, std, classes), its first and its last layer.

    timm reads it from the global `default_cfgs` of the module that `register` is given.
    """
    return generate_default_cfgs(
        {
            timm_name(f"{folder}/{name}"): {
                "first_conv": design.family.first_conv,
                "classifier": design.family.classifier_name,
                **common,
            }
            for name, design in designs.items()
        }
    )


def register(module: str, folder: str, designs: Designs) -> None:
    """Enters each model in timm's registry, as if `module` were one of timm's own."""
    for name, design in designs.items():
        register_model(_entrypoint(module, timm_name(f"{folder}/{name}"), design))


def _entrypoint(module: str, name: str, design: Design) -> Callable[..., Classifier]:
    def create(pretrained: bool = False, **options: Any) -> Classifier:
        build = partial(design.family, *design.arguments)
        # timm writes into feature_cfg: a fresh one for each call.
        return build_model_with_cfg(build, name, pretrained, feature_cfg={"feature_cls": "getter"}, **options)

    create.__module__, create.__name__ = module, name
    return create


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
