"""Compose the configuration and run what it says: `python run.py --help`."""

from speech2face import runs  # isort: skip - first: it notes when the process began

import hydra
from omegaconf import DictConfig

from speech2face.errors import one_line_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    runs.execute(config)


if __name__ == "__main__":
    with one_line_errors():
        main()
