"""What every metric means, in a sentence: the only place where the reports learn it.

A new metric needs a line in DESCRIPTIONS, and a new group of metrics a line in GROUPS. Without them a report shows the
names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# The title of each group, the first part of a metric's name, and what is compared in it.
GROUPS = {
    "retrieval": (
        "Retrieval",
        "The photos of a gallery are ordered by the distance of their embeddings to the query's. The right photo is "
        "the one of the query's person.",
    ),
    "distance": ("Distance", "How far the query's embedding is from the embedding of the person's photo."),
    "embedding": (
        "Traits in the query's embedding",
        "A probe, which is a linear function fitted on photos of training people, reads a trait from the embedding.",
    ),
    "face": (
        "Traits in the drawn face",
        "A face is drawn from the query's embedding, and the same probes read the embedding of that picture.",
    ),
    "estimate": (
        "Traits by the estimates of the weights",
        "The encoder's weights bring linear functions that tell sex and age. They were fitted before, on other people.",
    ),
    "photo": (
        "Traits in the photo's embedding",
        "The probes read the embedding of the person's own photo: a bound for what they can read from a query.",
    ),
    "craniofacial": (
        "Proportions of the drawn face",
        "A ratio of lengths or areas is measured in the face drawn from the query and in the face drawn from the "
        "person's photo. The correlation is over people (Oh et al., CVPR 2019, section 4.1).",
    ),
    "consistency": ("Consistency", "Whether several queries of one person get similar embeddings."),
    "face_to_face": (
        "Faces drawn from photos",
        "The decoder draws a face from the embedding of a photo. It is compared with the person's true face, framed "
        "alike. No query takes part, so this is a bound for the decoder.",
    ),
    "judge": ("Independent judges", "Networks that took no part in drawing look at the drawn pictures."),
    "association": ("Matching of voices and faces", "Which voice and which face belong together."),
    "calibration": ("Calibration", "Whether the spread of several faces of one voice is as large as it should be."),
}
CONTROLS = ("skin_tone", "hair_colour")  # traits of simulated people that no voice depends on
UNITS = {"age": "years"}  # of traits


@dataclass(frozen=True)
class Description:
    """What a metric means.

    label: a few words. sentence: what it is. unit: "%" for shares, which are then shown in percent, "years", "dB",
    "pixels" or "". better: "up", "down", "control" (it should be at chance), or "" if that is not known.
    """

    label: str
    sentence: str
    unit: str = ""
    better: str = ""

    @property
    def scale(self) -> float:
        """The factor from the metric's value to the value that is shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def arrow(self) -> str:
        """A sign for the better direction."""
        return {"up": "↑", "down": "↓", "control": "control"}.get(self.better, "")

    def number(self, value: float | None) -> str:
        """A value as it is shown, without its unit; "undefined" for None."""
        if value is None:
            return "undefined"
        value *= self.scale
        large = self.unit in ("%", "years", "dB", "pixels") or abs(value) >= 10
        digits = 0 if abs(value) >= 1000 else 1 if large else 3
        return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")

    def shown(self, value: float | None) -> str:
        """A value with its unit."""
        return self.number(value) + (f" {self.unit}" if self.unit and value is not None else "")


SOURCES = {
    "embedding": "the query's embedding",
    "face": "the face drawn from the query",
    "photo": "the photo's embedding",
    "estimate": "the query's embedding by the weights' own estimate",
}
PLACES = {"embedding": "embedding", "face": "drawn face", "photo": "photo", "estimate": "weights' estimate"}
SOURCE = f"(?P<source>{'|'.join(SOURCES)})/(?P<trait>[^/]+)"
# (pattern of the name, label, sentence, unit, better); {name} stands for a group of the pattern.
DESCRIPTIONS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        r"retrieval/(?P<distance>\w+)/(?P<size>\w+)/R@1",
        "R@1 among {size} ({distance})",
        "Recall at 1: share of queries whose right photo is the nearest of {size} photos by {distance} distance.",
        "%",
        "up",
    ),
    (
        r"retrieval/(?P<distance>\w+)/(?P<size>\w+)/R@(?P<k>\d+)",
        "R@{k} among {size} ({distance})",
        "Recall at {k}: share of queries whose right photo is among the {k} nearest of {size} photos by {distance} "
        "distance.",
        "%",
        "up",
    ),
    (
        r"retrieval/(?P<distance>\w+)/(?P<size>\w+)/median_rank",
        "median rank among {size} ({distance})",
        "Median place of the right photo among {size} photos ordered by {distance} distance; 1 is the best.",
        "",
        "down",
    ),
    (
        r"distance/(?P<distance>\w+)",
        "{distance} distance",
        "Mean {distance} distance of the query's embedding to that of the person's photo. Chance: to other people's.",
        "",
        "down",
    ),
    (
        rf"{SOURCE}/accuracy",
        "{trait}: right ({place})",
        "Share of queries whose {trait} is read right from {source}.",
        "%",
        "up",
    ),
    (
        rf"{SOURCE}/error",
        "{trait}: error ({place})",
        "Mean absolute error of the {trait} that is read from {source}. Chance: the same readings against other "
        "people's {trait}.",
        "{unit}",
        "down",
    ),
    (
        rf"{SOURCE}/correlation",
        "{trait}: correlation ({place})",
        "Correlation of the true {trait} and the {trait} that is read from {source}; 1 is perfect.",
        "",
        "up",
    ),
    (
        r"craniofacial/mean",
        "mean of all ratios",
        "Mean of the correlations of all ratios; 1 is perfect.",
        "",
        "up",
    ),
    (r"craniofacial/(?P<ratio>\w+)", "{ratio}", "Correlation of: {formula}.", "", "up"),
    (
        r"consistency/equal_error_rate",
        "equal error rate",
        "Speaker verification by the cosine of two queries' embeddings: share of wrong decisions at the threshold that "
        "refuses as many right pairs as it accepts wrong ones.",
        "%",
        "down",
    ),
    (
        r"face_to_face/psnr_db",
        "PSNR",
        "Peak signal-to-noise ratio of the drawn and the true face, over pixels. Chance: against other people's faces.",
        "dB",
        "up",
    ),
    (
        r"face_to_face/ssim",
        "SSIM",
        "Structural similarity of the drawn and the true face, at most 1 (Wang et al. 2004).",
        "",
        "up",
    ),
    (
        r"face_to_face/landmark_error_px",
        "landmark error",
        "Mean distance of the drawn face's landmarks to the true ones, in pixels of a face of 224 x 224.",
        "pixels",
        "down",
    ),
    (
        r"face_to_face/identity_R@1",
        "R@1 of the drawn face",
        "Share of faces drawn from a photo whose embedding is nearest to that photo's, among all photos.",
        "%",
        "up",
    ),
)
RATIOS = {  # see evaluation/ratios.py
    "upper_lip_height": "nose to mouth, in distances between the eyes",
    "lateral_upper_lip_heights": "wings of the nose to the peaks of the upper lip, in distances between the eyes",
    "jaw_width": "width of the jaw, in distances between the eyes",
    "nose_height": "height of the nose, in distances between the eyes",
    "nose_width": "width of the nose, in distances between the eyes",
    "labio_oral_region": "area of the lips, in squared distances between the eyes",
    "mandibular_index": "mouth to chin, in widths of the jaw",
    "intercanthal_index": "distance of the inner corners of the eyes, in distances of the outer ones",
    "nasal_index": "width of the nose, in its heights",
    "vermilion_height_index": "height of the upper lip, in heights of the lower lip",
    "mouth_face_width_index": "width of the mouth, in widths of the face",
    "nose_area": "area of the nose, in squared distances between the eyes",
}
WORDS = {"l1": "L1", "l2": "L2", "all": "all"}


def describe(name: str, simulated: bool = False) -> Description:
    """The description of a metric. simulated: whether people are simulated; their CONTROLS should then be at chance."""
    for pattern, label, sentence, unit, better in DESCRIPTIONS:
        if found := re.fullmatch(pattern, name):
            words = {key: WORDS.get(value, value.replace("_", " ")) for key, value in found.groupdict().items()}
            trait = found.groupdict().get("trait")
            words["formula"] = RATIOS.get(found.groupdict().get("ratio") or "", "the ratio")
            words["unit"] = UNITS.get(trait or "", "")
            if "source" in words:
                words["source"], words["place"] = SOURCES[found["source"]], PLACES[found["source"]]
            control = simulated and trait in CONTROLS and not name.startswith("photo/")
            note = " A control: no voice of a simulated person depends on it, so it should be at chance."
            return Description(
                label.format(**words) + ", control" * control,
                sentence.format(**words) + note * control,
                unit.format(**words),
                "control" if control else better,
            )
    return Description(name.partition("/")[2] or name, "")


def group_of(name: str) -> tuple[str, str]:
    """Title and introduction of a metric's group."""
    first = name.partition("/")[0]
    return GROUPS.get(first, (first, ""))


def sorted_by_group(names: Iterable[str]) -> list[str]:
    """Names of metrics, each once, in the order of GROUPS; unknown groups come last."""
    names = list(dict.fromkeys(names))
    firsts = [*GROUPS, *(name.partition("/")[0] for name in names)]
    return sorted(names, key=lambda name: firsts.index(name.partition("/")[0]))
