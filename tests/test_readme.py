"""Every command of the documentation, as printed, those in tables too; and its links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, transformers_ast
from keras_files import keras_layers, write_keras
from torchvision.models import resnet18

# Pages whose commands are run, in this order and in one directory: later ones use what earlier ones wrote. Commands in
# ```sh blocks are not run: they take hours, or need several machines.
RUN = [
    "README.md",
    "docs/outputs.md",
    "docs/published_weights.md",
    "docs/preparation.md",
    "docs/training.md",
    "docs/extending.md",
    "docs/bundled_weights.md",
]
PAGES = ["README.md", "examples/README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md"))]


def commands(page: str) -> list[str]:
    """The lines of ```bash blocks that begin with `python run.py`, then the commands in tables."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    found = [line for block in blocks for line in block.splitlines() if line.startswith("python run.py")]
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    return found + [command for row in rows for command in re.findall(r"`(python run\.py [^`]*)`", row)]


def test_commands_and_python_of_the_pages_run_as_printed(tmp_path: Path, checkpoints: Path) -> None:
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
    transformers_ast(num_labels=527).save_pretrained(tmp_path / "weights" / "audioset")
    torch.save(resnet18(num_classes=4096).state_dict(), tmp_path / "weights" / "resnet.pt")
    write_keras(tmp_path / "weights" / "vgg_face_weights.h5", "serengil", keras_layers("serengil"))
    write_keras(tmp_path / "weights" / "rcmalli_vggface_tf_vgg16.h5", "rcmalli", keras_layers("rcmalli"))
    printed = [(page, command) for page in RUN for command in commands(page)]
    assert len(printed) > 40
    for page, command in printed:
        typed = command.replace("python run.py", f"'{sys.executable}' '{ROOT}/run.py'")
        result = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, f"{page}: {command}\n{result.stdout}{result.stderr}"
    readme = (ROOT / "README.md").read_text()
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "build(" in block]
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output == program.rsplit("# ", 1)[1]  # what its last comment says that it prints


def test_the_commands_of_every_page_are_run() -> None:
    assert {page for page in PAGES if commands(page)} <= set(RUN)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / page).read_text()):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
