"""The processes of one run: one process per device.

Every process executes the same sequence of steps. The main process makes all decisions and measurements and broadcasts
them, except for validation, which the processes divide; only the main process emits events and writes checkpoints.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ttm_core.errors import BadSpec

_T = TypeVar("_T")

# The other processes wait while the main process reads data, evaluates the final student or exports.
_TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class Distributed:
    """This process's rank and the number of processes of its run."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def run_on_main(self, function: Callable[[], _T]) -> _T:
        """Calls `function` in the main process only and broadcasts its result, which must be picklable."""
        if self.size == 1:
            return function()
        result: list[Any] = [function() if self.is_main else None]
        dist.broadcast_object_list(result, src=0, device=torch.device("cpu"))
        return cast(_T, result[0])

    def main_first(self, function: Callable[[], _T]) -> _T:
        """Calls `function` in the main process, then in the others, which find on disk what the main process wrote."""
        if self.size == 1:
            return function()
        if self.is_main:
            result = function()
            self.barrier()
            return result
        self.barrier()
        return function()

    def barrier(self) -> None:
        """Blocks until every process of the run has reached this call."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))

    def broadcast_flags(self, *flags: bool) -> Sequence[bool]:
        """The main process's flags, in every process."""
        if self.size == 1:
            return flags
        values = torch.tensor(flags, dtype=torch.uint8)
        dist.broadcast(values, src=0)
        return cast(list[bool], values.bool().tolist())

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Copies the main process's buffers of a module, such as batch norm statistics, to the other processes."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of a CPU tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def shard(self, count: int) -> slice:
        """This process's contiguous share of `count` items; shares differ by at most one item."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


ONE_PROCESS = Distributed(rank=0, size=1)


@contextmanager
def init_distributed(devices: int) -> Iterator[Distributed]:
    """Joins the process group that `ttm_core.training.launch` or torchrun describes in the environment.

    Raises:
        BadSpec: the launcher started a different number of processes than `devices`.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != devices:
        raise BadSpec(
            f"training.devices is {devices}, but {size} process{'' if size == 1 else 'es'} of this run were started: "
            "use `python -m ttm_core distill`, which starts one process per device, or torchrun with as many processes"
        )
    if devices == 1:
        yield ONE_PROCESS
        return
    rank = int(os.environ["RANK"])
    # Decisions are broadcast as CPU tensors; gradients are reduced on the models' device.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    init_method = os.environ.get("TTM_RENDEZVOUS", "env://")
    dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=size, timeout=_TIMEOUT)
    try:
        yield Distributed(rank, size)
    finally:
        dist.destroy_process_group()
