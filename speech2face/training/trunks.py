"""Outputs of a frozen trunk, computed once for every recording: in an epoch, only the head of the encoder works."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from speech2face.encoders.base import EncoderNetwork
from speech2face.files import atomic, leave_to_parent, state
from speech2face.inference.device import OnDevice
from speech2face.training.data import Clips


class Trunks:
    """Outputs of a trunk on disk.

    outputs: (versions, rows, width) float32; epoch n uses version n modulo their number. read: (versions, rows), the
    row that was read instead of one that could not be.
    """

    def __init__(self, file: Path, versions: int, rows: int, width: int) -> None:
        self.outputs = np.memmap(file, np.float32, "r", shape=(versions, rows, width))
        self.read = np.load(file.with_suffix(".npy"))

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, torch.Tensor]:
        """(epoch, row) -> the row that was read, and its output (width,)."""
        epoch, row = item
        version = epoch % len(self.read)
        return int(self.read[version, row]), torch.from_numpy(np.array(self.outputs[version, row]))


def has_trunk(network: EncoderNetwork) -> bool:
    """Whether the network has a trunk, below a head that is one linear layer: its outputs can be cached."""
    own = type(network).trunk is not EncoderNetwork.trunk
    return own and network.get_submodule(network.head_name) is network.head_layer


def cache_trunks(
    rows: Clips, network: EncoderNetwork, what: dict[str, Any], versions: int, directory: Path,
    device: str, precision: str, batch_size: int, workers: int, name: str,
) -> None:  # fmt: skip
    """Set `rows.cached` to the outputs of the trunk for all recordings, from a file in `directory`, or computed.

    what: of the front end, everything that its features depend on, as plain data. versions: of each recording, with
    other windows and another augmentation; one, if there is none. name: for the progress bar.
    """
    rows.cached = None
    versions = versions if rows.augment else 1
    below = {key: one for key, one in network.state_dict().items() if not key.startswith(f"{network.head_name}.")}
    digest = hashlib.sha256()
    for key, one in below.items():
        digest.update(f"{key} {tuple(one.shape)}".encode() + one.detach().cpu().contiguous().numpy().tobytes())
    files = [rows.files.path(row) for row in rows.rows]
    about = what | {"network": digest.hexdigest(), "precision": precision, "versions": versions, "seed": rows.seed}
    about |= {"root": str(rows.root.absolute()), "files": [(path, *state(rows.root / path)) for path in files]}
    about |= {"seconds": rows.seconds, "augment": rows.augment, "vocal_tract": rows.vocal_tract}
    key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:20]
    file, width = directory / f"trunks-{key}.f32", network.head_layer.in_features
    if not file.with_suffix(".npy").exists():
        directory.mkdir(parents=True, exist_ok=True)
        _compute(file, rows, OnDevice(network.eval(), device, precision), versions, batch_size, workers, name)
    rows.cached = Trunks(file, versions, len(rows), width)


def _compute(file: Path, rows: Clips, on: OnDevice, versions: int, batch_size: int, workers: int, name: str) -> None:
    items = [(version, row) for version in range(versions) for row in range(len(rows))]
    loader = DataLoader(
        rows, batch_size, sampler=items, num_workers=workers, worker_init_fn=leave_to_parent,
        multiprocessing_context="fork" if workers else None,
        generator=torch.Generator(),  # not torch's own, from which layers are filled that the training adds
    )  # fmt: skip
    read = []
    with atomic(file) as partial, open(partial, "wb") as stream, torch.inference_mode(), on.autocast():
        for batch in tqdm(loader, f"hearing {name}", unit="batch"):
            read.append(batch["row"].numpy())
            stream.write(on.network.trunk(batch["features"].to(on.device)).float().cpu().numpy().tobytes())
    with atomic(file.with_suffix(".npy")) as partial, open(partial, "wb") as stream:
        np.save(stream, np.concatenate(read).reshape(versions, len(rows)))
