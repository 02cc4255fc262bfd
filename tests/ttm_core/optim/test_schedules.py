"""The learning rate of every step, against timm's own schedulers."""

import pytest
import torch
from pydantic import TypeAdapter
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler, PolyLRScheduler, StepLRScheduler

from ttm_core.spec.optimizer.optimizers import ScheduleSpec
from ttm_core.training.optimizers import learning_rate

SCHEDULE: TypeAdapter[ScheduleSpec] = TypeAdapter(ScheduleSpec)
STEPS, EPOCHS, BASE = 5, 12, 0.4


def ours(**options):
    spec = SCHEDULE.validate_python(options)
    return [learning_rate(spec, BASE, step=i, steps_per_epoch=STEPS, epochs=EPOCHS) for i in range(STEPS * EPOCHS)]


def timms(scheduler, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    schedule = scheduler(optimizer, t_in_epochs=False, **options)
    rates = []
    for step in range(STEPS * EPOCHS):
        schedule.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


WARM = {"warmup_epochs": 3, "warmup_learning_rate": 0.01}
TIMM_WARM = {"warmup_t": 15, "warmup_lr_init": 0.01}


@pytest.mark.parametrize("warm", [False, True])
def test_cosine(warm):
    options = {"warmup_prefix": True, **TIMM_WARM} if warm else {}
    total = STEPS * EPOCHS - (15 if warm else 0)
    expected = timms(CosineLRScheduler, t_initial=total, lr_min=0.02, **options)
    assert ours(kind="cosine", final_learning_rate=0.02, **(WARM if warm else {})) == pytest.approx(expected)


def test_poly():
    expected = timms(PolyLRScheduler, t_initial=45, lr_min=0.02, power=2.0, warmup_prefix=True, **TIMM_WARM)
    assert ours(kind="poly", power=2, final_learning_rate=0.02, **WARM) == pytest.approx(expected)


def test_multistep():
    # timm's drops one update before its mark.
    expected = timms(MultiStepLRScheduler, decay_t=[21, 41], decay_rate=0.1, warmup_prefix=False, **TIMM_WARM)
    assert ours(kind="multistep", milestones=[4, 8], **WARM) == pytest.approx(expected)


def test_step():
    expected = timms(StepLRScheduler, decay_t=25, decay_rate=0.5, warmup_prefix=False, **TIMM_WARM)
    assert ours(kind="step", epochs=5, factor=0.5, **WARM) == pytest.approx(expected)


def test_constant():
    assert ours(kind="constant") == [BASE] * (STEPS * EPOCHS)
    assert ours(kind="constant", **WARM)[15:] == [BASE] * (STEPS * EPOCHS - 15)
