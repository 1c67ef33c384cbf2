"""What report.html of an evaluation and comparison.html of a sweep show of metrics and published figures."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speech2face.evaluation.describe import describe, group_of, sorted_by_group
from speech2face.evaluation.summary import is_better

TEMPLATES = Path(__file__).parent / "templates"
Row = Mapping[str, float | None]  # of the table of metrics, by column
MAIN = ("retrieval/cosine/all/", "retrieval/cosine/100/")  # what is shown of retrieval at once


def groups(metrics: Mapping[str, Row], simulated: bool) -> list[dict[str, Any]]:
    """The metrics in groups, ready to be shown. Rows of a group that are not in MAIN are set aside as `more`."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted_by_group(metrics):
        row, first = metrics[name], name.partition("/")[0]
        title, introduction = group_of(name)
        group = found.setdefault(first, {"title": title, "introduction": introduction, "rows": [], "more": []})
        aside = first == "retrieval" and not name.startswith(MAIN)
        group["more" if aside else "rows"].append(metric_row(name, row, simulated))
    for group in found.values():
        if not group["rows"]:
            group["rows"], group["more"] = group["more"], []
    return list(found.values())


def metric_row(name: str, row: Row, simulated: bool) -> dict[str, Any]:
    """A metric with its description and its numbers as texts."""
    what = describe(name, simulated)
    return {
        "name": name,
        "what": what,
        "value": what.shown(row["value"]),
        "interval": interval(what.number, row["low"], row["high"]),
        "chance": what.beside(row["chance"]),
        "ideal": what.shown(row["ideal"]) if row.get("ideal") is not None else "",
        "ideal_interval": interval(what.number, row.get("ideal_low"), row.get("ideal_high")),
        "of_ideal": f"{100 * row['of_ideal']:.0f} %" if row.get("of_ideal") is not None else "",
        "traits": what.shown(row["traits"]) if row.get("traits") is not None else "",
        "beyond": is_better(what, row),
        "undefined": row["value"] is None,
    }


def interval(number: Any, low: float | None, high: float | None) -> str:
    """Two bounds as text; "" if they are unknown."""
    return f"{number(low)} to {number(high)}" if low is not None and high is not None else ""


def published_table(published: Any, metrics: Mapping[str, Row]) -> dict[str, Any] | None:
    """Published figures as {"notes", "columns", "rows"}, with a row of this run; None if there are none.

    published: a list of rows, each a mapping; or a mapping of rows by the name of the system; or a mapping that has
    such a list or mapping beside texts, which become the notes.
    """
    if not published:
        return None
    notes: list[str] = []
    rows = published
    if isinstance(published, Mapping):
        tables = [one for one in published.values() if isinstance(one, list)]
        texts = {key: one for key, one in published.items() if isinstance(one, str)}
        notes = [f"{key}: {one}" for key, one in texts.items()]
        inner = {key: one for key, one in published.items() if isinstance(one, Mapping)}
        rows = tables[0] if tables else [{"system": key} | dict(one) for key, one in inner.items()]
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return None
    rows = [dict(row) for row in rows if isinstance(row, Mapping)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    own = {name: describe(name).shown(metrics[name]["value"]) for name in columns if name in metrics}
    shown = [[_text(row.get(column)) for column in columns] for row in rows]
    if own:
        shown.append([own.get(column, "this run" if i == 0 else "") for i, column in enumerate(columns)])
    return {"notes": notes, "columns": columns, "rows": shown} if rows else None


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return "" if value is None else str(value)


def warnings_of(*lists: Iterable[str | None]) -> list[str]:
    """The sentences of several lists, each once."""
    return list(dict.fromkeys(one for some in lists for one in some if one))
