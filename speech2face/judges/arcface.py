"""Recognisers of the ArcFace family as judges: ONNX files whose input is a face aligned by five points."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from speech2face.errors import UserError, exists, extra
from speech2face.files import sha256
from speech2face.judges.base import Judge, Opinion, Portrait, unit
from speech2face.preprocessing.alignment import similarity, warp
from speech2face.preprocessing.landmarks import IBUG
from speech2face.weights.locate import HUB_ID, fetch

# Left eye, right eye, tip of the nose, left and right corner of the mouth in the input of 112 x 112 pixels; left and
# right are the viewer's (Deng et al., "ArcFace", CVPR 2019; insightface/utils/face_align.py).
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
SIZE = 112
NOSE, CORNERS = IBUG.index(30), (IBUG.index(48), IBUG.index(54))
BATCH = 32  # where the model's is free


class ArcFace(Judge):
    """Portraits -> embeddings (n, d) of length one, by an ONNX model with the input (batch, 3, 112, 112), RGB.

    weights: the file, or a hub id whose repository has one .onnx. mean, std: of pixels in 0..255; the input is
    (pixel - mean) / std. slot: for messages, such as judge.arcface.

    Raises UserError if onnxruntime is not installed or there is no such file, and on `load` if it is not such a model.
    """

    def __init__(self, weights: str | None, mean: float = 127.5, std: float = 127.5, slot: str = "judge") -> None:
        option = f"{slot}.weights"
        self.file = locate_onnx(weights, option)
        if find_spec("onnxruntime") is None:
            raise UserError(f"{option}={weights}: ONNX models need onnxruntime: {extra('judges')}")
        self.name, self.mean, self.std = f"{option}={weights}", mean, std
        path = Path(weights).expanduser()
        self.weights, self.digest = str(path.absolute()) if exists(path) else weights, sha256(self.file)

    def load(self) -> None:
        """Read the model. Raises UserError if it cannot be read or its input is another."""
        from onnxruntime import InferenceSession

        try:
            self.session = InferenceSession(str(self.file), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises anything for damaged files
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"{self.name}: not a readable ONNX model ({reason[0]})") from None
        inputs = self.session.get_inputs()
        batch, *shape = inputs[0].shape
        wanted = [3, SIZE, SIZE]
        fits = len(shape) == 3 and all(a == b or not isinstance(a, int) for a, b in zip(shape, wanted, strict=True))
        if len(inputs) != 1 or not fits:
            found = "; ".join(f"{one.name} {one.shape}" for one in inputs)
            raise UserError(f"{self.name}: takes {found}, not faces as (batch, 3, {SIZE}, {SIZE})")
        self.input, self.batch = inputs[0].name, batch if isinstance(batch, int) else BATCH

    def __call__(self, portraits: Sequence[Portrait]) -> Opinion:
        """Look at n portraits, each aligned by eyes, nose and mouth."""
        crops = np.stack([aligned(one) for one in portraits]).astype(np.float32)
        features = ((crops - self.mean) / self.std).transpose(0, 3, 1, 2).astype(np.float32)
        found = []
        for start in range(0, len(features), self.batch):
            part = features[start : start + self.batch]
            whole = np.concatenate([part, np.repeat(part[-1:], self.batch - len(part), 0)])  # some have a fixed batch
            found.append(self.session.run(None, {self.input: whole})[0].reshape(self.batch, -1)[: len(part)])
        return Opinion(unit(np.concatenate(found)))


def aligned(portrait: Portrait) -> np.ndarray:
    """The face (112, 112, 3) uint8 RGB, turned, scaled and shifted so that its five points are at TEMPLATE."""
    points = portrait.landmarks.astype(np.float64)
    five = [points[36:42].mean(0), points[42:48].mean(0), points[NOSE], *points[list(CORNERS)]]
    return np.asarray(warp(portrait.image, similarity(np.array(five), TEMPLATE), SIZE)[0])


def locate_onnx(weights: str | None, option: str) -> Path:
    """The file of an ONNX model. Raises UserError if there is none, or several in a hub repository."""
    if not weights:
        raise UserError(f"{option}: must be given: an ONNX file of the ArcFace family, or the id of a hub repository")
    path, hub_id = Path(weights).expanduser(), HUB_ID.fullmatch(weights)
    if not exists(path) and hub_id and path.suffix != ".onnx":
        path = fetch(*hub_id.groups(), option, ["*.onnx"])
    files = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
    if len(files) != 1:
        named = ", ".join(str(one.relative_to(path)) for one in files[:5]) or "none"
        raise UserError(f"{option}={weights}: needs one .onnx file, and there are {named}; give one by its path")
    if not exists(files[0]):
        raise UserError(f"{option}={weights}: no such file, nor the id (owner/name) of a hub repository")
    return files[0]
