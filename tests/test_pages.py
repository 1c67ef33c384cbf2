"""Every command of the pages in docs/, as printed, those in tables too; and the links of all pages."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, run_py
from pages import PAGES, README, commands, furnish

TALKERS = ["pipeline=talkers", "data.people=20", "data.clips=1", "data.photos=2", "data.seconds=2", "data.root=talkers"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Path:
    """The README's directory, with fewer people."""
    home = tmp_path_factory.mktemp("pages")
    furnish(home, checkpoints)
    run_py(*TALKERS, cwd=home)
    return home


@pytest.mark.parametrize("page", [page for page in PAGES if page != README and commands(page)])
def test_commands_run_as_printed(home: Path, page: str) -> None:
    for command in commands(page):
        words = shlex.split(command)
        assert words[:2] == ["python", "run.py"]
        run_py(*words[2:], cwd=home)


def test_most_pages_have_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES if page != README) > 30


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / page).read_text()):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_a_page_begins_with_the_list_of_its_sections(page: str) -> None:
    text = (ROOT / page).read_text()
    sections = re.findall(r"^## .+$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    head = text[: text.index(sections[0])]
    assert [f"](#{anchor})" in head for section in sections for anchor in anchors(section)] == [True] * len(sections)


def test_the_readme_can_be_skimmed() -> None:
    assert (ROOT / README).stat().st_size <= 9000


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
