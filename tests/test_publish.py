"""Publishing: what is pushed to a hub loads from there, and nothing else happens to the token or without one.

The hub is a server on this machine (hub.py); the client is the real huggingface_hub.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SPEECH, TINY, run_py
from hub import Hub, serving

TOKEN = "hf_secret"
FLOW = ["part=prior", "repo=someone/flow", "licence=cc-by-4.0"]
BUNDLED = ROOT / "speech2face" / "weights" / "bundled" / "flow"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(TOKEN) as hub:
        yield hub


def settings(hub: Hub, home: Path, token: str = TOKEN) -> dict[str, str]:
    """The environment of a user of this hub, with LFS in place of the hub's newer transfer."""
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    return own | {"HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "0"}


def publish(hub: Hub, tmp_path: Path, *options: str, token: str = TOKEN, status: int = 0) -> str:
    """What `pipeline=publish` says, with what it has written to run.log and run.json, which must not name the token."""
    env = settings(hub, tmp_path / "home", token)
    result = run_py("pipeline=publish", "hydra.run.dir=out", *options, cwd=tmp_path, env=env, status=status)
    written = [
        one.read_text() for one in tmp_path.glob("out/**/*.*") if one.suffix in (".log", ".json", ".yaml", ".md")
    ]
    said = "\n".join([result.stdout, result.stderr, *written])
    assert TOKEN not in said
    return result.stdout + result.stderr


def test_published_weights_are_read_by_the_name_of_their_repository(hub: Hub, tmp_path: Path) -> None:
    metrics = {"retrieval/cosine/all/R@10": {"value": 0.4, "low": 0.25, "high": 0.55, "chance": 0.25}}
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps({"metrics": metrics}))
    said = publish(hub, tmp_path, *FLOW, "evaluation=evaluation")
    ((revision, files),) = hub.repositories["someone/flow"].items()
    assert f"prior.weights=someone/flow@{revision}" in said
    assert files["model.safetensors"] == (BUNDLED / "model.safetensors").read_bytes()
    assert json.loads(files["speech2face.json"]) == json.loads((BUNDLED / "speech2face.json").read_text())
    card = files["README.md"].decode()
    assert (
        card.startswith("---\nlicense: cc-by-4.0\n")
        and "| retrieval/cosine/all/R@10 | 0.4 | 0.25 to 0.55 | 0.25 |" in card
    )
    assert "val/energy" in card  # of the training
    assert sorted(files) == ["README.md", "model.safetensors", "speech2face.json"]
    env = settings(hub, tmp_path / "another_home", token="")
    for name in ("someone/flow", f"someone/flow@{revision}"):
        options = ["samples=1", f"prior.weights={name}", "hydra.run.dir=read", *TINY, "encoder=paper"]
        run_py("--dry-run", f"audio={SPEECH}", *options, cwd=tmp_path, env=env)
    missing = run_py(f"audio={SPEECH}", "samples=1", "prior.weights=someone/flow@v9", cwd=tmp_path, env=env, status=1)
    assert "prior.weights=someone/flow@v9: no such file, and not available from the hub" in missing.stderr


def test_a_dry_run_shows_what_would_be_pushed(hub: Hub, tmp_path: Path) -> None:
    said = publish(hub, tmp_path, *FLOW, "--dry-run", token="")
    size = (BUNDLED / "model.safetensors").stat().st_size
    assert f"{size:,} bytes  model.safetensors" in said and "license: cc-by-4.0" in said
    assert not hub.repositories and not hub.asked


@pytest.mark.parametrize(
    ("options", "token", "part"),
    [
        (FLOW, "", "repo=someone/flow: no token of the hub: hf auth login stores one, or set HF_TOKEN"),
        (FLOW, "hf_other", "401 Unauthorized"),
        (["part=prior", "repo=flow", "licence=mit"], TOKEN, "repo=flow: must be a repository of the hub"),
        (["part=prior", "repo=a/b"], TOKEN, "licence= must be given"),
        (["encoder.weights=random", "repo=a/b", "licence=mit"], TOKEN, "random weights are not published"),
        (["encoder=dlib", "repo=a/b", "licence=mit"], TOKEN, "pipeline=convert writes them in our format"),
    ],
)
def test_what_cannot_be_published_is_one_line(hub: Hub, tmp_path: Path, options: list, token: str, part: str) -> None:
    said = publish(hub, tmp_path, *options, token=token, status=1)
    assert part in said.splitlines()[-1] and "Traceback" not in said
    assert not hub.repositories


def test_what_does_not_load_back_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.spoiled = True
    assert "prior.weights=someone/flow@" in publish(hub, tmp_path, *FLOW, status=1)
