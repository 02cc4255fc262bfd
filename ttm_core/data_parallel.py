"""Gradients of several processes, each with its part of the batch, averaged as they are computed."""

from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ttm_core.data.batches import Batch
from ttm_core.distiller import Distiller, Forward
from ttm_core.methods.build import Moment, Terms
from ttm_core.world import World


def in_parallel(distiller: Distiller, world: World) -> Forward:
    """The distiller, with gradients averaged over all, and batch norms' running statistics those of the first."""
    if world.size == 1:
        return distiller
    # A method need not use all of a model's parameters, such as a second head.
    return DistributedDataParallel(_Module(distiller), find_unused_parameters=True)


def gathering(forward: Forward, last: bool) -> AbstractContextManager[None]:
    """Around a part of a step: gradients cross between the processes with its last part."""
    if last or not isinstance(forward, DistributedDataParallel):
        return nullcontext()
    return forward.no_sync()


class _Module(nn.Module):
    """A distiller as a module of what it trains."""

    def __init__(self, distiller: Distiller) -> None:
        super().__init__()
        self.student, self.objective = distiller.student, distiller.objective
        self._distiller = distiller

    def forward(self, batch: Batch, moment: Moment) -> Terms:
        return self._distiller(batch, moment)
