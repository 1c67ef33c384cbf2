"""Weights: every layout is read, recognised, loaded without copies; what is not weights is refused in one line."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDENS, ROOT, transformers_ast
from safetensors.torch import save_file

from speech2face import build
from speech2face.errors import UserError
from speech2face.weights.load import Loaded, load
from speech2face.weights.part import Part
from speech2face.weights.read import read_state_dicts

SMALL_AST = {"_target_": "speech2face.encoders.ast.AudioSpectrogramTransformer", "hidden_size": 64, "depth": 1}
SMALL_AST |= {"heads": 1, "mlp_size": 64, "max_frames": 64}
DECODER = ["decoder=normalized", "decoder.weights=random", "decoder.model.width=0.02"]


@pytest.fixture(name="transformers_ast")
def small_transformers_ast() -> torch.nn.Module:
    return transformers_ast()


def load_ast(path: object, **more: object) -> Loaded:
    return load(Part(**{"option": "ast", "weights": str(path), "model": SMALL_AST, "modality": "speech"} | more))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "loss": np.float64(0.5), "model_state_dict": s}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_wrapped_or_bare_with_any_prefix(tmp_path: Path, transformers_ast, wrap, prefix: str, suffix: str) -> None:
    state = {prefix + name: tensor for name, tensor in transformers_ast.state_dict().items()}
    torch.save(wrap(state), tmp_path / f"ast{suffix}")
    loaded = load_ast(tmp_path / f"ast{suffix}")
    assert loaded.part.model["depth"] == 2 and loaded.part.model["max_frames"] == 1024  # of the file, not as configured
    x = torch.randn(1, 1024, 128)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(x), transformers_ast(x).logits.relu(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {
            "epoch": torch.tensor(3),
            "model_state_dict": state,
            "optimizer": {"state": {0: {"m": torch.ones(2)}}},
        },
        lambda state: {"trainer": {"model": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}}},
    ],
)
def test_the_weights_are_found_among_other_tensors(tmp_path: Path, transformers_ast, wrap) -> None:
    torch.save(wrap(dict(transformers_ast.state_dict())), tmp_path / "ast.pt")
    assert torch.equal(load_ast(tmp_path / "ast.pt").network.head.weight, transformers_ast.classifier.dense.weight)


def test_both_namings_of_transformers(tmp_path: Path, transformers_ast) -> None:
    transformers_ast.save_pretrained(tmp_path)  # writes the old names, the model has the new
    new, old = transformers_ast.state_dict(), read_state_dicts(tmp_path / "model.safetensors")[""]
    assert any("q_proj" in name for name in new) and any("attention.attention.query" in name for name in old)
    torch.save(new, tmp_path / "new.pt")
    torch.save(old, tmp_path / "old.pt")
    a, b = (load_ast(tmp_path / name).network.state_dict() for name in ("new.pt", "old.pt"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_hugging_face_directory_with_its_own_mean_and_deviation(tmp_path: Path, transformers_ast) -> None:
    from transformers import ASTFeatureExtractor

    transformers_ast.save_pretrained(tmp_path)
    ASTFeatureExtractor(mean=-4.2677393, std=4.5689974).save_pretrained(tmp_path)
    pipeline = build("pipeline=speech", "encoder=ast", f"encoder.weights={tmp_path}", "precision=fp32", *DECODER)
    assert (pipeline.encoder.preprocessing.features.mean, pipeline.encoder.preprocessing.features.std) == (
        -4.2677393,
        4.5689974,
    )


@pytest.mark.parametrize(
    "settings", [{"num_attention_heads": 4}, {"layer_norm_eps": 0.1}, {"max_length": 512}, {"num_mel_bins": 64}]
)
def test_hugging_face_directory_is_the_network_that_its_config_says(tmp_path: Path, settings: dict) -> None:
    model = transformers_ast(**settings)
    model.save_pretrained(tmp_path)
    x = torch.randn(1, settings.get("max_length", 1024), settings.get("num_mel_bins", 128))
    with torch.inference_mode():
        torch.testing.assert_close(load_ast(tmp_path).network(x), model(x).logits.relu(), atol=1e-3, rtol=1e-3)


def test_hugging_face_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    transformers_ast(hidden_act="relu").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="hidden_act=relu"):
        load_ast(tmp_path)


def test_hub_id_through_the_hubs_own_cache(tmp_path: Path, transformers_ast) -> None:
    """huggingface_hub finds a repository in its cache without a network: the layout of files that it documents."""
    repository = tmp_path / "hub" / "models--someone--ast-4096"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    transformers_ast.save_pretrained(snapshot)
    tagged = repository / "snapshots" / ("f" * 40)
    tagged.mkdir()
    (repository / "refs" / "v2").write_text(tagged.name)
    transformers_ast.save_pretrained(tagged)
    code = (
        "from speech2face.weights.locate import locate; from speech2face.errors import UserError\n"
        "from speech2face.weights.part import Part\n"
        "def find(name): return locate(Part(option='ast', weights=name, model={})).file\n"
        "print(find('someone/ast-4096'), find('someone/ast-4096@v2'))\n"
        "for name in ('someone/else', 'someone/ast-4096@v3'):\n"
        "    try: find(name)\n"
        "    except UserError as error: print(error)"
    )
    env = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    found, missing, no_revision = output.strip().splitlines()
    assert found.split() == [str(snapshot / "model.safetensors"), str(tagged / "model.safetensors")]
    assert missing.startswith("encoder.weights=someone/else: no such file, and not available from the hub")
    assert no_revision.startswith("encoder.weights=someone/ast-4096@v3: no such file, and not available from the hub")


def test_bundled_weights_load_without_the_compiler_of_torch() -> None:
    """Its import takes more than a second; filling a tensor while a network is built brings it in."""
    talkers = ["encoder.weights=bundled/talkers", "decoder=talker", "prior.weights=bundled/talkers"]
    code = (
        "import sys, speech2face\n"
        "speech2face.build('samples=2')\n"
        f"speech2face.build('encoder=ast', 'samples=2', *{talkers})\n"
        "print('torch._dynamo' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False"]


def test_published_layouts_are_views_of_the_mapped_file(checkpoints: Path) -> None:
    """Loading neither initialises nor copies: memory that is the process's own stays small beside the 592 MB file."""
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from speech2face.config.compose import options_of, store_defaults\n"
        "def own(): return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])\n"
        "store_defaults(); part = options_of('encoder=paper', f'encoder.weights={sys.argv[1]}').encoder\n"
        "import torchaudio; from speech2face.weights.locate import locate\n"
        "from speech2face.weights.load import load\n"
        "import speech2face.preprocessing.audio, speech2face.preprocessing.spectrogram\n"
        "before = own(); loaded = load(part)\n"
        "print(own() - before, loaded.network.hidden.weight.shape)"
    )
    command = [sys.executable, "-c", code, checkpoints / "ve_conv.pt"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert int(output.split()[0]) < 100_000, output  # KiB
    assert "[4096, 29184]" in output


@pytest.mark.parametrize(
    ("file", "encoder", "expected"),
    [
        ("ve_conv", "paper", {"representation": "magnitude_phase", "centered": True, "window_seconds": 6.0}),
        ("ast", "ast", {"mean": -5.460994, "std": 3.1129124, "window_seconds": 10.26}),
        ("vggface_serengil", "vgg_face", {"crop": "none", "channel_order": "rgb", "scale": 1.0}),
        ("vggface16_rcmalli", "vgg_face", {"crop": "none", "channel_order": "rgb", "scale": 1.0}),
    ],
)
def test_published_weights_bring_their_front_end(checkpoints: Path, file: str, encoder: str, expected: dict) -> None:
    pipeline = "face" if encoder == "vgg_face" else "speech"
    built = build(f"pipeline={pipeline}", f"encoder={encoder}", f"encoder.weights={checkpoints / file}.pt", *DECODER)
    front_end = built.encoder.preprocessing
    has = vars(front_end) | vars(getattr(front_end, "features", object)).copy()
    assert {name: has[name] for name in expected} == expected


def test_explicit_settings_win_over_the_weights_with_a_warning(tmp_path: Path, transformers_ast, caplog) -> None:
    torch.save(transformers_ast.state_dict(), tmp_path / "ast.pt")
    common = ["pipeline=speech", "encoder=ast", f"encoder.weights={tmp_path}/ast.pt", *DECODER]
    built = build(*common, "preprocessing.features.mean=-4.0", "encoder.model.relu=false", "preprocessing.windows=2")
    front_end = built.encoder.preprocessing
    assert front_end.features.mean == -4.0 and front_end.features.std == 3.1129124
    assert front_end.windows == 2 and not built.encoder.network.relu
    assert "preprocessing.features.mean=-4.0 wins over -5.460994" in caplog.text
    assert "windows" not in caplog.text  # nothing that the weights bring
    caplog.clear()
    build(*common, "preprocessing=spectrogram")
    assert "the typed preprocessing wins over the front end" in caplog.text


def test_state_dict_of_the_configured_model(tmp_path: Path) -> None:
    from hydra.utils import instantiate

    model = instantiate(SMALL_AST)
    save_file(model.half().state_dict(), tmp_path / "mine.safetensors")
    loaded = load_ast(tmp_path / "mine.safetensors").network
    assert loaded.head.weight.dtype == torch.float32
    torch.testing.assert_close(loaded.head.weight, model.head.weight.float())


class Evil:
    def __reduce__(self):
        return (os.system, ("touch harmed",))


def bad_files(directory: Path) -> dict[str, tuple[Path, str]]:
    files = {
        "pickle.pt": ("system", lambda path: torch.save({"model_state_dict": Evil()}, path)),
        "namespace.pt": ("Namespace", lambda path: torch.save({"args": __import__("argparse").Namespace(a=1)}, path)),
        "bare.pt": ("damaged|system", lambda path: path.write_bytes(pickle.dumps(Evil()))),
        "text.pt": ("damaged", lambda path: path.write_text("hello")),
        "empty.pth": ("damaged", lambda path: path.touch()),
        "cut.pt": ("damaged", lambda path: path.write_bytes(whole[: len(whole) // 2])),
        "cut.safetensors": ("damaged", lambda path: path.write_bytes(b"\xff" * 100)),
        "nothing.pt": ("no tensors", lambda path: torch.save({"epoch": 1}, path)),
        "list.pt": ("a list", lambda path: torch.save([torch.zeros(2)], path)),
        "other.pt": ("expected.*found some.weight", lambda path: torch.save({"some.weight": torch.zeros(3, 4)}, path)),
    }
    torch.save({"x": torch.zeros(1000)}, directory / "whole.pt")
    whole = (directory / "whole.pt").read_bytes()
    for name, (_, write) in files.items():
        write(directory / name)
    return {name: (directory / name, message) for name, (message, _) in files.items()}


def test_a_file_that_is_not_weights_is_refused_in_one_line_and_does_no_harm(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, message in bad_files(tmp_path).values():
        with pytest.raises(UserError, match=message) as caught:
            load_ast(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not Path("harmed").exists()


def test_a_head_of_another_width_is_named(tmp_path: Path) -> None:
    torch.save(transformers_ast(num_labels=527).state_dict(), tmp_path / "audioset.pt")
    with pytest.raises(UserError, match=r"head.weight: expected \(4096, 64\), found \(527, 64\)"):
        load_ast(tmp_path / "audioset.pt")


def test_weights_of_another_network_are_named(checkpoints: Path) -> None:
    with pytest.raises(UserError, match=r"this is a ve_conv checkpoint \(paper\), not one for encoder=ast"):
        load_ast(checkpoints / "ve_conv.pt")


AUDIO = "speech2face.preprocessing.audio.Audio"
HARMFUL = [
    {"preprocessing": {"_target_": "os.system", "command": "touch harmed"}},
    {"preprocessing": {"_target_": "speech2face.preprocessing.image.Path"}},
    {"preprocessing": {"_target_": "speech2face.preprocessing.audio.np.fromfile"}},
    {"preprocessing": {"_target_": AUDIO, "features": {"_target_": "subprocess.run"}}},
    {"preprocessing": {"_target_": AUDIO, "features": {"_target_": AUDIO, "_partial_": True}}},
    {"preprocessing": {"_target_": AUDIO, "level_dbfs": "${oc.env:HOME}"}},
    {"preprocessing": ["x"]},
    {"architecture": {"_target_": "os.system", "command": "touch harmed"}},
    {"architecture": SMALL_AST | {"hidden_size": {"_target_": "os.getpid"}}},
    {"format": 99},
]


@pytest.mark.parametrize("change", HARMFUL)
def test_our_json_names_no_code(tmp_path: Path, change: dict) -> None:
    from hydra.utils import instantiate

    save_file(instantiate(SMALL_AST).state_dict(), tmp_path / "model.safetensors")
    card = {"format": 1, "part": "encoder", "architecture": SMALL_AST, "preprocessing": None}
    (tmp_path / "speech2face.json").write_text(json.dumps(card))
    load_ast(tmp_path)  # as it stands it loads
    (tmp_path / "speech2face.json").write_text(json.dumps(card | change))
    with pytest.raises(UserError, match=r"refused|no preprocessing|not a mapping|weights of os\.system|format 99"):
        load_ast(tmp_path)


def test_our_json_brings_no_settings_of_a_run(tmp_path: Path) -> None:
    from hydra.utils import instantiate

    save_file(instantiate(SMALL_AST).state_dict(), tmp_path / "model.safetensors")
    front_end = {"_target_": AUDIO, "window_seconds": 3.0, "max_seconds": None, "offset": 9.0, "windows": 10**9}
    card = {"format": 1, "part": "encoder", "architecture": SMALL_AST, "preprocessing": front_end}
    (tmp_path / "speech2face.json").write_text(json.dumps(card))
    features = {"_target_": "speech2face.preprocessing.waveform.Waveform"}
    mine = {"_target_": AUDIO, "features": features, "max_seconds": 7.0}
    assert load_ast(tmp_path, preprocessing=mine).part.preprocessing == mine | {"window_seconds": 3.0}
    front_end["windows"] = 3  # a network of short windows may ask for several
    (tmp_path / "speech2face.json").write_text(json.dumps(card))
    assert load_ast(tmp_path, preprocessing=mine).part.preprocessing == mine | {"window_seconds": 3.0, "windows": 3}


def test_every_layout_of_the_reference_is_recognised_by_shape_alone() -> None:
    from speech2face.weights.recognise import package_layouts

    layouts = [layout for _, layout in package_layouts()]
    for name, shapes in json.loads((GOLDENS / "seed_checkpoints.json").read_text()).items():
        tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        matching = [layout for layout in layouts if layout.rename(tensors) is not None]
        assert len(matching) == 1, name
        assert len(matching[0].rename(tensors)) == len(tensors)
