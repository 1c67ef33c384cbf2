"""The options that a recipe (`experiment=NAME`) sets. They win over what weights bring, as typed options do."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from speech2face.weights.front_end import leaves


def set_by_recipe(name: str | None, folders: Iterable[Path]) -> list[str]:
    """The options that a recipe and the recipes it extends set, as overrides, such as "face.preprocessing.crop=none".

    name: of the file experiment/NAME.yaml in one of the configuration folders; None: no recipe.
    """
    folders = list(folders)
    file = next((path for folder in folders if (path := folder / "experiment" / f"{name}.yaml").exists()), None)
    if file is None:
        return []
    content = yaml.safe_load(file.read_text()) or {}
    extended = [one for one in content.pop("defaults", []) if isinstance(one, str) and one != "_self_"]
    inherited = [override for one in extended for override in set_by_recipe(one, folders)]
    return [*inherited, *(f"{key}={value}" for key, value in leaves(content).items() if not key.startswith("hydra."))]
