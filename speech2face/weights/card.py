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
