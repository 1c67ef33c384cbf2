"""Photos as people have them: what preparation makes of them for a decoder, and what a decoder does not learn."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import PHOTO
from PIL import Image
from test_training import rows, train

from speech2face.data.dataset import read_dataset
from speech2face.decoders.base import Examples
from speech2face.decoders.normalized import NormalizedFaceDecoder
from speech2face.preparation import person
from speech2face.preparation.person import BACKGROUND, PERSON, UNKNOWN, person_mask
from speech2face.preprocessing.alignment import PARTS, PLACES, align, alignment, transform
from speech2face.preprocessing.faces import detect_faces
from speech2face.preprocessing.landmarks import find_landmarks
from speech2face.talkers.population import landmarks as landmarks_of
from speech2face.talkers.population import portraits
from speech2face.talkers.traits import draw_person
from speech2face.training.crops import thumbnails
from speech2face.training.decoder import DecoderTraining


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people whose photos nobody may write to, beside the table that describes them."""
    home = tmp_path_factory.mktemp("portraits")
    astronaut = Image.open(PHOTO).convert("RGB")
    takes = {
        "eve": astronaut.rotate(15),
        "bo": astronaut.crop((60, 0, 360, 330)),
        "cy": astronaut.crop((150, 50, 300, 200)),
    }
    for name, photo in takes.items():
        (home / "photos" / name / "images").mkdir(parents=True)
        photo.save(home / "photos" / name / "images" / "a.png")
    (home / "photos" / "people.csv").write_text("person,sex,age,colour\neve,f,30,1\nbo,female,31,1\ncy,female,32,0\n")
    for folder in (home / "photos").rglob("*"):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    (home / "photos").chmod(0o555)
    train(home, "pipeline=prepare", "data.root=made", "data.images=photos", "workers=1", "device=cpu")
    return home


def test_a_folder_that_cannot_be_written_to_is_prepared_elsewhere_with_its_people(prepared: Path) -> None:
    people = {row["person"]: row for row in rows(prepared / "made" / "prepared" / "people.csv")}
    assert {name: (row["sex"], row["age"], row["colour"]) for name, row in people.items()} == {
        "eve": ("female", "30", "1"), "bo": ("female", "31", "1"), "cy": ("female", "32", "0")
    }  # fmt: skip
    assert sorted(path.name for path in (prepared / "photos").iterdir()) == ["bo", "cy", "eve", "people.csv"]
    shutil.copytree(prepared / "photos", prepared / "copy", copy_function=shutil.copyfile)
    for folder in [prepared / "copy", *(prepared / "copy").rglob("*")]:
        folder.chmod(0o755)
    train(prepared, "pipeline=prepare", "data.root=copy", "workers=1", "device=cpu")
    tables = [pq.read_table(prepared / name / "prepared" / "normalized.parquet") for name in ("made", "copy")]
    assert tables[0].equals(tables[1])


def test_normalized_faces_are_aligned_and_say_what_is_known(prepared: Path) -> None:
    dataset = read_dataset(prepared / "made")
    assert dataset.normalized.keys() == {"eve", "bo", "cy"}
    for name, path in dataset.normalized.items():
        with Image.open(dataset.root / path) as picture, Image.open(dataset.root / dataset.masks[path]) as file:
            mask = np.asarray(file)
            assert picture.size == (224, 224) and mask.shape == (224, 224)
        centres = np.stack([dataset.landmarks[path][part].mean(0) for part in PARTS])
        np.testing.assert_allclose(centres, PLACES, atol=4)
        np.testing.assert_allclose(centres.mean(0), PLACES.mean(0), atol=0.01)
        with Image.open(prepared / "photos" / name / "images" / "a.png") as file:
            photo = file.convert("RGB")
        _, inside = align(photo, find_landmarks(photo, detect_faces(photo)[0]))
        np.testing.assert_array_equal(mask != UNKNOWN, inside)
        assert mask[100:170, 95:130].min() == PERSON  # the middle of the face
        assert (mask == UNKNOWN).any() == (name == "cy")  # cut close


def test_hair_and_clothes_are_of_the_person_and_the_wall_is_not() -> None:
    """Talkers, because what is behind them is known: two drawings that differ only in the wall differ there."""
    pytest.importorskip("cv2")
    from speech2face.talkers import population, portrait

    people = [draw_person(3, i) for i in range(6)]
    pictures, points = portraits(people, None)
    face, scene = population.parameters(people, None)
    other, _ = portrait.render(face, scene | {"background_value": torch.full((6,), 0.95)})
    behind = (other - pictures.float() / 255).abs().amax(1).numpy() > 0.1
    everything = np.ones((224, 224), bool)
    shares = []
    for picture, wall, one in zip(pictures.permute(0, 2, 3, 1).numpy(), behind, points.numpy(), strict=True):
        cut = person_mask(picture, everything, one) == PERSON
        shares.append((cut & ~wall).sum() / (cut | ~wall).sum())
    assert np.median(shares) > 0.95 and np.mean(np.array(shares) > 0.9) > 0.8


def test_without_opencv_everything_in_the_photo_counts_as_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(person, "find_spec", lambda name: None)
    inside = np.random.default_rng(0).random((224, 224)) < 0.7
    points = landmarks_of([draw_person(0, 1)], None).reshape(72, 2)
    mask = person_mask(np.zeros((224, 224, 3), np.uint8), inside, points)
    np.testing.assert_array_equal(mask, np.where(inside, PERSON, UNKNOWN))
    assert BACKGROUND not in mask


@pytest.mark.parametrize("warp", [False, True])
def test_what_is_unknown_changes_nothing_that_a_decoder_learns_or_reports(warp: bool) -> None:
    torch.manual_seed(0)
    people = [draw_person(0, i) for i in range(2)]
    pictures, points = portraits(people, None)
    pictures = pictures.permute(0, 2, 3, 1).contiguous()
    decoder = NormalizedFaceDecoder(width=0.02, warp=warp).eval()
    decoder.fit(Examples(None, np.arange(2), None, points.numpy(), None))
    weights = {"landmarks": 0.01, "texture": 5.0, "picture": 10.0}
    module = DecoderTraining(decoder, loss_weights=weights, normalize=lambda x: x, frozen={})
    mask = torch.full((2, 224, 224), PERSON, dtype=torch.uint8)
    mask[0, 150:, :90] = UNKNOWN
    mask[1, :40] = UNKNOWN
    batch = {"embedding": torch.randn(2, 4096), "landmarks": points, "mask": mask}
    batch["from_photo"] = torch.tensor([True, True])
    other = torch.where((mask == UNKNOWN)[..., None], 255 - pictures, pictures)
    seen = torch.where((mask == PERSON)[..., None], 255 - pictures, pictures)
    found = []
    for picture in (pictures, other, seen):
        decoder.zero_grad()
        terms = module.terms(batch | {"picture": picture}, torch.Generator())
        sum(terms.values()).backward()
        found.append([terms["texture"], terms["picture"], decoder.texture_output.weight.grad.clone()])
        found[-1].append(module.outputs(batch | {"picture": picture})["psnr_db"])
    for one, same, different in zip(*found, strict=True):
        assert torch.equal(one, same) and not torch.allclose(one, different, rtol=1e-3)
    # The mean over known pixels, not over all.
    drawn = decoder(batch["embedding"])[1].permute(0, 2, 3, 1)
    known = (mask != UNKNOWN).numpy()
    error = ((drawn.detach() - pictures / 255).square().mean(3).numpy() * known).sum((1, 2)) / known.sum((1, 2))
    np.testing.assert_allclose(found[0][3].detach().numpy(), -10 * np.log10(error), rtol=1e-4)


def test_evaluation_compares_known_pixels_only() -> None:
    from speech2face.evaluation.images import psnr, ssim

    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    known = np.zeros((3, 64, 64), bool)
    known[:, 10:50, 20:60] = True
    other = np.where(known[..., None], b, 7).astype(np.uint8)
    inside = (slice(None), slice(10, 50), slice(20, 60))
    for function in (psnr, ssim):
        np.testing.assert_array_equal(function(a, b, known), function(a, other, known))
        np.testing.assert_allclose(function(a, b, known), function(a[inside], b[inside]), rtol=1e-9)


def test_a_thumbnail_is_the_mean_of_what_is_known() -> None:
    pictures = np.full((1, 224, 224, 3), 255, np.uint8)
    mask = np.full((1, 224, 224), PERSON, np.uint8)
    pictures[0, :, 4:] = 51
    mask[0, :, :4] = UNKNOWN  # half of the first column
    mask[0, 216:] = UNKNOWN  # the last row
    made = thumbnails(pictures, mask)[0]
    np.testing.assert_allclose(made[:27], 0.2, rtol=1e-6)
    assert np.isnan(made[27]).all()


def test_alignment_of_a_prepared_picture_is_the_identity(prepared: Path) -> None:
    dataset = read_dataset(prepared / "made")
    points = dataset.landmarks[dataset.normalized["bo"]]
    np.testing.assert_allclose(transform(points, alignment(points)), points, atol=0.01)
