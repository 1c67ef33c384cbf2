"""The end of an evaluation: what the run records and logs of its metrics."""

import logging
from typing import TYPE_CHECKING, Any

from speech2face.config.options import Evaluate
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.evaluation.report import Row

log = logging.getLogger(__name__)


def published(options: Evaluate) -> dict[str, Any]:
    """The name and the published figures of the protocol, as metrics.json has them; {} without a protocol."""
    if options.protocol is None:
        return {}
    return {"protocol": options.protocol.name, "published": options.protocol.published}


def conclude(run: Run, about: dict[str, int], metrics: "dict[str, Row]", lines: list[str]) -> None:
    """Record the metrics of a run, and log lines about them. about: counts, for the last line."""
    run.record["metrics"] = {name: row["value"] for name, row in metrics.items()}
    run.own_metric = "retrieval/cosine/all/R@1" if "retrieval/cosine/all/R@1" in metrics else None
    for line in lines:
        log.info(line)
    log.info("%s: %s", ", ".join(f"{count} {what}" for what, count in about.items()), run.directory)
