"""Kinds of media, judged by a file's name alone."""

import mimetypes
from pathlib import PurePath

MEDIA = {"speech": ("audio", "video"), "face": ("image",)}
OTHER = ("application/json", "application/pdf", "application/xml", "application/zip", "application/x-subrip")
# Files that stand beside recordings and photos and that no table of types knows, or not every one.
BESIDE = {
    **dict.fromkeys((".txt", ".lab", ".trn", ".trs", ".stm", ".ctm", ".rttm", ".log", ".md", ".rst"), "text/plain"),
    **dict.fromkeys((".textgrid", ".eaf", ".srt", ".vtt", ".lrc", ".ass", ".cue", ".m3u", ".m3u8"), "text/plain"),
    **dict.fromkeys((".csv", ".tsv"), "text/csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "application/json"),
    **dict.fromkeys((".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"), "text/plain"),
    **dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx", ".ods"), "text/document"),
    **dict.fromkeys((".npy", ".npz", ".pkl", ".pt", ".parquet", ".arrow", ".md5", ".sha256"), "text/data"),
}
NAMES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}  # what file managers leave


def kind_of(name: str) -> str:
    """The type of a file by its name, such as audio/flac; "" if the name does not say."""
    suffix = PurePath(name).suffix.lower()
    if name.lower() in NAMES or suffix.endswith(":zone.identifier"):
        return "text/system"
    if suffix == ".ts":  # some machines map it to Qt translations, which are text
        return "video/mp2t"
    return BESIDE.get(suffix) or mimetypes.guess_type(name)[0] or ""


def is_beside(name: str) -> bool:
    """Whether a name says that the file is neither a recording nor a photo, as that of a transcript does."""
    kind = kind_of(name)
    return kind in OTHER or kind.startswith("text/")


def passed_over(name: str, modality: str) -> str | None:
    """Why a search for recordings ("speech") or photos ("face") passes over a file; None: it does not."""
    kind = kind_of(name)
    family = kind.partition("/")[0]
    if family in MEDIA[modality] or (family not in ("audio", "video", "image") and not is_beside(name)):
        return None
    return f"passed over: {kind} by its name"
