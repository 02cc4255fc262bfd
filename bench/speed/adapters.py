"""KD with the weights 0.1 and 0.9 and temperature 4 by other libraries."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
CE_WEIGHT, KD_WEIGHT, TEMPERATURE = 0.1, 0.9, 4.0
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


def timm_loss(student: nn.Module, teacher: nn.Module, device: torch.device = CPU) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a batch by timm's LogitDistillationTask."""
    from timm.task import LogitDistillationTask

    task = LogitDistillationTask(
        student_model=student,
        teacher_model=teacher,
        criterion=nn.CrossEntropyLoss(),
        task_loss_weight=CE_WEIGHT,
        distill_loss_weight=KD_WEIGHT,
        temperature=TEMPERATURE,
        device=device,
        verbose=False,
    )

    def loss(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = task(x, y)["loss"]
        return found

    return loss


def torchdistill_box(
    student: nn.Module,
    teacher: nn.Module,
    dataset: torch.utils.data.Dataset[Any],
    *,
    epochs: int,
    batch: int,
    rate: float,
    device: torch.device = CPU,
) -> Any:
    """torchdistill's DistillationBox with SGD. `dataset` yields (image, label)."""
    from torch.utils.data import RandomSampler
    from torchdistill.core.distillation import get_distillation_box

    config: dict[str, Any] = {
        "num_epochs": epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": batch, "num_workers": 0},
        },
        "val_data_loader": {},
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": {"lr": rate, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "kd": {
                        "criterion": {
                            "key": "KDLoss",
                            "kwargs": {
                                "student_module_path": ".",
                                "student_module_io": "output",
                                "teacher_module_path": ".",
                                "teacher_module_io": "output",
                                "temperature": TEMPERATURE,
                                "alpha": CE_WEIGHT,
                            },
                        },
                        "weight": 1.0,
                    }
                }
            },
        },
    }
    return get_distillation_box(teacher, student, {"train": dataset}, config, device, None, False, 1.0)
