"""Names of options: short forms, old names, and suggestions for mistyped names."""

import difflib
import re

from speech2face.errors import UserError

FRONT_END = "preprocessing@encoder.preprocessing"  # `preprocessing` is short for it
# Options whose value is text even if it looks like a number, such as the folder 2024_05_01.
TEXT = re.compile(
    r"audio|image|resume|average|keep|hydra\.(run\.dir|sweep\.(sub)?dir)|data\.(root|audios|images|names|splits)|trials|evaluation"
    r"|(training\.)?(cache|crops)|.*\.(weights|init)"
)
NUMBER = re.compile(r"[-+]?([\d._]+(e[-+]?\d+)?|inf|nan)|true|false", re.IGNORECASE)
UNQUOTED = re.compile(r"[^\x00-\x7f]|[&#;!~^=]")  # no value has such a character outside of quotes
ITEM = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^'",\[\]]+|.""", re.DOTALL)  # of a list, or of a sweep
GROUP = re.compile(
    r"pipeline|encoder|face\.encoder|decoder|prior|preprocessing|data|trainer|logger|judge|protocol|experiment|debug|.*[/@].*"
)
GONE = {
    "face.overrides": "the slot `face` takes options itself, as in face.preprocessing.crop=none",
    "training.voices": "voices are slots: +encoder@voices.ast=ast voices.ast.weights=DIR",
    "training.head": "the encoder's class states its head",
}


def canonical(argument: str) -> str:
    """Translate an argument of the command line to Hydra's spelling.

    preprocessing=fbank selects the group of the slot `encoder`, preprocessing.windows=3 sets an option of its front
    end, face.encoder=resnet selects the group of the slot `face`, and pipeline.clips=3, an old name, becomes clips=3.
    Names of files stay text. Raises UserError for an option that was removed.
    """
    sign, key, equals, value = re.fullmatch(r"([+~]*)([^=]*)(=?)(.*)", argument, re.DOTALL).groups()
    if not equals and not sign:
        return argument
    if key == "prior" and value == "null":
        return "~prior"  # of the groups, only this one can be left out
    if value == "null" and GROUP.fullmatch(key):
        way_out = f"{key}=[] switches them off" if key in ("logger", "judge") else "python run.py --help lists them"
        raise UserError(f"{key}=null: one of the group must be chosen; {way_out}")
    if not key:
        raise UserError(f"{argument}: an option is name=value")
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
    if TEXT.fullmatch(key):
        value = "".join(_as_text(item) for item in ITEM.findall(value))
    return f"{sign}{key}{equals}{value}"


def _as_text(item: str) -> str:
    """Quote a number, and what Hydra takes for text only in quotes."""
    if NUMBER.fullmatch(item.strip()) or (UNQUOTED.search(item) and item[0] not in "'\""):
        return re.sub(r"\S(.*\S)?", r"'\g<0>'", item, flags=re.DOTALL)
    return item


def quoted(text: str) -> str:
    """A text as the value of an override, in quotes."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + "\\'" * bool(found[2]), text) + "'"


def short(override: str) -> str:
    """The short form of an override: the reverse of `canonical` for the front end of the encoder."""
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
