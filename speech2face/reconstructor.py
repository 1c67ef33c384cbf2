"""The pipeline itself: preprocessing -> encoder -> 4096-D face feature -> decoder -> face. No files, no Hydra."""

import itertools
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from speech2face.errors import UserError
from speech2face.preprocessing import Prepared

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


@dataclass
class Reconstruction:
    """A face and what it was made from.

    embedding: (4096,) float32. landmarks: (72, 2) float32, x and y in pixels of the face.
    face: (224, 224, 3) uint8 RGB, truncated from [0, 1] * 255 as the published implementation does.
    """

    embedding: np.ndarray
    landmarks: np.ndarray
    face: np.ndarray
    prepared: Prepared


def to_pixels(texture: torch.Tensor) -> torch.Tensor:
    """Texture (batch, 3, height, width) in [0, 1] -> (batch, height, width, 3) uint8, truncated as published."""
    return (texture.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)


def resolve_device(name: str) -> torch.device:
    """auto (a GPU where there is one), cpu, cuda, cuda:N or mps. Raises UserError for what this machine lacks."""
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


class Reconstructor:
    """Files or arrays -> faces.

    preprocessing: see speech2face.preprocessing. encoder: features -> (batch, 4096). decoder: -> landmarks, texture.
    precision: see resolve_precision; bf16 and fp16 run both networks in mixed precision.
    batch_size: windows that go through the networks together.
    stage: context manager by name, to measure where the time goes.
    """

    def __init__(
        self,
        preprocessing: Callable[..., Prepared],
        encoder: nn.Module,
        decoder: nn.Module,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 1,
        stage: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        self.device = resolve_device(device)
        self.preprocessing = preprocessing
        self.encoder = encoder.to(self.device, memory_format=torch.channels_last)
        self.decoder = decoder.to(self.device)
        self.precision = resolve_precision(precision, self.device)
        self.dtype = PRECISIONS[self.precision]
        self.batch_size = batch_size
        self.stage = stage

    def lower(self) -> "Reconstructor":
        """Bring the weights of products to this precision once, instead of for every batch; returns itself.

        A mapped file is left behind with that. Afterwards the networks are of use here alone, in mixed precision.
        """
        for network in (self.encoder, self.decoder) if self.dtype else ():
            for module in network.modules():
                for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items()):
                    if tensor is not None:
                        product = name == "weight" and isinstance(module, PRODUCTS)
                        tensor.data = tensor.to(self.dtype) if product else tensor.clone()
        return self

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()

    @torch.inference_mode()
    def encode(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features of some inputs, each (windows, ...) -> (inputs, 4096): the mean over an input's windows."""
        shapes = {tuple(feature.shape[1:]) for feature in features}
        if len(shapes) > 1:  # clips of different length, taken as they are, cannot share a batch
            return torch.cat([self.encode([feature]) for feature in features])
        with self._autocast():
            chunks = torch.cat(list(features)).split(self.batch_size)
            embeddings = torch.cat([self.encoder(chunk.to(self.device)).float() for chunk in chunks])
        return torch.stack([part.mean(dim=0) for part in embeddings.split([len(feature) for feature in features])])

    @torch.inference_mode()
    def decode(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 4096) -> landmarks (batch, 72, 2) in pixels, texture (batch, 3, 224, 224) in [0, 1]."""
        with self._autocast():
            landmarks, texture = self.decoder(embeddings.to(self.device))
        return landmarks.float(), texture.float()

    def reconstruct(self, prepared: Sequence[Prepared]) -> list[Reconstruction]:
        """Prepared inputs -> their faces. Raises ValueError where the encoder cannot take the features."""
        with self.stage("encode"):
            embeddings = self.encode([one.features for one in prepared])
        with self.stage("decode"):
            landmarks, texture = self.decode(embeddings)
            if not all(bool(tensor.isfinite().all()) for tensor in (embeddings, landmarks, texture)):
                raise ValueError("not finite: damaged weights, or a precision too low for them")
            faces = to_pixels(texture)
            arrays = [tensor.cpu().numpy() for tensor in (embeddings, landmarks, faces)]
        return [Reconstruction(*one) for one in zip(*arrays, prepared, strict=True)]

    def __call__(self, source: Any, sample_rate: int | None = None) -> Reconstruction:
        """A file, an array, or (speech) samples with their rate in Hz -> its face. Raises UserError for bad input."""
        return self.reconstruct([self.preprocessing(source, sample_rate)])[0]
