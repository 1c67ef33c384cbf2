"""The commands of the documentation, and a directory with what they name: weights and data of one's own."""

import re
from pathlib import Path

import torch
from conftest import ROOT, transformers_ast
from keras_files import keras_layers, write_keras
from torchvision.models import resnet18

README = "README.md"
PAGES = [
    README,
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")),
]


def blocks(text: str, language: str) -> list[str]:
    """The contents of the blocks in one language of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """The lines of ```bash blocks that begin with `python run.py`, then the commands in tables.

    Commands in ```sh blocks are not run: they take hours, or need several machines.
    """
    text = (ROOT / page).read_text()
    found = [line for block in blocks(text, "bash") for line in block.splitlines() if line.startswith("python run.py")]
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    return found + [command for row in rows for command in re.findall(r"`(python run\.py [^`]*)`", row)]


def furnish(directory: Path, checkpoints: Path) -> None:
    """Put into a directory what the commands name."""
    (directory / "examples").symlink_to(ROOT / "examples")
    weights = directory / "weights"
    weights.mkdir()
    for file in checkpoints.iterdir():
        (weights / file.name).symlink_to(file)
    (weights / "paper.pt").symlink_to(checkpoints / "ve_conv.pt")
    transformers_ast().save_pretrained(weights / "ast")
    transformers_ast(num_labels=527).save_pretrained(weights / "audioset")
    torch.save(resnet18(num_classes=4096).state_dict(), weights / "resnet.pt")
    write_keras(weights / "vgg_face_weights.h5", "serengil", keras_layers("serengil"))
    write_keras(weights / "rcmalli_vggface_tf_vgg16.h5", "rcmalli", keras_layers("rcmalli"))
    for person, sound in (("one", "librivox_male.wav"), ("two", "alsa_female.flac")):
        for folder, file in ((f"people/{person}/audios", sound), (f"people/{person}/images", "astronaut.png")):
            (directory / folder).mkdir(parents=True)
            (directory / folder / file).symlink_to(ROOT / "examples" / file)
        for folder, kind in ((f"voxceleb/wav/id_{person}", "audios"), (f"hq_voxceleb/{person}", "images")):
            (directory / folder).parent.mkdir(parents=True, exist_ok=True)
            (directory / folder).symlink_to(directory / "people" / person / kind)
    (directory / "vox1_meta.csv").write_text("VoxCeleb1 ID\tVGGFace1 ID\nid_one\tone\nid_two\ttwo\n")
