"""One training in several processes, on one machine or several.

    torchrun --nproc_per_node 2 train.py --task VAE0label

Each process has a copy of the model and processes its own rows of every batch; `DistributedDataParallel`
averages the gradients. Batches, their order and the noise do not depend on the number of processes, so the
losses don't either, up to rounding. Only the main process (rank 0) writes files and prints.

Paper: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training (2020).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from vaelab.cli import LabError


@dataclass(frozen=True)
class World:
    """The rank of this process and the number of processes. The default is a single process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine
    local_size: int = 1
    restarts: int = 0  # number of times that torchrun has restarted all processes

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0, the process that writes files and prints."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The device of this process, of the type of `device`. Raises: LabError if there are too few GPUs."""
        if self.size == 1:
            return device
        if device.type != "cuda":
            return torch.device("cpu")  # gloo does not support tensors on Apple's MPS
        if (count := torch.cuda.device_count()) < self.local_size:
            raise LabError(
                "{local_size} processes need a GPU each, and this machine has {count}: start fewer with "
                "--nproc_per_node, or add --device cpu",
                local_size=self.local_size,
                count=count,
            )
        return torch.device("cuda", self.local_rank)

    @contextmanager
    def rank_zero_output(self) -> Iterator[None]:
        """A context in which only the main process prints, and one process per machine reports errors."""
        with (
            nullcontext() if self.is_main_process else redirect_stdout(None),
            nullcontext() if self.local_rank == 0 else redirect_stderr(None),
        ):
            try:
                yield
            except LabError:
                if self.local_rank == 0:
                    raise
                sys.exit(2)
            except RuntimeError as error:
                if self.is_main_process or "Connection closed by peer" not in str(error):
                    raise
                sys.exit(1)  # another process failed, and reports its error

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """A context in which this process is connected to the others: by NCCL between GPUs, else by gloo."""
        if self.size == 1:
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Without a rendezvous of its own, torchrun keeps the addresses of processes of an earlier attempt.
        store, _, _ = next(rendezvous("env://"))
        if self.local_size == self.size:
            store = dist.PrefixStore(f"attempt {self.restarts}", store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size)
        yield
        # Not after an error: the others may have ended, and this would wait for them.
        dist.destroy_process_group()

    def rows(self, n: int) -> tuple[slice, int]:
        """The slice of a batch's n rows that this process computes, and how many of its rows count.

        If there are more processes than rows, some compute a row that does not count: every process must take
        part in each step.
        """
        start, stop = n * self.rank // self.size, n * (self.rank + 1) // self.size
        return (slice(start, stop) if stop > start else slice(0, 1)), stop - start

    def noise(self, n: int) -> AbstractContextManager:
        """A context in which each row gets the random numbers that it would get in a single process."""
        return nullcontext() if self.size == 1 else WholeBatchNoise(n, self.rows(n)[0])

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over all processes, in place. Returns: `values`."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_main_process(self, function: Callable[[], Any]) -> Any:
        """Call `function` in the main process only. Returns: its result, in every process.

        If it fails, the other processes exit, and the main process reports the error.
        """
        if self.size == 1:
            return function()
        outcome: list[Any] = [None, False]
        try:
            if self.is_main_process:
                outcome = [function(), True]
        finally:
            dist.broadcast_object_list(outcome)
        if not outcome[1]:
            sys.exit(2)
        return outcome[0]

    def parallel(self, model: nn.Module, terms: Callable, example: tuple) -> Callable:
        """A function equal to `terms`, but whose gradients are averaged over all processes.

        terms: a function that calls the model. example: its arguments for one call, which determines whether
        all weights get a gradient.
        """
        if self.size == 1:
            return terms
        terms(*example)[0][0].backward()
        unused = any(weight.grad is None for weight in model.parameters() if weight.requires_grad)
        model.zero_grad()
        return DistributedDataParallel(_Terms(model, terms), find_unused_parameters=unused)


class _Terms(nn.Module):
    """A function that calls a model, as a module with the model's weights."""

    def __init__(self, model: nn.Module, terms: Callable) -> None:
        super().__init__()
        self.model, self.terms = model, terms

    def forward(self, *args: Any) -> Any:
        return self.terms(*args)


class WholeBatchNoise(TorchFunctionMode):
    """Random numbers for some rows of a batch, equal to those that a single process draws for these rows.

    `torch.rand`, `randn`, `rand_like` and `randn_like` draw for the whole batch and return the rows. Their
    first dimension is the number of rows, or a multiple of it, as after `repeat`. Other random functions
    (dropout, for example) are not changed, and differ from those of a single process.
    """

    def __init__(self, n: int, rows: slice) -> None:
        super().__init__()
        self.n, self.rows = n, rows

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.rand_like, torch.randn_like):
            like = args[0]
            shape, kwargs = tuple(like.shape), {"dtype": like.dtype, "device": like.device} | kwargs
            function = torch.rand if function is torch.rand_like else torch.randn
        elif function in (torch.rand, torch.randn):
            shape = tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else args
        else:
            return function(*args, **kwargs)
        own = self.rows.stop - self.rows.start
        if not shape or shape[0] % own:
            return function(shape, **kwargs)
        drawn = function((shape[0] // own, self.n, *shape[1:]), **kwargs)
        return drawn[:, self.rows].reshape(shape)


def find_world() -> World:
    """The processes as torchrun describes them in the environment; a single process without torchrun."""
    if not dist.is_torchelastic_launched():
        return World()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    return World(*(int(os.environ[name]) for name in names))
