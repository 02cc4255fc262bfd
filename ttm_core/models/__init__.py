"""Student and teacher architectures. Importing this package registers the project's and torchvision's models with
timm."""

from ttm_core.models.build import build
from ttm_core.models.cifar.registry import CIFAR, MINI
from ttm_core.models.timm_models import timm_name
from ttm_core.models.torchvision_models import TORCHVISION

__all__ = ["CIFAR", "MINI", "TORCHVISION", "build", "timm_name"]
