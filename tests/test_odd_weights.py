"""Weights from other trainers: prefixes, several state dicts, shards, odd names of files; and what is no weights."""

import gzip
import hashlib
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from keras_files import keras_layers, write_keras
from safetensors.torch import save_file
from test_weights import SMALL_AST, load_ast

from speech2face.errors import UserError
from speech2face.pipelines.convert import check_apart
from speech2face.weights.load import load
from speech2face.weights.locate import locate
from speech2face.weights.ours import save
from speech2face.weights.part import Part

RESNET = {"_target_": "speech2face.encoders.resnet.ResNet", "width": 0.1}


def network(seed: int = 0, **changes: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    return instantiate(SMALL_AST | changes)


@pytest.fixture(name="state")
def state_of_small_ast() -> dict[str, torch.Tensor]:
    return dict(network().state_dict())


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in state.items()}


def assert_loads(path: object, state: dict[str, torch.Tensor]) -> None:
    loaded = load_ast(path).network.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


def refused(path: object, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        load_ast(path)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message
    assert "weights_only" not in message


PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "network.", "encoder.", "decoder.", "backbone."]
PREFIXES += ["model._orig_mod.", "_orig_mod.model.module.", "module.encoder.network._orig_mod."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("form", ["file.pt", "file.ckpt", "file.safetensors", "shards", "bin_shards"])
def test_prefixes_are_removed_in_every_format(tmp_path: Path, state, prefix: str, form: str) -> None:
    named = prefixed(state, prefix)
    if form.endswith("shards"):
        path = write_shards(tmp_path, named, ".bin" if form == "bin_shards" else ".safetensors")
    else:
        path = tmp_path / form
        if form == "file.safetensors":
            save_file(named, path)
        else:
            torch.save({"epoch": 3, "state_dict": named, "callbacks": {}} if form == "file.ckpt" else named, path)
    assert_loads(path, state)


def test_a_published_layout_is_recognised_behind_prefixes(tmp_path: Path) -> None:
    from conftest import transformers_ast

    model = transformers_ast()
    torch.save({"state_dict": prefixed(model.state_dict(), "model.net.")}, tmp_path / "x.ckpt")
    loaded = load_ast(tmp_path / "x.ckpt")
    assert loaded.layout == "ast (transformers)" and torch.equal(loaded.network.head.bias, model.classifier.dense.bias)


def test_wrappers_of_single_layers_are_removed(tmp_path: Path, state) -> None:
    torch.save({n.replace("blocks.0.", "blocks.0._orig_mod."): t for n, t in state.items()}, tmp_path / "x.pt")
    assert_loads(tmp_path / "x.pt", state)


def test_names_that_begin_so_in_the_network_itself_are_kept(tmp_path: Path) -> None:
    """Without `network.` our ResNet's names would be torchvision's layout, which brings another front end."""
    part = Part(option="resnet", weights=str(tmp_path / "x.pt"), model=RESNET, modality="face")
    state = instantiate(RESNET).state_dict()
    for prefix in ("", "network.", "module.network."):
        torch.save(prefixed(state, prefix), tmp_path / "x.pt")
        loaded = load(part)
        assert loaded.layout == "the configured model's own state dict"
        assert torch.equal(loaded.network.network.fc.weight, state["network.fc.weight"])


def test_tensors_outside_the_network_are_left_out_with_a_warning(tmp_path: Path, state, caplog) -> None:
    others = {"loss.weight": torch.ones(3), "num_updates": torch.tensor(7), "queue": torch.ones(2, 2).long()}
    for number, prefix in enumerate(("", "model.")):
        torch.save(prefixed(state, prefix) | others, tmp_path / f"{number}.pt")
        caplog.clear()
        assert_loads(tmp_path / f"{number}.pt", state)
        (warning,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
        assert all(name in warning for name in others)
    torch.save({"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, tmp_path / "x.pt")
    caplog.clear()
    assert_loads(tmp_path / "x.pt", state)
    assert not [one for one in caplog.records if one.levelname == "WARNING"]  # an optimiser is no weights of a network


def test_a_tensor_within_the_network_or_a_missing_one_is_an_error(tmp_path: Path, state) -> None:
    torch.save(state | {"blocks.0.gate.weight": torch.ones(3)}, tmp_path / "more.pt")
    refused(tmp_path / "more.pt", "blocks.0.gate.weight")
    fewer = {name: tensor for name, tensor in state.items() if name != "head.bias"}
    for prefix in ("", "model."):
        torch.save(prefixed(fewer, prefix) | {"loss.weight": torch.ones(3)}, tmp_path / "fewer.pt")
        refused(tmp_path / "fewer.pt", "does not fit", "head.bias")


@pytest.mark.parametrize("keys", [("net", "teacher"), ("teacher", "net"), ("model", "ema")])
@pytest.mark.parametrize("flat", [False, True])
def test_of_two_that_fit_the_user_chooses(tmp_path: Path, caplog, keys: tuple[str, str], flat: bool) -> None:
    states = {key: dict(network(seed).state_dict()) for seed, key in enumerate(keys)}
    path = tmp_path / "two.pt"
    content = {f"{key}.{n}": t for key, one in states.items() for n, t in one.items()} if flat else states
    torch.save(content, path)
    refused(path, *(f"encoder.weights={path}::{key}" for key in keys))
    for key in keys:
        caplog.clear()
        assert_loads(f"{path}::{key}", states[key])
        assert load_ast(f"{path}::{key}").part.weights == f"{path}::{key}"
    refused(f"{path}::student", "student", *keys)
    refused(f"{tmp_path}/none.pt::net", "no such file")


def test_of_several_the_one_that_fits_is_taken_whatever_the_order(tmp_path: Path, state, caplog) -> None:
    caplog.set_level("INFO")
    larger = dict(network(1, depth=3).state_dict())
    for content in ({"teacher": larger, "student": state}, {"student": state, "teacher": larger}):
        torch.save(content, tmp_path / "x.pt")
        caplog.clear()
        assert_loads(tmp_path / "x.pt", state)
        assert "those under student" in caplog.text
    torch.save(state | {"ema": {"model": dict(network(1).state_dict())}}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "x.pt:: or ", "x.pt::ema.model")
    assert_loads(f"{tmp_path}/x.pt::", state)
    torch.save({"model": state, "best": {name: tensor.clone() for name, tensor in state.items()}}, tmp_path / "x.pt")
    assert_loads(tmp_path / "x.pt", state)  # they do not differ


def test_a_file_whose_name_has_two_colons_opens_as_such(tmp_path: Path, state) -> None:
    torch.save({"net": state, "ema": network(1).state_dict()}, tmp_path / "a::ema")
    torch.save(state, tmp_path / "b::net.pt")
    assert_loads(tmp_path / "b::net.pt", state)
    assert_loads(f"{tmp_path}/a::ema::net", state)


def test_a_dictionary_that_holds_itself_is_read_once(tmp_path: Path, state) -> None:
    content = {"model": state}
    content["again"] = content
    torch.save(content, tmp_path / "x.pt")
    assert_loads(tmp_path / "x.pt", state)


BESIDE = {
    "number": np.float64(0.5), "integer": np.int32(3), "string": np.str_("best"), "bytes": np.bytes_(b"best"),
    "array": np.arange(3.0), "strings": np.array(["a", "bc"]), "objects": np.array([1, "x"], object),
    "date": np.datetime64("2024-05-01"), "complex": np.complex64(1j), "record": np.zeros(2, [("a", "f4"), ("b", "i2")]),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_numpy_objects_beside_the_tensors(tmp_path: Path, state, version: int, zipped: bool) -> None:
    path = tmp_path / "x.pt"
    torch.save(BESIDE | {"model": state}, path, _use_new_zipfile_serialization=zipped)
    old, new = (b"numpy._core", b"numpy.core") if version == 1 else (b"numpy.core", b"numpy._core")
    if zipped:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data.replace(old, new) if name.endswith("data.pkl") else data)
    else:
        path.write_bytes(path.read_bytes().replace(old, new))
    assert_loads(path, state)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def test_nothing_else_of_numpy_is_built(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harmed").write_bytes(b"12345678")
    for function, *arguments in ((np.fromfile, "harmed"), (np.load, "harmed"), (np.save, "written", 1)):
        torch.save({"x": Calls(function, *arguments), "w": torch.zeros(2)}, "x.pt")
        refused("x.pt", "holds numpy.")
    assert not Path("written.npy").exists()


def write_shards(directory: Path, state: dict[str, torch.Tensor], suffix: str, number: int = 3) -> Path:
    """A Hugging Face directory of `number` files and their index."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    directory.mkdir(exist_ok=True)
    where = {name: f"{stem}-{i % number + 1:05}-of-{number:05}{suffix}" for i, name in enumerate(state)}
    for shard in set(where.values()):
        tensors = {name: tensor for name, tensor in state.items() if where[name] == shard}
        (save_file if suffix == ".safetensors" else torch.save)(tensors, directory / shard)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (directory / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    return directory


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_sharded_checkpoints(tmp_path: Path, state, suffix: str) -> None:
    directory = write_shards(tmp_path / "sharded", state, suffix)
    shards = sorted(directory.glob(f"*{suffix}"))
    for path in (directory, shards[1], next(directory.glob("*.index.json"))):
        assert_loads(path, state)
    located = locate(Part(option="ast", weights=str(directory), model={}))
    assert located.digest == hashlib.sha256(b"".join(shard.read_bytes() for shard in shards)).hexdigest()
    shards[2].unlink()
    refused(directory, shards[2].name)


def test_a_damaged_index_is_refused_and_names_no_file_elsewhere(tmp_path: Path, state) -> None:
    directory = write_shards(tmp_path / "sharded", state, ".safetensors")
    save_file(state, tmp_path / "elsewhere.safetensors")
    index = directory / "model.safetensors.index.json"
    listed = json.loads(index.read_text())["weight_map"]
    for text, part in {
        json.dumps({"weight_map": dict.fromkeys(listed, "../elsewhere.safetensors")}): "refused",
        json.dumps({"weight_map": dict.fromkeys(listed, str(tmp_path / "elsewhere.safetensors"))}): "refused",
        json.dumps({"weight_map": listed | {"more.weight": listed["norm.bias"]}}): "lack more.weight",
        json.dumps({"weight_map": {}}): "no shards",
        json.dumps({"weight_map": [1]}): "index",
        "no json": "index",
    }.items():
        index.write_text(text)
        refused(directory, str(index), part)


def test_sharded_checkpoint_of_the_hub(tmp_path: Path, state, monkeypatch) -> None:
    import huggingface_hub

    remote, asked = write_shards(tmp_path / "remote", state, ".safetensors"), []

    def download(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        local = tmp_path / "local"
        shutil.rmtree(local, ignore_errors=True)
        local.mkdir()
        for file in huggingface_hub.utils.filter_repo_objects(
            [p.name for p in remote.iterdir()], allow_patterns=allow_patterns
        ):
            shutil.copy(remote / file, local)
        return str(local)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert_loads("someone/ast", state)
    shutil.rmtree(remote)
    write_shards(remote, state, ".bin")
    assert_loads("someone/ast@v2", state)
    assert set(asked) == {("someone/ast", None), ("someone/ast", "v2")}


def write_ours(directory: Path, seed: int = 0) -> Path:
    directory.mkdir(parents=True)
    card = {"part": "encoder", "architecture": SMALL_AST, "preprocessing": None}
    save(directory, network(seed).state_dict(), card)
    return directory


def write_training(directory: Path) -> Path:
    """The files of a training by this project that hold weights."""
    write_ours(directory / "weights" / "best", 0)
    write_ours(directory / "weights" / "last", 1)
    (directory / "checkpoints").mkdir()
    for number, name in enumerate(("best", "last")):
        state = prefixed(network(number).state_dict(), "network.")
        torch.save({"state_dict": state, "epoch": 1}, directory / "checkpoints" / f"{name}.ckpt")
    return directory


def test_the_directory_of_a_training_stands_for_its_best_weights(tmp_path: Path, state) -> None:
    training = write_training(tmp_path / "run")
    for path in (training, training / "weights", training / "weights" / "best"):
        assert_loads(path, state)
        assert load_ast(path).layout == "ours"
    for name, weights in {
        "checkpoints/last.ckpt": "last",
        "checkpoints/best.ckpt": "best",
        "checkpoints": "best",
    }.items():
        refused(training / name, f"encoder.weights={training}/weights/{weights}")


def test_checkpoints_of_others_in_a_directory_of_that_name_are_read(tmp_path: Path, state) -> None:
    write_ours(tmp_path / "weights" / "best", 1)
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / "epoch=3.ckpt")
    assert_loads(tmp_path / "checkpoints" / "epoch=3.ckpt", state)


def test_a_directory_without_weights_names_the_files_there(tmp_path: Path, state) -> None:
    torch.save(state, tmp_path / "mine.pth")
    refused(tmp_path, "model.safetensors", "weights/best", "mine.pth")


TORCH_NAMES = [
    "model_best.pth.tar",
    "A.PT",
    "x.Pth",
    "x.model",
    "x.pkl",
    "weights",
    "x.ckpt-100",
    "x.h5",
    "x.safetensors",
]


@pytest.mark.parametrize("name", TORCH_NAMES)
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_of_any_name(tmp_path: Path, state, name: str, zipped: bool) -> None:
    torch.save({"state_dict": state}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_loads(tmp_path / name, state)


@pytest.mark.parametrize("name", ["X.SAFETENSORS", "weights", "x.bin", "x.pt"])
def test_safetensors_of_any_name(tmp_path: Path, state, name: str) -> None:
    save_file(state, tmp_path / name)
    assert_loads(tmp_path / name, state)
    shutil.copy(write_ours(tmp_path / "ours") / "model.safetensors", tmp_path / name)
    assert load_ast(tmp_path / name).layout == "ours"  # by the description inside the file


@pytest.mark.parametrize("name", ["X.H5", "x.hdf5", "x.keras.model", "weights"])
def test_keras_files_of_any_name(tmp_path: Path, name: str) -> None:
    layers = keras_layers("rcmalli")
    path = write_keras(tmp_path / name, "rcmalli", layers)
    model = {"_target_": "speech2face.encoders.vgg_face.VGGFace"}
    loaded = load(Part(option="vgg_face", weights=str(path), model=model, modality="face"))
    np.testing.assert_array_equal(loaded.network.fc8.bias, layers[-1][1])


def no_weights(directory: Path) -> dict[str, tuple[str, ...]]:
    """Write files that are no weights, each with parts of the message about it."""
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), directory / "script.pt")
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), directory / "traced")
    np.savez(directory / "arrays.npz", a=np.zeros(2))
    with zipfile.ZipFile(directory / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    (directory / "plain.pkl").write_bytes(pickle.dumps({"w": np.zeros(2)}))
    torch.save({"w": torch.zeros(2)}, directory / "protocol4.pt", pickle_protocol=4)
    (directory / "pointer.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    (directory / "page.pt").write_text("\n<!DOCTYPE html><html></html>")
    (directory / "packed.pt").write_bytes(gzip.compress(b"x"))
    (directory / "notes").write_text("hello")
    (directory / "nothing").touch()
    (directory / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    script = ("a TorchScript archive", "state_dict()")
    read = ("PyTorch", ".safetensors", "Keras .h5")
    return {
        "script.pt": script,
        "traced": script,
        "arrays.npz": ("ZIP", "a.npy"),
        "model.keras": ("ZIP", "model.weights.h5"),
        "plain.pkl": ("torch.save",),
        "protocol4.pt": ("protocol 4",),
        "pointer.safetensors": ("git lfs pull",),
        "page.pt": ("a web page",),
        "packed.pt": ("gzip",),
        "notes": read,
        "nothing": ("empty", *read),
        "model.onnx": read,
    }


def test_what_is_no_weights_is_named(tmp_path: Path) -> None:
    for name, parts in no_weights(tmp_path).items():
        refused(tmp_path / name, str(tmp_path / name), *parts)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, state, value: float, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    state["blocks.0.fc1.weight"][3, 5] = value
    save_file(state, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "blocks.0.fc1.weight", "not finite")


def test_large_values_whose_sum_overflows_are_finite(tmp_path: Path, state) -> None:
    state["head.bias"] = torch.full((4096,), torch.finfo(torch.float32).max)
    torch.save(state, tmp_path / "x.pt")
    assert_loads(tmp_path / "x.pt", state)


def test_convert_never_writes_over_weights(run, tmp_path: Path) -> None:
    """The directory of the weights, by whatever name, and one with other weights are refused; a new one is taken."""
    for seed, name in enumerate(("a", "b")):
        write_ours(tmp_path / name, seed)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "file.safetensors").symlink_to("a/model.safetensors")
    write_shards(tmp_path / "shards", dict(network().state_dict()), ".bin")
    (tmp_path / "new").mkdir()
    cases = [("a", "a"), ("a", "link"), ("link", "a"), ("file.safetensors", "a"), ("a/model.safetensors", "link")]
    for weights, out in [*cases, ("a", "b"), ("shards", "shards")]:
        part = Part(option="ast", weights=str(tmp_path / weights), model=SMALL_AST)
        with pytest.raises(
            UserError, match=r"convert writes over no weights; give another directory by hydra\.run\.dir="
        ):
            check_apart(tmp_path / out, [locate(part)])
        check_apart(tmp_path / "new", [locate(part)])
    before = {file: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    for out in ("a", "link", "shards"):
        result = run(*CONVERT, "encoder.weights=b", "average=[link]", f"hydra.run.dir={out}", status=1)
        assert f"error: {out}: not empty, as it has " in result.stderr and "\n" not in result.stderr.strip()
    assert before == {file: file.read_bytes() for file in (tmp_path / "a").iterdir()}  # and nothing beside them
    result = run("-m", *CONVERT, "encoder.weights=a", "hydra.sweep.dir=a", "hydra.sweep.subdir=.", status=1)
    assert "the directory of a, which is converted" in result.stdout + result.stderr
    assert before.items() <= {file: file.read_bytes() for file in (tmp_path / "a").iterdir() if file.is_file()}.items()


MODEL = [f"encoder.model.{key}={value}" for key, value in SMALL_AST.items() if key != "_target_"]
CONVERT = ["pipeline=convert", "encoder=ast", *MODEL]


def test_convert_refuses_what_no_use_could_take(run, tmp_path: Path) -> None:
    state = {name: torch.full_like(tensor, torch.nan) for name, tensor in network().state_dict().items()}
    torch.save(state, tmp_path / "nan.pt")
    result = run(*CONVERT, "encoder.weights=nan.pt", "hydra.run.dir=out", status=1)
    assert "not finite" in result.stderr and not (tmp_path / "out" / "model.safetensors").exists()
