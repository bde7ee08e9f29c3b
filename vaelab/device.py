"""Device, precision and memory settings of torch."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from vaelab.cli import LabError


def choose_device(name: str) -> torch.device:
    """The device `name`. `auto`: CUDA, else MPS, else the CPU. Raises: LabError if it is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in available if available[device])
    if not available[name]:
        raise LabError(
            "this machine, or this build of torch, has no {name} device: use --device auto", name=name
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """`bf16` or `fp32`. `auto`: bf16 if the device supports it natively (much faster), else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = cpu.get("avx512_bf16") or cpu.get("amx_bf16")
    return "bf16" if native else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context in which layers compute in `precision`; weights and optimizer stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def keep_memory() -> None:
    """Configure glibc's malloc to keep freed memory for the next step instead of returning it to the system.

    Each step frees its tensors and allocates the same sizes again. New memory pages take time: up to a third
    of a step on a CPU. Without glibc this does nothing.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 1 << 30)
