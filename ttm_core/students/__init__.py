"""Student and teacher architectures. Importing this package also enters the models of ours in timm's registry."""

from ttm_core.students.cifar import CIFAR
from ttm_core.students.create import create_model
from ttm_core.students.mini import MINI
from ttm_core.students.timm_registry import timm_name

__all__ = ["CIFAR", "MINI", "create_model", "timm_name"]
