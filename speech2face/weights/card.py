"""What travels with weights that were trained here."""

from typing import Any


def model_card(card: dict[str, Any]) -> str:
    """The description of weights as Markdown. card: see Keep.write."""
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
        epoch=training["epoch"] + 1,
        steps=training["steps"],
        metrics=metrics,
        recipe=recipe,
        limits=limits,
    )


CARD = """# {target} ({part})

Trained by Speech2Face on {rows} files of {people} people ({root}), {epoch} epochs, {steps} steps, by

    {command}

| validation | |
| --- | --- |
{metrics}

| recipe | |
| --- | --- |
{recipe}

{limits}
"""
LIMITS = """A face from a voice is an average of the faces that go with such a voice, not a likeness. What these weights
have learnt of people is what their data has; they must not be used to identify anybody, nor to judge anybody's
origin."""
LIMITS_TALKERS = f"""{LIMITS}

The data are simulated people: their faces are drawings, and their voices are synthesised. Sex, age and size are all
that voice and face have in common there; skin tone and hair are independent of the voice."""
