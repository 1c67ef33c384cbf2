"""`pipeline=publish`: weights and their card to a repository of the Hugging Face hub."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.config.options import Publish
from speech2face.errors import UserError
from speech2face.files import sha256
from speech2face.run.record import Run
from speech2face.weights.card import hub_card
from speech2face.weights.locate import HUB_ID, OUR_CARD, OUR_TENSORS, locate, read_json

if TYPE_CHECKING:
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)


def publish(options: Publish, run: Run) -> int:
    """Push the weights of `part` with a card, and load them from the hub as a user would. Returns 0.

    With --dry-run nothing is pushed: it prints the files and the card. Raises UserError for weights that cannot be
    published, without a token, and for what the hub refuses.
    """
    if not options.repo or not (hub_id := HUB_ID.fullmatch(options.repo)) or hub_id[2]:
        raise UserError(f"repo={options.repo or ''}: must be a repository of the hub, as in repo=owner/name")
    if not options.licence:
        raise UserError(
            "licence= must be given, as in licence=cc-by-4.0; licence=other for one that the hub does not name"
        )
    metrics = read_json(Path(options.evaluation).expanduser() / "metrics.json") if options.evaluation else {}
    loaded = load_ours(options)
    run.record["weights"] = {options.part: loaded.record()}
    folder = run.directory / "weights"
    write(loaded, folder, options, metrics)
    if run.dry:
        print(f"{options.repo} would get:")
        for file in sorted(folder.iterdir()):
            print(f"{file.stat().st_size:>12,} bytes  {file.name}  SHA-256 {sha256(file)}")
        print(f"README.md:\n{(folder / 'README.md').read_text()}")
    run.save_options(dataclasses.replace(options, **{options.part: loaded.part}))
    with run.stage("push"):
        revision = push(folder, options)
    named = f"{options.repo}@{revision}"
    with run.stage("check"):
        check(named, loaded, options)
    run.record["published"] = {"repo": options.repo, "revision": revision}
    log.info("pushed, and loaded from there: %s.weights=%s", options.part, named)
    return 0


def load_ours(options: Publish) -> "Loaded":
    """Load the weights of `part`. Raises UserError unless they are in our format and trained."""
    from speech2face.weights.load import load

    part = options.chosen
    loaded = load(part, options.seed, locate(part))
    named = f"{options.part}.weights={part.weights}"
    if loaded.untrained:
        raise UserError(f"{named}: random weights are not published")
    if loaded.layout != "ours":
        raise UserError(f"{named}: {loaded.layout}; pipeline=convert writes them in our format, which is published")
    return loaded


def write(loaded: "Loaded", folder: Path, options: Publish, metrics: dict) -> None:
    """Write the files that are pushed: the tensors as they are, the description, and the card for people."""
    folder.mkdir()
    shutil.copyfile(loaded.located.file, folder / OUR_TENSORS)
    card = loaded.located.beside.get("card") or loaded.card()
    (folder / OUR_CARD).write_text(json.dumps(card, indent=2) + "\n")
    text = hub_card(card, loaded.part.option, options.repo, options.licence, metrics)
    (folder / "README.md").write_text(text)


def push(folder: Path, options: Publish) -> str:
    """Push the files of a folder in one commit; returns its id. The token is read by huggingface_hub alone."""
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise UserError(f"repo={options.repo}: no token of the hub: hf auth login stores one, or set HF_TOKEN")
    hub = HfApi()
    try:
        hub.create_repo(options.repo, private=options.private, exist_ok=True)
        return hub.upload_folder(repo_id=options.repo, folder_path=folder, commit_message="Weights of Speech2Face").oid
    except Exception as error:  # huggingface_hub raises its own exceptions, those of its HTTP library, and OSError
        lines = [line for line in str(error).replace(token, "...").splitlines() if line.strip()]
        raise UserError(f"repo={options.repo}: not pushed ({' '.join(lines[:2]) or type(error).__name__})") from None


def check(named: str, loaded: "Loaded", options: Publish) -> None:
    """Load weights from the hub as a user would. Raises UserError unless they are those that were pushed."""
    from speech2face.weights.load import load

    part = dataclasses.replace(options.chosen, weights=named)
    found = locate(part)
    load(part, options.seed, found)
    if found.digest != loaded.located.digest:
        raise UserError(f"{options.part}.weights={named}: not the weights that were pushed: SHA-256 {found.digest}")
