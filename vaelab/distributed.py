"""One training over several processes, on one machine or on several.

    torchrun --nproc_per_node 2 train.py --task VAE0label

Each process holds the whole model and takes its own rows of every batch; `DistributedDataParallel` averages
the gradients. Batches, their order and their noise are those of one process, so that the losses are too, up
to rounding, whatever the number of processes. The first process alone writes files and prints.

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
    """The processes of a training, seen from one of them. The default is a process on its own."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine
    local_size: int = 1
    restarts: int = 0  # how often torchrun has started all of them anew

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """This process's own device of the kind that was chosen. Raises: LabError if there are too few."""
        if self.size == 1:
            return device
        if device.type != "cuda":
            return torch.device("cpu")  # gloo passes on no tensors of Apple's MPS
        if (count := torch.cuda.device_count()) < self.local_size:
            raise LabError(
                f"{self.local_size} processes need a GPU each, this machine has {count}: start no more by "
                "--nproc_per_node, or add --device cpu"
            )
        return torch.device("cuda", self.local_rank)

    @contextmanager
    def rank_zero_output(self) -> Iterator[None]:
        """A context in which the first process prints, and the first of each machine says what went wrong."""
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
                sys.exit(1)  # another process has ended: the trouble is there

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Join the other processes: by NCCL between GPUs, else by gloo."""
        if self.size == 1:
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Started without a rendezvous of its own, torchrun keeps the addresses of processes that have died.
        store, _, _ = next(rendezvous("env://"))
        if self.local_size == self.size:
            store = dist.PrefixStore(f"attempt {self.restarts}", store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size)
        yield
        dist.destroy_process_group()  # after an error the others may be gone, and this would not return

    def rows(self, n: int) -> tuple[slice, int]:
        """Which of a batch's n rows this process takes, and how many of them count.

        With more processes than rows, some take a row that doesn't count: each has to take part.
        """
        start, stop = n * self.rank // self.size, n * (self.rank + 1) // self.size
        return (slice(start, stop) if stop > start else slice(0, 1)), stop - start

    def noise(self, n: int) -> AbstractContextManager:
        """A context in which what a batch of n rows draws is what one process would draw for these rows."""
        return nullcontext() if self.size == 1 else WholeBatchNoise(n, self.rows(n)[0])

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_main_process(self, function: Callable[[], Any]) -> Any:
        """What `function` returns in the first process, which alone runs it, in every process.

        Where it fails there, the others end, and leave it to the first to say why.
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
        """`terms`, a function that runs the model, with gradients averaged over all processes.

        example: arguments for `terms`: one call shows whether each weight takes part in the loss.
        """
        if self.size == 1:
            return terms
        terms(*example)[0][0].backward()
        unused = any(weight.grad is None for weight in model.parameters() if weight.requires_grad)
        model.zero_grad()
        return DistributedDataParallel(_Terms(model, terms), find_unused_parameters=unused)


class _Terms(nn.Module):
    """A function that runs a model, as a module with that model's weights."""

    def __init__(self, model: nn.Module, terms: Callable) -> None:
        super().__init__()
        self.model, self.terms = model, terms

    def forward(self, *args: Any) -> Any:
        return self.terms(*args)


class WholeBatchNoise(TorchFunctionMode):
    """Random numbers for some rows of a batch, equal to those that one process draws for the same rows.

    `torch.rand`, `randn`, `rand_like` and `randn_like` draw for the whole batch and keep the rows. Their
    first dimension is that of the rows, or a multiple of it, as after `repeat`. Whatever else draws
    (dropout, say) is left alone, and then differs from what one process draws.
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
    """What torchrun said of this process; one on its own, where it was started without."""
    if not dist.is_torchelastic_launched():
        return World()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    return World(*(int(os.environ[name]) for name in names))
