"""Student and teacher architectures. Importing this package registers the project's and torchvision's models with
timm."""

from ttm_core.models.build import build
from ttm_core.models.cifar.registry import CIFAR, MINI
from ttm_core.models.installed.entry_points import load_installed
from ttm_core.models.timm_models import timm_name
from ttm_core.models.torchvision_models import TORCHVISION

INSTALLED = tuple(load_installed())
"""The architectures of other packages. Loaded once, when the first module of the engine needs a model."""

__all__ = ["CIFAR", "INSTALLED", "MINI", "TORCHVISION", "build", "timm_name"]
