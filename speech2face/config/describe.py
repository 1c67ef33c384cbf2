"""Types and bounds of options: how to declare them, and their description in words."""

import dataclasses
from typing import Annotated, Literal, get_args, get_origin

from msgspec import Meta

Natural = Annotated[int, Meta(ge=0)]
Whole = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a mapping"}


def says(description: str, **bounds: float) -> Meta:
    """The description and bounds (ge, gt, le, lt, min_length) of an option, for Annotated."""
    return Meta(description=description, **bounds)


def unwrap(hint: object) -> tuple[object, Meta | None]:
    """Split a type hint into the type and the Meta of its Annotated, or None."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        deeper, note = unwrap(inner)
        return deeper, notes[0] if notes else note
    return hint, None


def describe(hint: object) -> str:
    """Describe a type and its bounds in words, such as "a whole number, at least 1"."""
    inner, meta = unwrap(hint)
    options = [one for one in get_args(inner) if one is not type(None)] if is_union(inner) else [inner]
    words = []
    for one in options:
        one, own = unwrap(one)
        meta = own or meta
        if get_origin(one) is Literal:
            words.append(f"one of {', '.join(map(str, get_args(one)))}")
        elif get_origin(one) is list or one is list:
            words.append("a list, as in [a,b]")
        elif get_origin(one) is dict or dataclasses.is_dataclass(one):
            words.append(KINDS[dict])
        else:
            words.append(KINDS.get(one, str(one)))
    if meta and meta.title:
        words = [meta.title]
    text = " or ".join(words) + (" or null" if type(None) in get_args(inner) else "")
    bounds = {"ge": "at least {:g}", "gt": "more than {:g}", "le": "at most {:g}", "lt": "less than {:g}"}
    return text + "".join(
        f", {form.format(getattr(meta, name))}"
        for name, form in bounds.items()
        if meta and getattr(meta, name) is not None and abs(getattr(meta, name)) < 2**62
    )


def is_union(hint: object) -> bool:
    """Whether a type hint is a union."""
    return type(None) in get_args(hint) or "Union" in type(hint).__name__
