"""Student and teacher architectures. Importing this package registers the project's models with timm."""

from ttm_core.models.cifar.registry import CIFAR
from ttm_core.models.mini import MINI
from ttm_core.models.timm_models import create_model, timm_name

__all__ = ["CIFAR", "MINI", "create_model", "timm_name"]
