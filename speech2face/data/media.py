"""The type of a media file, guessed from its name alone."""

import mimetypes
from functools import lru_cache
from pathlib import PurePath

MEDIA = {"speech": ("audio", "video"), "face": ("image",)}
OTHER = ("application/json", "application/pdf", "application/xml", "application/zip", "application/x-subrip")
# Files that often lie beside recordings and photos, and whose types `mimetypes` does not know on every machine.
BESIDE = {
    **dict.fromkeys((".txt", ".lab", ".trn", ".trs", ".stm", ".ctm", ".rttm", ".log", ".md", ".rst"), "text/plain"),
    **dict.fromkeys((".textgrid", ".eaf", ".srt", ".vtt", ".lrc", ".ass", ".cue", ".m3u", ".m3u8"), "text/plain"),
    **dict.fromkeys((".csv", ".tsv"), "text/csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".ipynb"), "application/json"),
    **dict.fromkeys((".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"), "text/plain"),
    **dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx", ".ods"), "text/document"),
    **dict.fromkeys((".npy", ".npz", ".pkl", ".pt", ".parquet", ".arrow", ".md5", ".sha256"), "text/data"),
}
NAMES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}  # written by file managers


def kind_of(name: str) -> str:
    """The MIME type of a file by its name, such as audio/flac; "" if the name does not show it."""
    if name.lower() in NAMES:
        return "text/system"
    return _kind_of(".".join(["x", *name.split(".")[1:][-2:]]))


@lru_cache(1024)
def _kind_of(name: str) -> str:
    """The same of a name that is reduced to its last two suffixes. Millions of names have few of these."""
    suffix = PurePath(name).suffix.lower()
    if suffix.endswith(":zone.identifier"):
        return "text/system"
    if suffix == ".ts":  # on some machines mapped to translations of Qt, which are text
        return "video/mp2t"
    return BESIDE.get(suffix) or mimetypes.guess_type(name)[0] or ""


def is_beside(name: str) -> bool:
    """Whether a file is neither a recording nor a photo by its name, such as a transcript."""
    kind = kind_of(name)
    return kind in OTHER or kind.startswith("text/")


def passed_over(name: str, modality: str) -> str | None:
    """Why a search for recordings ("speech") or photos ("face") passes over a file; None if it does not."""
    kind = kind_of(name)
    family = kind.partition("/")[0]
    if family in MEDIA[modality] or (family not in ("audio", "video", "image") and not is_beside(name)):
        return None
    return f"passed over: {kind} by its name"
