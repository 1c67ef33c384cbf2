"""One clip to one face as a plain script does it: the reference of benchmarks/run.py for the cold start.

python benchmarks/plain_torch.py ENCODER CHECKPOINT DECODER_CHECKPOINT CLIP FACE.png

The networks are initialised and then filled from files read whole, everything is float32, and the libraries that the
published scripts import are imported. (They also start two ffmpeg processes for a clip, and import more.)
"""

import sys

import torch
import torchaudio  # noqa: F401
import torchvision  # noqa: F401
from PIL import Image

from speech2face.decoders.normalized import NormalizedFaceDecoder
from speech2face.encoders.ast import AudioSpectrogramTransformer
from speech2face.encoders.paper import PaperEncoder
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.fbank import LogMelFilterBank
from speech2face.preprocessing.spectrogram import Spectrogram
from speech2face.weights.load import recognise


def fill(model: torch.nn.Module, part: str, choice: str, path: str) -> torch.nn.Module:
    target = f"{type(model).__module__}.{type(model).__name__}"
    tensors = torch.load(path, map_location="cpu")["model_state_dict"]
    tensors, *_ = recognise(tensors, path, part, choice, {"_target_": target})
    model.load_state_dict(tensors, strict=False)
    return model.eval()


def main() -> None:
    choice, weights, decoder_weights, clip, out = sys.argv[1:]
    if choice == "ast":
        from transformers import ASTFeatureExtractor, ASTModel  # noqa: F401

        encoder, features = AudioSpectrogramTransformer(), LogMelFilterBank()
    else:
        encoder, features = PaperEncoder(), Spectrogram("magnitude_phase")
    encoder = fill(encoder, "encoder", choice, weights)
    decoder = fill(NormalizedFaceDecoder(), "decoder", "normalized", decoder_weights)
    with torch.no_grad():
        _, texture = decoder(encoder(Audio(features)(clip).features))
    Image.fromarray((texture[0].permute(1, 2, 0) * 255).byte().numpy()).save(out)


if __name__ == "__main__":
    main()
