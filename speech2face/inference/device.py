"""The device and the precision of networks."""

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
    """auto, cpu, cuda, cuda:N or mps -> device; auto is a GPU if there is one. Raises UserError if it is missing."""
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
    """auto, fp32, bf16 or fp16 -> fp32, bf16 or fp16.

    auto is bf16 on a device that multiplies bf16 several times as fast as fp32: a GPU of compute capability 8.0 or
    higher, or a CPU with AVX512-BF16 or AMX. Elsewhere it is fp32. Raises UserError for another name.
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
    """Base class of Encoder and Decoder: a network on a device, in a precision.

    device: see resolve_device. precision: see resolve_precision; bf16 and fp16 run the network in mixed precision.
    """

    def __init__(self, network: nn.Module, device: str = "auto", precision: str = "auto") -> None:
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.dtype = PRECISIONS[self.precision]
        self.network = network.to(self.device, memory_format=torch.channels_last)

    def lower(self) -> None:
        """Convert the weights of linear layers and convolutions to this precision once, instead of for every batch.

        All tensors are copied, so a memory-mapped file can be closed. Afterwards the network works only in mixed
        precision.
        """
        for module in self.network.modules() if self.dtype else ():
            for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None:
                    product = name == "weight" and isinstance(module, PRODUCTS)
                    tensor.data = tensor.to(self.dtype) if product else tensor.clone()

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the network runs: autocast in mixed precision, else nothing."""
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
