"""The structure that the project keeps: imports point one way, and only the upper rooms know the configuration."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "speech2face"
# From the ground up; a room imports from rooms below it, and rooms of one floor may import each other without a circle.
FLOORS = (
    {"errors", "files"},
    {"preprocessing"},
    {"encoders", "decoders", "priors", "weights"},
    {"inference", "judges"},
    {"data"},
    {"training", "evaluation", "preparation", "talkers"},
    {"config"},
    {"run"},
    {"web"},
    {"pipelines"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> Iterator[tuple[str, Path]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, file


def imports(file: Path) -> set[str]:
    """Modules of the package that a file imports, but for types."""
    found = set()
    tree = ast.parse(file.read_text())
    typed = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for one in block.body
        for node in ast.walk(one)
    }
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("speech2face"):
            base = node.module.partition("speech2face")[2].lstrip(".")
            found |= {f"{base}.{name.name}".lstrip(".") for name in node.names} | ({base} if base else set())
        elif isinstance(node, ast.Import):
            found |= {name.name.removeprefix("speech2face.") for name in node.names if "speech2face." in name.name}
    names = {name for name, _ in modules()}
    return found & names


def room(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize(("name", "file"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(name: str, file: Path) -> None:
    upward = {one for one in imports(file) if FLOOR[room(one)] > FLOOR[room(name)]}
    assert not upward


def test_modules_import_each_other_without_circles() -> None:
    graph = {name: imports(file) for name, file in modules()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path, name])}"
        if name not in done:
            for one in graph[name]:
                visit(one, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_the_configurations_room_and_the_command_take_a_config() -> None:
    takers = set()
    for name, file in modules():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                annotated = [ast.unparse(one.annotation) for one in node.args.args if one.annotation]
                if "config" in arguments or any("DictConfig" in one for one in annotated):
                    takers.add(room(name))
    assert takers <= {"config", "run", "encoders"}  # encoders: config.json of Hugging Face


def test_names_are_not_private_across_modules() -> None:
    for _, file in modules():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("speech2face"):
                assert not [one.name for one in node.names if one.name.startswith("_") and one.name != "__version__"]
