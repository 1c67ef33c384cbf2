"""The published protocols of evaluation, from conf/protocol."""

from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class Protocol:
    """A published protocol, from conf/protocol: its source, the data that it needs, and the figures of others.

    published: one row per system and paper: `system`, `source`, and values by the names of this project's metrics, in
    their units. Figures without such a metric have names of their own.
    """

    name: str
    source: str
    needs: str
    published: list[dict[str, str | float]]
