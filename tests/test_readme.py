"""Every command of the README, as printed, those in tables too."""

import re
import subprocess
import sys
from pathlib import Path

import torch
from conftest import ROOT, transformers_ast
from keras_files import keras_layers, write_keras
from torchvision.models import resnet18

README = (ROOT / "README.md").read_text()


def test_commands_and_python_of_the_readme_run_as_printed(tmp_path: Path, checkpoints: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "weights").mkdir()
    for file in checkpoints.iterdir():
        (tmp_path / "weights" / file.name).symlink_to(file)
    (tmp_path / "weights" / "paper.pt").symlink_to(checkpoints / "ve_conv.pt")
    for person, sound in (("one", "librivox_male.wav"), ("two", "alsa_female.flac")):  # data of one's own
        for folder, file in ((f"people/{person}/audios", sound), (f"people/{person}/images", "astronaut.png")):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / file).symlink_to(ROOT / "examples" / file)
        for folder, kind in ((f"voxceleb/wav/id_{person}", "audios"), (f"hq_voxceleb/{person}", "images")):
            (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder).symlink_to(tmp_path / "people" / person / kind)
    (tmp_path / "vox1_meta.csv").write_text("VoxCeleb1 ID\tVGGFace1 ID\nid_one\tone\nid_two\ttwo\n")
    transformers_ast().save_pretrained(tmp_path / "weights" / "ast")
    torch.save(resnet18(num_classes=4096).state_dict(), tmp_path / "weights" / "resnet.pt")
    write_keras(tmp_path / "weights" / "vgg_face_weights.h5", "serengil", keras_layers("serengil"))
    write_keras(tmp_path / "weights" / "rcmalli_vggface_tf_vgg16.h5", "rcmalli", keras_layers("rcmalli"))
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("python run.py")]
    commands += re.findall(r"^\|.*`(python run.py .*)` \|$", README, re.MULTILINE)
    assert len(commands) > 20
    for command in commands:
        typed = command.replace("python run.py", f"'{sys.executable}' '{ROOT}/run.py'")
        result = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, command + result.stdout + result.stderr
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "build(" in block]
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output == program.rsplit("# ", 1)[1]  # what its last comment says that it prints


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
