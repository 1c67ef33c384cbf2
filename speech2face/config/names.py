"""Names of options: those that are typed in short, those that were renamed, and the nearest to a mistyped one."""

import difflib
import re

from speech2face.errors import UserError

# `preprocessing` is the front end of the encoder; `pipeline.x` was where some options of a pipeline stood.
FRONT_END = "preprocessing@encoder.preprocessing"
# Options whose value is text even where it looks like a number, as the folder 2024_05_01 does.
TEXT = re.compile(r"audio|image|resume|hydra\.(run|sweep)\.dir|data\.(root|audios|images|names)|.*\.(weights|init)")
NUMBER = re.compile(r"[-+]?[\d._]+([eE][-+]?\d+)?")
GONE = {
    "face.overrides": "the slot `face` takes options itself, as in face.preprocessing.crop=none",
    "training.voices": "voices are slots: +encoder@voices.ast=ast voices.ast.weights=DIR",
    "training.head": "the encoder's class states its head",
}


def canonical(argument: str) -> str:
    """An argument of the command line in Hydra's spelling. Raises UserError for an option that is gone.

    preprocessing=fbank is the group of the slot `encoder`, preprocessing.windows=3 an option of its front end,
    face.encoder=resnet the group of the slot `face`; pipeline.clips=3 is clips=3. Names of files stay text.
    """
    sign, key, equals, value = re.fullmatch(r"([+~]*)([^=]*)(=?)(.*)", argument, re.DOTALL).groups()
    if not equals and not sign:
        return argument
    if value == "null" and key in ("pipeline", "encoder", "decoder", "preprocessing", "data"):
        raise UserError(f"{key}=null: one of the group must be chosen; python run.py --help lists them")
    if key in GONE:
        raise UserError(f"{key}: there is no such option any more; {GONE[key]}")
    if key == "preprocessing":
        key = FRONT_END
    elif key == "face.encoder":
        key = "encoder@face"
    elif key.startswith("preprocessing."):
        key = f"encoder.{key}"
    elif key.startswith("pipeline.") and key not in ("pipeline.name", "pipeline._target_"):
        key = key.removeprefix("pipeline.")
    if TEXT.fullmatch(key) and NUMBER.fullmatch(value):
        value = f"'{value}'"
    return f"{sign}{key}{equals}{value}"


def short(override: str) -> str:
    """An override as people type it: the reverse of `canonical` for the front end of the encoder."""
    return override.replace(FRONT_END, "preprocessing", 1).replace("encoder.preprocessing.", "preprocessing.", 1)


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean a, b?` of the known names that are like a mistyped one, or nothing."""
    stem, _, last = name.rpartition(".")
    siblings = [one for one in known if one.rpartition(".")[0] == stem]
    found = [one for one in siblings if last and one.rpartition(".")[2].startswith(last)]
    found += difflib.get_close_matches(name, siblings, 3, 0.85)
    if not found:
        found = [one for one in known if last and one.rpartition(".")[2] == last]
        found += difflib.get_close_matches(name, known, 3, 0.85)
    found = list(dict.fromkeys(short(one) for one in found))[:4]
    return f"; did you mean {', '.join(found)}?" if found else ""
