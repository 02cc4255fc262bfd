"""Registers models with timm and downloads published weights."""

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
    """A model class and its arguments."""

    family: type[Classifier]
    arguments: tuple[Any, ...] = ()


Designs = Mapping[str, Design]


def timm_name(name: str) -> str:
    """The name of a model in timm's registry: `cifar/resnet20` is `cifar_resnet20`."""
    folder, slash, model = name.partition("/")
    return f"{folder}_{model}" if slash and folder in ("cifar", "mini", "torchvision") else name


def configurations(folder: str, designs: Designs, **common: Any) -> dict[str, DefaultCfg]:
    """timm's default configuration of each model: `common` (input size, mean, std, classes), first and last layer.

    timm reads it from the global `default_cfgs` of the module passed to `register`.
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
    """Registers each model with timm as a model of `module`."""
    for name, design in designs.items():
        register_model(_entrypoint(module, timm_name(f"{folder}/{name}"), design))


def _entrypoint(module: str, name: str, design: Design) -> Callable[..., Classifier]:
    def create(pretrained: bool = False, **options: Any) -> Classifier:
        build = partial(design.family, *design.arguments)
        # timm modifies feature_cfg, so every call needs a new one.
        return build_model_with_cfg(build, name, pretrained, feature_cfg={"feature_cls": "getter"}, **options)

    create.__module__, create.__name__ = module, name
    return create


_SCHEME = "timm:"
# The Hub also has a pickle of each model, which is never downloaded.
_FILE = "model.safetensors"


def is_published(uri: str) -> bool:
    """Returns whether a URI names published weights (`timm:NAME`)."""
    return uri.startswith(_SCHEME)


def fetch(spec: TeacherSpec) -> tuple[TeacherSpec, Path]:
    """Downloads the weights of a teacher `timm:NAME` to the Hub's cache. Returns the spec with its architecture, and
    the file.

    Raises:
        BadSpec: timm has no such model or no weights for it.
        TeacherUnreachable: the Hub cannot be reached and the file is not in the cache.
    """
    name = spec.checkpoint.removeprefix(_SCHEME)
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the architecture does not have
        config = None
    if config is None or not config.hf_hub_id:
        raise BadSpec(f"teacher.checkpoint: timm has no published weights named {name!r}.")
    try:
        path = hf_hub_download(config.hf_hub_id, _FILE)
    except LocalEntryNotFoundError as error:
        raise TeacherUnreachable(
            f"The weights {name!r} are on the Hugging Face Hub, which this worker cannot reach. Upload the file "
            "instead, or add it to the Hub's cache on the worker."
        ) from error
    except EntryNotFoundError as error:
        raise BadSpec(f"teacher.checkpoint: the Hugging Face Hub has no {_FILE} for {name!r}.") from error
    except (HfHubHTTPError, OSError) as error:
        raise TeacherUnreachable(
            f"The download of {name!r} from the Hugging Face Hub failed: {type(error).__name__}"
        ) from error
    return spec.model_copy(update={"architecture": spec.architecture or name}), Path(path)
