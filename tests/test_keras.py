"""VGG-Face in Keras's .h5, of both authors, against its layers computed in NumPy where Keras has rows and channels."""

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import PHOTO
from keras_files import CONVOLUTIONS, Layers, keras_layers, write_keras

from speech2face import build
from speech2face.errors import UserError
from speech2face.weights.read import read_state_dicts

DECODER = ["decoder=normalized", "decoder.weights=random", "decoder.model.width=0.02"]
ORIGINS = ("serengil", "rcmalli")


def keras_feature(crop: np.ndarray, origin: str, layers: Layers) -> np.ndarray:
    """(224, 224, 3) uint8 RGB -> (4096,)."""
    bgr = crop[..., ::-1].astype(np.float32)
    x = bgr / 255 if origin == "serengil" else bgr - np.array([93.5940, 104.7624, 129.1863], np.float32)
    remaining = iter(layers)
    for convolutions in CONVOLUTIONS:
        for _ in range(convolutions):
            kernel, bias = next(remaining)
            padded, size = np.pad(x, ((1, 1), (1, 1), (0, 0))), len(x)
            taps = [padded[r : r + size, c : c + size] @ kernel[r, c] for r in range(3) for c in range(3)]
            x = np.maximum(sum(taps) + bias, 0)
        x = x.reshape(size // 2, 2, size // 2, 2, -1).max((1, 3))
    for _ in ("fc6", "fc7"):
        kernel, bias = next(remaining)
        if kernel.ndim == 4:  # a convolution over all that is left
            x = np.maximum(np.tensordot(x, kernel, 3) + bias, 0)[None, None]
        else:
            x = np.maximum(x.ravel() @ kernel + bias, 0)
    return x.ravel()


def pipeline(weights: Path, *overrides: str):
    return build(
        "pipeline=face", "encoder=vgg_face", f"encoder.weights={weights}", "precision=fp32", *DECODER, *overrides
    )


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("form", ["keras1", "keras2", "whole", "keras3"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_feature_is_that_of_the_keras_layers(tmp_path: Path, origin: str, form: str) -> None:
    layers = keras_layers(origin)
    result = pipeline(write_keras(tmp_path / "weights.h5", origin, layers, form))(PHOTO)
    assert result.prepared.measurements["faces"]  # the face is what it sees, as in its training
    expected = keras_feature(result.prepared.preview["crop"], origin, layers)
    assert (expected > 0).mean() > 0.2
    assert_close(result.embedding, expected)


def test_the_order_is_the_models_whatever_its_layers_are_called(tmp_path: Path) -> None:
    layers = keras_layers("rcmalli")
    usual = read_state_dicts(write_keras(tmp_path / "usual.h5", "rcmalli", layers, "keras1"))[""]
    names = [f"dense_{i}" for i in range(16, 0, -1)]
    unusual = read_state_dicts(write_keras(tmp_path / "unusual.h5", "rcmalli", layers, "keras1", names))[""]
    assert usual.keys() == unusual.keys() and all(torch.equal(usual[name], unusual[name]) for name in usual)


def converted(layers: Layers) -> dict[str, torch.Tensor]:
    """What the published conversion makes of rcmalli's: kernels turned, fc6 in the order that Keras has it."""
    state = {}
    for i, (kernel, bias) in enumerate(layers, 1):
        name = f"layer{i}.{int(i == 14)}"
        axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        state |= {f"{name}.weight": torch.tensor(kernel.transpose(axes)), f"{name}.bias": torch.tensor(bias)}
    return state


def test_checkpoint_of_the_published_conversion(tmp_path: Path) -> None:
    layers = keras_layers("rcmalli")
    original = pipeline(write_keras(tmp_path / "weights.h5", "rcmalli", layers))(PHOTO).embedding
    torch.save(converted(layers), tmp_path / "weights.pt")
    as_published = pipeline(tmp_path / "weights.pt", "preprocessing=image_bgr")(PHOTO).embedding
    assert np.abs(as_published - original).max() > 0.1 * original.max()
    mended = pipeline(tmp_path / "weights.pt", "preprocessing=image_bgr", "encoder.model.flatten=channels_last")
    assert_close(mended(PHOTO).embedding, original)


@pytest.mark.parametrize("origin", ORIGINS)
def test_command_line_and_conversion_to_our_format(run, tmp_path: Path, origin: str) -> None:
    layers = keras_layers(origin)
    write_keras(tmp_path / "weights.h5", origin, layers)
    run("pipeline=convert", "encoder=vgg_face", "encoder.weights=weights.h5", "hydra.run.dir=ours")
    features = []
    for weights in ("weights.h5", "ours"):
        common = [
            "pipeline=face",
            "encoder=vgg_face",
            f"image={PHOTO}",
            f"encoder.weights={weights}",
            "precision=fp32",
            *DECODER,
        ]
        run(*common, f"hydra.run.dir=out_{weights}")
        features.append(np.load(tmp_path / f"out_{weights}" / PHOTO.stem / "embedding.npy"))
    crop = pipeline(tmp_path / "ours")(PHOTO).prepared.preview["crop"]
    for feature in features:
        assert_close(feature, keras_feature(crop, origin, layers))


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        pipeline(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_the_last_layers_is_refused(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "notop.h5", "rcmalli", keras_layers("rcmalli")[:-3])
    refused(path, r"looks like vggface \(rcmalli, Keras\), but has no fc6.weight, fc7.weight, fc8.weight")


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    layers = keras_layers("rcmalli")
    layers[3] = (*layers[3], layers[3][1])  # as a normalisation's third vector
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for number, weights in enumerate(layers):
            for i, weight in enumerate(weights):
                file[f"layers/conv2d_{number}/vars/{i}"] = weight
    refused(tmp_path / "other.h5", "fits no layout that encoder=vgg_face can read")


@pytest.mark.parametrize("shape", [(2, 1), (5,), (0,)])
def test_shapes_that_do_not_fit_together_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    layers = keras_layers("rcmalli")
    layers[1] = (layers[1][0], np.zeros(shape, np.float32))
    refused(write_keras(tmp_path / "odd.h5", "rcmalli", layers), "does not fit")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    whole = write_keras(tmp_path / "whole.h5", "rcmalli", keras_layers("rcmalli")).read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no weights"}.items():
        (tmp_path / f"{name}.h5").write_bytes(content)
        refused(tmp_path / f"{name}.h5", "damaged, not a Keras file")
    with h5py.File(tmp_path / "nothing.h5", "w"):
        pass
    refused(tmp_path / "nothing.h5", "damaged, not a Keras file")


def link(file: h5py.File, path: str, good: Path) -> None:
    file[path] = h5py.ExternalLink(str(good), path)


def soft_link(file: h5py.File, path: str, good: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(good), path)
    file[path] = h5py.SoftLink("/elsewhere")


def external(file: h5py.File, path: str, good: Path) -> None:
    file.create_dataset(path, (3, 3, 3, 2), "f4", external=[(str(good), 0, 216)])


def virtual(file: h5py.File, path: str, good: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 2), "f4")
    layout[:] = h5py.VirtualSource(str(good), path, (3, 3, 3, 2))
    file.create_virtual_dataset(path, layout)


def compressed(file: h5py.File, path: str, good: Path) -> None:
    file.create_dataset(path, data=np.zeros((3, 3, 3, 2), np.float32), compression="gzip")


def huge(file: h5py.File, path: str, good: Path) -> None:
    file.create_dataset(path, (3, 3, 3, 10**12), "f4")


def integers(file: h5py.File, path: str, good: Path) -> None:
    file[path] = np.zeros((3, 3, 3, 2), int)


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (link, "fits no layout"),
        (soft_link, "fits no layout"),
        (external, "not a plain array in this file"),
        (virtual, "not a plain array in this file"),
        (compressed, "not a plain array in this file"),
        (huge, "claims more numbers than it has"),
        (integers, "not floating point"),
    ],
)
def test_arrays_elsewhere_or_larger_than_the_file_are_refused(
    tmp_path: Path, replace: Callable[[h5py.File, str, Path], None], message: str
) -> None:
    good = write_keras(tmp_path / "good.h5", "rcmalli", keras_layers("rcmalli"))
    path = tmp_path / "bad.h5"
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "a") as file:
        del file["conv1_1/conv1_1/kernel:0"]
        replace(file, "conv1_1/conv1_1/kernel:0", good)
    refused(path, message)


def test_a_group_in_another_file_is_refused(tmp_path: Path) -> None:
    good = write_keras(tmp_path / "good.h5", "rcmalli", keras_layers("rcmalli"), "whole")
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(good), "model_weights")
    refused(tmp_path / "bad.h5", "no weights in it")


def test_without_h5py_the_way_out_is_named(tmp_path: Path, monkeypatch) -> None:
    path = write_keras(tmp_path / "weights.h5", "rcmalli", keras_layers("rcmalli"))
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.delitem(sys.modules, "speech2face.weights.keras", raising=False)
    with pytest.raises(UserError, match=r"pip install .*\[convert\]'"):
        read_state_dicts(path)


def test_flatten_of_another_name_is_refused(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "weights.h5", "rcmalli", keras_layers("rcmalli"))
    with pytest.raises(UserError, match="flatten=keras: must be channels_first or channels_last"):
        pipeline(path, "encoder.model.flatten=keras")
