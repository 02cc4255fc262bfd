"""Student and teacher architectures. Importing this package also enters the models of ours in timm's registry."""

from ttm_core.models.cifar.registry import CIFAR
from ttm_core.models.create import create_model
from ttm_core.models.mini import MINI
from ttm_core.models.timm_models import timm_name

__all__ = ["CIFAR", "MINI", "create_model", "timm_name"]
