"""The model card: README.md of weights that this project has trained."""

from typing import Any


def model_card(card: dict[str, Any]) -> str:
    """The model card as Markdown. card: the JSON that speech2face.weights.ours.save writes, with its training."""
    training = card["training"]
    metrics = "\n".join(f"| {name} | {value:.4g} |" for name, value in training["metrics"].items())
    recipe = "\n".join(f"| {name} | `{value}` |" for name, value in training["recipe"].items())
    limits = LIMITS_TALKERS if training["data"]["simulated"] else LIMITS
    return CARD.format(
        part=card["part"],
        target=card["architecture"]["_target_"].rpartition(".")[2],
        people=training["data"]["people"],
        rows=training["data"]["rows"],
        root=training["data"]["root"],
        command=" ".join(training["command"]),
        how=f"{training['epoch'] + 1} epochs, {training['steps']} steps" if training["steps"] else "in closed form",
        commit=(training.get("git") or {}).get("commit", "unknown"),
        metrics=metrics,
        recipe=recipe,
        limits=limits,
    )


def hub_card(card: dict[str, Any], option: str, repository: str, licence: str, metrics: dict[str, Any]) -> str:
    """The model card of a repository of the hub, with the front matter that the hub reads.

    option: the part's option in its configuration group. metrics: the content of an evaluation's metrics.json, or {}.
    """
    part = card["part"]
    text = (
        model_card(card) if "training" in card else UNTOLD.format(option=option, part=part, source=card.get("source"))
    )
    rows = "\n".join(
        f"| {name} | {row['value']:.4g} | {_interval(row)} | {_number(row.get('chance'))} |"
        for name, row in metrics.get("metrics", {}).items()
        if name.startswith(HEADLINES) and row["value"] is not None
    )
    measured = f"\n| metric of the test people | value | 95 % interval | chance |\n| --- | --- | --- | --- |\n{rows}\n"
    return HUB.format(part=part, option=option, repository=repository, licence=licence, card=text) + measured * bool(
        rows
    )


def _interval(row: dict[str, Any]) -> str:
    return "" if row.get("low") is None else f"{row['low']:.4g} to {row['high']:.4g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


HEADLINES = ("retrieval/cosine/all", "embedding/", "face_to_face", "verification")  # first parts of names of metrics
HUB = """---
license: {licence}
library_name: speech2face
tags: [speech2face, {part}]
---
{card}
Licence of the weights: {licence}. Speech2Face reads them by `{part}={option} {part}.weights={repository}`.
"""
UNTOLD = """# {option} ({part})

Weights of Speech2Face without a record of a training. Source: {source}.
"""
CARD = """# {target} ({part})

Trained by Speech2Face on {rows} files of {people} people ({root}), {how}, by

    {command}

at commit {commit}.

| validation | |
| --- | --- |
{metrics}

| recipe | |
| --- | --- |
{recipe}

{limits}
"""
LIMITS = """A face from a voice is an average of the faces that go with such a voice, not a likeness. These weights know
only the people of their training data. Do not use them to identify people or to judge a person's origin."""
LIMITS_TALKERS = f"""{LIMITS}

The data are simulated people: their faces are drawings, and their voices are synthesised. Voice and face have only
sex, age and size in common; skin tone and hair are independent of the voice."""
