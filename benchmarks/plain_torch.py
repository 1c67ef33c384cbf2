"""One clip to one face as a plain script does it: the reference of benchmarks/run.py for the cold start.

python benchmarks/plain_torch.py ENCODER CHECKPOINT DECODER_CHECKPOINT CLIP FACE.png

The networks are initialised and then filled from files that are read whole. Everything is float32. The libraries that
the published scripts import are imported. (Those scripts also start two ffmpeg processes for a clip, and import more.)
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


def fill(model: torch.nn.Module, path: str) -> torch.nn.Module:
    """The model with the tensors of a checkpoint in one of its published layouts."""
    tensors = torch.load(path, map_location="cpu")["model_state_dict"]
    layout, renamed = next((one, found) for one in model.layouts if (found := one.rename(tensors)))
    model.load_state_dict(layout.convert(renamed), strict=False)
    return model.eval()


def main() -> None:
    encoder_name, weights, decoder_weights, clip, out = sys.argv[1:]
    if encoder_name == "ast":
        from transformers import ASTFeatureExtractor, ASTModel  # noqa: F401

        encoder, audio = AudioSpectrogramTransformer(), Audio(LogMelFilterBank(), window_seconds=10.26)
    else:
        encoder, audio = PaperEncoder(), Audio(Spectrogram("magnitude_phase", centered=True))
    encoder, decoder = fill(encoder, weights), fill(NormalizedFaceDecoder(), decoder_weights)
    with torch.no_grad():
        _, texture = decoder(encoder(audio(clip).features))
    Image.fromarray((texture[0].permute(1, 2, 0) * 255).byte().numpy()).save(out)


if __name__ == "__main__":
    main()
