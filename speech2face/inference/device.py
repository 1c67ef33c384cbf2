"""Device and precision of networks."""

import itertools
import re
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from torch import nn

from speech2face.errors import UserError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


def resolve_device(name: str) -> torch.device:
    """auto (a GPU where there is one), cpu, cuda, cuda:N or mps. Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device={name}: must be auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices; device=cpu works")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: not available on this machine; device=cpu works")
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; auto is bf16 where `device` multiplies it several times as fast, and fp32 elsewhere.

    That is a GPU from compute capability 8.0 on, and a CPU with AVX512-BF16 or AMX. Raises UserError for another name.
    """
    if name != "auto":
        if name not in PRECISIONS:
            raise UserError(f"precision={name}: must be one of auto, {', '.join(PRECISIONS)}")
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        with suppress(OSError):  # not Linux
            if re.search(r"\b(avx512_bf16|amx_bf16)\b", Path("/proc/cpuinfo").read_text()):
                return "bf16"
    return "fp32"


class OnDevice:
    """A network on a device, in a precision: what encoder and decoder have in common.

    precision: see resolve_precision; bf16 and fp16 run the network in mixed precision.
    """

    def __init__(self, network: nn.Module, device: str = "auto", precision: str = "auto") -> None:
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.dtype = PRECISIONS[self.precision]
        self.network = network.to(self.device, memory_format=torch.channels_last)

    def lower(self) -> None:
        """Bring the weights of products to this precision once, instead of for every batch.

        A mapped file is left behind with that. Afterwards the network is of use here alone, in mixed precision.
        """
        for module in self.network.modules() if self.dtype else ():
            for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None:
                    product = name == "weight" and isinstance(module, PRODUCTS)
                    tensor.data = tensor.to(self.dtype) if product else tensor.clone()

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the network runs."""
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
