"""The page itself, built with Gradio (extra `web`)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.errors import UserError, extra
from speech2face.web.answers import Answers
from speech2face.web.view import answer_html, comparison_html, error_html

if TYPE_CHECKING:
    import gradio

STYLE = Path(__file__).with_suffix(".css")
CLEANED = (600, 3600)  # s between searches for forgotten uploads; age in s at which they are removed
HEAD = """# Speech2Face
Speak for a few seconds, or give a recording, and see an average face that fits the voice. A photo gives a face, too.
"""
EMPTY = (
    '<div class="s2f"><p class="s2f-empty">The face appears here. Speak, give a file, or click an example.</p></div>'
)
RESPONSIBLE = """**Responsible use.** Do not use this page to identify, profile or surveil people, and do not suggest
that a face is a speaker's. Voices and faces are personal data: have the consent of their owners. Keep the mark that
calls a picture synthetic. Skin tone, hair and apparent origin come from the training data, and not from the voice.
"""


def import_gradio() -> Any:
    """The package gradio, told to send nothing to its makers. Raises UserError if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError:
        raise UserError(f"pipeline=serve needs gradio: {extra('web')}") from None
    return gradio


def theme() -> Any:
    """Gradio's theme in a font that it brings along whole, so that nothing is fetched from elsewhere."""
    themes = import_gradio().themes
    return themes.Default(
        primary_hue="blue", font=(themes.LocalFont("Source Sans Pro", weights=(400, 700)), "sans-serif")
    )


def build_page(
    answers: Answers, seconds: float | None, examples: Sequence[tuple[Path, str]] = (), at_once: int = 1
) -> "gradio.Blocks":
    """The page that shows the answers.

    seconds: how much of a recording is used, in s; None: all. examples: files with their modality, "speech" or "face".
    at_once: uploads that are worked on at the same time.
    """
    gr = import_gradio()
    limit = {"concurrency_limit": at_once, "concurrency_id": "networks", "api_visibility": "private"}

    def show(modality: str, path: str | None, visit: str | None) -> list[Any]:
        if path is None:  # the visitor has cleared the input; the last answer stays
            return [gr.skip()] * 4
        if visit:
            answers.remember(visit, Path(path))
        try:
            html = answer_html(answers.answer(Path(path), modality))
        except UserError as error:
            return [error_html(str(error)), "", None, gr.update(visible=False)]
        comparable = modality == "speech" and bool(answers.others)
        return [html, "", path, gr.update(visible=comparable)]

    def hear(path: str | None, request: gr.Request) -> list[Any]:
        return show("speech", path, request.session_hash)

    def see(path: str | None, request: gr.Request) -> list[Any]:
        return show("face", path, request.session_hash)

    def compare(path: str | None) -> str:
        if path is None:
            return ""
        try:
            return comparison_html(answers.compare(Path(path)))
        except UserError as error:
            return error_html(str(error))

    def leave(request: gr.Request) -> None:
        answers.forget(request.session_hash)

    used = "All of it is used." if seconds is None else f"The first {seconds:g} seconds are used."
    with gr.Blocks(title="Speech2Face", analytics_enabled=False, delete_cache=CLEANED) as page:
        gr.Markdown(HEAD)
        current = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                with gr.Tab("A voice"):
                    microphone = gr.Audio(
                        sources=["microphone"],
                        type="filepath",
                        label="Speak",
                        editable=False,
                        buttons=[],
                        elem_id="microphone",
                    )
                    recording = gr.File(label="Or give a recording or a video", elem_id="recording", height=150)
                    gr.Markdown(used)
                    voices = _buttons(gr, examples, "speech")
                with gr.Tab("A photo"):
                    photo = gr.File(label="Give a photo of one face", elem_id="photo", height=150)
                    camera = gr.Image(
                        sources=["webcam"],
                        type="filepath",
                        image_mode=None,
                        label="Or take one",
                        buttons=[],
                        height=260,
                    )
                    photos = _buttons(gr, examples, "face")
                gr.Markdown(
                    "Your files are removed when you leave." if not answers.keep else "**Your files are kept.**"
                )
            with gr.Column(scale=2, min_width=320):
                answer = gr.HTML(EMPTY)
                more = gr.Button("Compare encoders", visible=False)
                comparison = gr.HTML("")
        gr.Markdown(RESPONSIBLE)
        outputs = [answer, comparison, current, more]
        for component, function in ((microphone, hear), (recording, hear), (photo, see), (camera, see)):
            component.change(function, component, outputs, show_progress_on=answer, **limit)
        for (button, path), modality in [(one, "speech") for one in voices] + [(one, "face") for one in photos]:
            button.click(
                lambda p=str(path), m=modality: show(m, p, None), None, outputs, show_progress_on=answer, **limit
            )
        more.click(compare, current, comparison, **limit)
        page.unload(leave)
    return page


def _buttons(gr: Any, examples: Sequence[tuple[Path, str]], modality: str) -> list[tuple[Any, Path]]:
    fit = [path for path, takes in examples if takes == modality]
    with gr.Row():
        return [(gr.Button(f"Example: {path.stem.replace('_', ' ')}", size="sm", min_width=140), path) for path in fit]
