"""`pipeline=serve`: a page in the browser."""

import dataclasses
import logging
import os
import socket
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.config.compose import options_of, store_defaults
from speech2face.config.options import Serve
from speech2face.data.media import MEDIA, kind_of
from speech2face.errors import UserError
from speech2face.pipelines import reconstruct
from speech2face.pipelines.parts import check_modality, load_parts, locate_parts, without_unused
from speech2face.run.record import Run
from speech2face.web.answers import Answers, Ready
from speech2face.web.page import STYLE, build_page, import_gradio, theme

if TYPE_CHECKING:
    from speech2face.weights.load import Loaded
    from speech2face.weights.locate import Located

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]  # of a checkout
LOCAL, EVERYWHERE = "127.0.0.1", "0.0.0.0"


def serve(options: Serve, run: Run) -> int:
    """Show the page until the user interrupts. Returns 0."""
    import_gradio()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL, options.port))
        except OSError as error:
            raise UserError(f"port={options.port}: {error.strerror}; choose another, as in port=8000") from None
    with run.stage("load"):
        answers = prepare(options)
    run.save(weights={name: one.weights for name, one in answers.ready.items()})
    show(answers, options, LOCAL)
    return 0


def host(*overrides: str) -> None:
    """Show the page to every computer that can reach this one, as a hosted Space does.

    overrides: as on the command line after pipeline=serve. Raises UserError where that command would end with an error.
    """
    store_defaults()
    options = options_of("pipeline=serve", *overrides)
    show(prepare(options), options, EVERYWHERE)


def prepare(options: Serve) -> Answers:
    """Load the networks for voices and photos. Further voice encoders are located, and loaded when they are needed."""
    slots = {"encoder": "speech", "face": "face"} | {f"voices.{name}": "speech" for name in options.voices}
    for slot, modality in slots.items():
        part = options.voices[slot[7:]] if slot.startswith("voices.") else getattr(options, slot)
        check_modality(part, modality, "pipeline=serve")
    options = without_unused(options)
    located = locate_parts(options)
    ready = {modality: load(options, located, slot) for slot, modality in list(slots.items())[:2]}
    others = {name: partial(load, options, located, f"voices.{name}") for name in options.voices}
    return Answers(ready, others, Path(options.keep).expanduser() if options.keep else None)


def load(options: Serve, located: "dict[str, Located]", slot: str) -> Ready:
    """Load the encoder of a slot with a decoder, and with the prior for `encoder`, which alone draws samples."""
    draws = slot == "encoder" and "prior" in located
    needed = [slot, "decoder", *(["prior"] if draws else [])]
    loaded: dict[str, Loaded] = load_parts(options, {name: located[name] for name in needed})
    loaded["encoder"] = loaded.pop(slot)
    own = options if slot == "encoder" else dataclasses.replace(options, samples=0, prior=None)
    record: dict[str, Any] = {name: one.record() for name, one in loaded.items()}
    return Ready(reconstruct.build(own, loaded), record)


def show(answers: Answers, options: Serve, name: str) -> None:
    """Serve the page until an interrupt. Uploads are in a directory that is then removed.

    name: the address of this computer at which it listens.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks its own page whether it is there
    found = sorted((ROOT / "examples").glob("*")) if (ROOT / "pyproject.toml").exists() else []
    kinds = {one: kind_of(one.name).partition("/")[0] for one in found}
    examples = [(one, takes) for takes, own in MEDIA.items() for one, kind in kinds.items() if kind in own]
    seconds = answers.ready["speech"].reconstructor.encoder.preprocessing.max_seconds
    with tempfile.TemporaryDirectory(prefix="speech2face-page-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build_page(answers, seconds, examples, options.workers)
        page.queue(max_size=options.waiting, api_open=False)
        try:
            _, local, public = page.launch(
                server_name=name,
                server_port=options.port,
                share=options.share,
                max_file_size=f"{options.max_megabytes}mb",
                theme=theme(),
                css_paths=STYLE,
                footer_links=[],
                enable_monitoring=False,
                run_history=False,
                prevent_thread_lock=True,
                quiet=True,
                ssr_mode=False,
            )
            log.info("the page is at %s", local)
            if public:
                log.warning("everybody can open the page at %s, and work on this computer through it", public)
            threading.Event().wait()
        except KeyboardInterrupt:
            log.info("the page is closed")
        finally:
            page.close(verbose=False)
