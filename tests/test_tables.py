"""people.csv and other tables as people write them."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from speech2face.data.dataset import Dataset, read_dataset
from speech2face.data.people import read_people
from speech2face.errors import UserError
from speech2face.preparation.finish import assign_splits
from speech2face.preparation.sources import read_names

PLAIN = "person,split,sex,age\nZoë,train,female,28.5\nBo,test,male,41\nCy,val,,\n"
READ = {
    "Zoë": {"person": "Zoë", "split": "train", "sex": "female", "age": "28.5"},
    "Bo": {"person": "Bo", "split": "test", "sex": "male", "age": "41"},
    "Cy": {"person": "Cy", "split": "val", "sex": "", "age": ""},
}


def table(folder: Path, text: str, encoding: str = "utf-8", name: str = "people.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def dataset(root: Path, people: Iterable[str], text: str = "") -> Dataset:
    """A dataset of people with a photo and a recording each, named by letters; text: of people.csv."""
    for person in people:
        for name in ("images/0.jpg", "audios/0.wav"):
            (root / person / name).parent.mkdir(parents=True, exist_ok=True)
            (root / person / name).touch()
    if text:
        table(root, text)
    return read_dataset(root)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(",", ", "),
        PLAIN.replace(",", " ,\t"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", ";").replace("28.5", "28,5"),
        PLAIN.replace(",", "\t"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "sep=|\r\n" + PLAIN.replace(",", "|"),
        "\n\n" + PLAIN,
        ",,,\n" + PLAIN,
        '# made by hand, in May; "draft\n  # twice\n' + PLAIN,
        PLAIN.replace("\n", "\n\n").replace("Bo,", "# Bo has left, too\nBo,"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", ",,\n"),
        PLAIN.replace("person,split,sex,age", "Person , SPLIT,Sex,AGE"),
        PLAIN.replace("sex", "Gender").replace("split", "Set"),
        "".join(f'"{line}"\n' for line in PLAIN.replace(",", '","').splitlines()),
        "".join(f'"{line}"\n' for line in PLAIN.replace(",", '", "').splitlines()),
        "".join(f"{i or ''},{line}\n" for i, line in enumerate(PLAIN.splitlines())),  # as pandas writes an index
    ],
)
def test_a_table_is_read_however_it_is_spaced_and_separated(tmp_path: Path, text: str) -> None:
    assert read_people(table(tmp_path, text)) == READ


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_a_table_is_read_in_any_usual_encoding(tmp_path: Path, encoding: str) -> None:
    for number, delimiter in enumerate(",;\t"):
        text = PLAIN.replace(",", delimiter)
        assert read_people(table(tmp_path / str(number), text, encoding)) == READ


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("train training Train TRAINING", "train train train train"),
        ("training validation test testing", "train val test test"),
        ("train valid test", "train val test"),
        ("train dev eval", "train val test"),  # Kaldi, ASVspoof
        ("train dev test", "train val test"),
        ("train eval test", "train val test"),  # Hugging Face
        ("train val test eval", "train val test test"),
        ("dev test", " test"),  # VoxCeleb: dev is to be divided
        ("Development Test", " test"),
        ("trainset test-set n/a ?", "train test  "),
    ],
)
def test_words_for_splits(tmp_path: Path, words: str, meant: str) -> None:
    text = "person,split\n" + "".join(f"p{i},{word}\n" for i, word in enumerate(words.split()))
    assert [row["split"] for row in read_people(table(tmp_path, text)).values()] == meant.split(" ")


def test_sexes_are_two_however_they_are_spelt_and_other_words_stay(tmp_path: Path) -> None:
    male, female = "Male male M m MAN Boy männlich", "FEMALE female F f w W woman Girl"
    words = [*male.split(), *female.split(), "Other", "other", "", "n/a"]
    for number, column in enumerate(("sex", "Gender", "SEX ")):
        text = f"person,{column}\n" + "".join(f"p{i},{word}\n" for i, word in enumerate(words))
        found = [row["sex"] for row in read_people(table(tmp_path / str(number), text)).values()]
        assert found == ["male"] * 7 + ["female"] * 8 + ["other", "other", "", "n/a"]
    both = read_people(table(tmp_path, "person,sex,gender\na,F,w\nb,m,Male\n"))
    assert [(row["sex"], row["gender"]) for row in both.values()] == [("female", "female"), ("male", "male")]


def test_numbers_with_a_decimal_comma_are_numbers(tmp_path: Path) -> None:
    text = "person;age;size;notes\na;28,59;-0,5;1,5 or so\nb;62;1,25;\nc;n/a;2;2,5\nd;41,0;;\n"
    found = Dataset(tmp_path, read_people(table(tmp_path, text))).columns(("Age", "size", "notes"), list("abcd"))
    assert np.array_equal(found["Age"], [28.59, 62, np.nan, 41], equal_nan=True)
    assert np.array_equal(found["size"], [-0.5, 1.25, 2, np.nan], equal_nan=True)
    assert found["notes"].tolist() == ["1,5 or so", "", "2,5", ""]
    ages = read_people(tmp_path / "people.csv")
    groups = [{"age": ages["a"]["age"]}, {"age": "28.59"}]
    assert len({str(assign_splits(["x"], {"x": one}, {}, 0)) for one in groups}) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# all\nperson,split\na,train\nb,holdout\n", "line 4: split holdout: not one of train, val, test"),
        ("person;set\na;0\n", "line 2: split 0"),
        ("person,age,Age\na,1,2\n", "line 1: two columns age"),
        ("person,sex\n\na,m\nb,f\n# a is back\na,f\n", "line 6: a again, after line 3"),
        ("person,sex\na,m\n ,f\n", "line 3: no person"),
        ("name;sex\na;m\n", "needs a column `person`; line 1 has name, sex"),
        ("#only\n\n", "no line of column names"),
        ("person\tsex\na\n", "line 2: not 2 values"),
        ("person,a\0b\n", "not a table of text"),
        ("PK\3\4\0\0spreadsheet", "saved as CSV"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as error:
        read_people(table(tmp_path, text))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_names_fit_folders_that_look_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset(tmp_path, ["Zoe\u0308", "anna  lee", "bo", "Bo", "#1"])
    text = "person,split\nZoë,test\nAnna Lee,val\nbo,train\nBo,test\nBO,train\nmax,train\n#1,train\n# ,nothing\n"
    table(tmp_path, text)
    found = read_dataset(tmp_path)
    assert found.split("test") == ["Bo", "Zoe\u0308"] and found.split("val") == ["anna  lee"]
    assert found.split("train") == ["#1", "bo"]
    assert "2 of 7 names fit no folder: BO (line 6), max (line 7)" in caplog.text
    table(tmp_path, "person,split\np1,train\np2,test\n")
    with pytest.raises(UserError, match=r"people.csv: no name in it fits a folder: p1 \(line 2\), p2 \(line 3\)"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("split", ["test", "Validation"])
def test_a_misspelt_person_is_never_trained_on(tmp_path: Path, split: str) -> None:
    dataset(tmp_path, ["anna", "ben", "carl"])
    table(tmp_path, f"person,split\nana,{split}\nben,dev\n")
    with pytest.raises(UserError, match=r"fit no folder: ana \(line 2\); folders without a line: anna, carl; correct"):
        read_dataset(tmp_path)
    table(tmp_path, f"person,split\nana,{split}\nanna,{split}\nben,train\ncarl,train\n")  # somebody who is not here
    assert read_dataset(tmp_path).split("train") == ["ben", "carl"]
    names = table(tmp_path, f"id,face,set\nid1,Ana,{split}\nid2,Ben,dev\n", name="meta.csv")
    with pytest.raises(UserError, match=r"data.names=.*fit no folder: Ana \(line 2\); folders without a line: Anna;"):
        read_names(names, {"speech": ["id1", "id2"], "face": ["Anna", "Ben"]})
    joined, traits = read_names(names, {"speech": ["ID1", "id2 "], "face": ["ana", "BEN"]})
    assert joined == {"speech": {"ID1": "ID1", "id2 ": "id2 "}, "face": {"ana": "ID1", "BEN": "id2 "}}
    assert traits["ID1"]["split"] == {"test": "test", "Validation": "val"}[split]


def test_the_table_is_found_in_any_case_and_must_be_one(tmp_path: Path) -> None:
    dataset(tmp_path, "abc")
    table(tmp_path, "person\tsplit\na\ttest\n", name="People.TSV")
    assert read_dataset(tmp_path).split("test") == ["a"]
    table(tmp_path, PLAIN)
    with pytest.raises(UserError, match="two tables"):
        read_dataset(tmp_path)
    (tmp_path / "People.TSV").unlink()
    (tmp_path / "people.csv").unlink()
    (tmp_path / "people.csv").symlink_to("nowhere.csv")
    with pytest.raises(UserError, match=r"people.csv: No such file"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("splits", "train"),
    [
        ("training validation test train", "ad"),
        ("train val test -", "a"),  # a person without a split is not trained on beside those who have one
        ("test dev dev dev", "bcd"),  # VoxCeleb's: what is not for testing
        ("val test n/a ", "cd"),
        ("- - - -", ""),  # no splits: the training divides all people itself
    ],
)
def test_nobody_marked_test_is_trained_on(tmp_path: Path, splits: str, train: str) -> None:
    text = "person,split\n" + "".join(f"{one},{split}\n" for one, split in zip("abcd", splits.split(" "), strict=True))
    assert dataset(tmp_path, "abcd", text).split("train") == list(train)


def test_a_dataset_of_test_people_is_not_trained_on(tmp_path: Path) -> None:
    found = dataset(tmp_path, "abc", "person,split\na,test\nb,testing\nc,val\n")
    with pytest.raises(UserError, match="nobody to train on"):
        found.split("train")
    assert found.training_people() == [] and found.split("test") == ["a", "b"]


def test_people_csv_wins_over_an_earlier_preparation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset(tmp_path, "abc")
    table(tmp_path / "prepared", "person,split,sex\na,train,male\nb,train,\nc,train,male\n")
    assert read_dataset(tmp_path).split("train") == list("abc")
    table(tmp_path, "person,split,sex,age\na,testing,,30\nb,,W,40\n")
    found = read_dataset(tmp_path)
    assert found.split("train") == ["b", "c"] and found.split("test") == ["a"]
    assert found.traits["a"] == {"person": "a", "split": "test", "sex": "male", "age": "30"}
    assert found.traits["b"]["sex"] == "female" and "1 people another split" in caplog.text


VOX = (
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid1\tA.J._Buckley\tm\tIreland\tdev\nid2\tZoë\tf\tUSA\ttest\n"
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " , "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_tables_of_names_are_read_as_people_csv(tmp_path: Path, delimiter: str, encoding: str) -> None:
    names = table(tmp_path, "# from the web\n" + VOX.replace("\t", delimiter), encoding, "meta.csv")
    joined, traits = read_names(names, {"speech": ["id1", "id2"], "face": ["Zoë"]})
    assert joined == {"speech": {"id1": "id1", "id2": "id2"}, "face": {"A.J._Buckley": "id1", "Zoë": "id2"}}
    assert traits["id1"] == {"sex": "male", "nationality": "Ireland", "split": ""}
    assert traits["id2"] == {"sex": "female", "nationality": "USA", "split": "test"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (VOX + "id1\tSomebody\tf\tUSA\tdev\n", "line 4: id1 again, after line 2"),
        (VOX + "id3\tZoë\tf\tUSA\tdev\n", "line 4: folder Zoë again, after line 3"),
        (VOX.replace("test", "private"), "line 3: split private"),
        (VOX.replace("\tGender", "\tSet"), "line 1: two columns set"),
        (VOX.replace("id", "x").replace("Zoë", "z"), "names the folders, such as id1; line 2 has x1"),
        (VOX.split("\n")[0], "no column of it names the folders"),
    ],
)
def test_what_is_wrong_in_a_table_of_names_is_said_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    names = table(tmp_path, text, name="meta.csv")
    with pytest.raises(UserError, match=f"^data.names=.*{re.escape(words)}"):
        read_names(names, {"speech": ["id1", "id2"], "face": ["Zoë"]})
