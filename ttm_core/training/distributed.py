"""The processes of a run, one for each device.

All of them go through the same stations. What must be the same for all (decisions, measurements, when to stop) is found
by the first and told to the others; only the first tells of anything and writes checkpoints.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ttm_core.data.batches import Batch
from ttm_core.errors import BadSpec
from ttm_core.methods.build import Moment, Terms
from ttm_core.training.distiller import Distiller, Forward

_T = TypeVar("_T")

# A peer may wait for as long as the first reads data, validates or exports.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """This process among those of its run; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def shared(self, find: Callable[[], _T]) -> _T:
        """What the first finds, the same for all. The others wait for it."""
        if self.size == 1:
            return find()
        found: list[Any] = [find() if self.leads else None]
        distributed.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        return cast(_T, found[0])

    def first(self, do: Callable[[], _T]) -> _T:
        """All do it, the others when the first has: what it left on disk they find."""
        if self.size == 1:
            return do()
        if self.leads:
            done = do()
            self.wait()
            return done
        self.wait()
        return do()

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1))

    def agreed(self, *wishes: bool) -> Sequence[bool]:
        """The first's wishes."""
        if self.size == 1:
            return wishes
        told = torch.tensor(wishes, dtype=torch.uint8)
        distributed.broadcast(told, src=0)
        return cast(list[bool], told.bool().tolist())

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all of a tensor on the CPU."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def part(self, count: int) -> slice:
        """This process's share of `count` neighbouring things: as even as can be."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


@contextmanager
def join(devices: int) -> Iterator[World]:
    """The world of this process, as its launcher's environment says: `ttm_core.pipeline.launch`, or torchrun.

    Raises BadSpec where the launcher started another number of processes than the run asks for.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != devices:
        raise BadSpec(
            f"training.devices is {devices}, but {size} process{'' if size == 1 else 'es'} of this run were started: "
            "use `python -m ttm_core distill`, which starts one for each device, or torchrun with as many"
        )
    if devices == 1:
        yield World()
        return
    rank = int(os.environ["RANK"])
    # Numbers that are agreed on lie on the CPU, gradients where the models are.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    meeting = os.environ.get("TTM_RENDEZVOUS", "env://")
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield World(rank, size)
    finally:
        distributed.destroy_process_group()


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
