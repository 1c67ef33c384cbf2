"""The parameters of a simulated face, given sex, age and size."""

import math

import numpy as np
from scipy.special import expit

HAIR_STYLES = (
    *("bald", "buzz cut", "side part", "quiff", "receding", "tight curls"),
    *("bob", "long straight", "long wavy", "bun", "fringe", "big curls"),
)
BEARDS = ("none", "moustache", "goatee", "full beard", "long beard")
GLASSES = ("none", "round", "rectangular", "browline")
EYE_COLOURS = ("dark brown", "brown", "hazel", "green", "blue", "grey")
CLOTHES = ("crew neck", "collar shirt", "v-neck", "jacket")
HAIR_COLOURS = {  # melanin and redness in [0, 1] before greying
    "black": (0.97, 0.05),
    "dark brown": (0.75, 0.15),
    "brown": (0.48, 0.25),
    "red": (0.32, 0.95),
    "blond": (0.08, 0.15),
}
# By proportion: the male mean minus the female mean in standard deviations within a sex, and the loading of size.
# Widths and heights: Farkas, Anthropometry of the Head and Face (1994), North American adults. Brow ridge, brows, lips
# and eyes: Samal, Subramani and Marx, "Analysis of sexual dimorphism in human face" (2007). Size is relative to the
# mean of the sex, so that it carries no information on sex.
GEOMETRY = {
    **{"face_width": (0.5, 0.55), "face_length": (0.9, 0.60), "forehead": (-0.3, 0.10), "jaw_width": (1.6, 0.55)},
    **{"chin_length": (1.0, 0.45), "chin_width": (1.5, 0.35), "cheekbones": (-0.4, 0.10), "cheek_fat": (-0.4, 0.20)},
    **{"brow_ridge": (2.2, 0.35), "brow_height": (-1.4, -0.15), "brow_thickness": (1.8, 0.10)},
    **{"brow_arch": (-1.2, 0.0), "eye_size": (-1.0, -0.45), "eye_spacing": (0.1, 0.10), "eye_tilt": (-0.4, 0.0)},
    **{"lid_height": (-0.5, 0.0), "nose_width": (1.0, 0.45), "nose_length": (0.9, 0.50), "nose_bridge": (0.8, 0.20)},
    **{"mouth_width": (0.8, 0.40), "upper_lip": (-0.7, 0.0), "lower_lip": (-0.6, 0.0), "ear_size": (0.6, 0.35)},
    "neck_width": (2.2, 0.45),
}
# Change per decade of age, in the same unit. Ears and nose grow (Heathcote, BMJ 1995; Niinimaa and Karttunen 2006),
# lips get thinner (Iblher et al. 2008), brows and lids sink (Matros et al. 2009).
AGEING = {
    **{"ear_size": 0.25, "nose_length": 0.15, "nose_width": 0.12, "upper_lip": -0.22, "lower_lip": -0.16},
    **{"brow_height": -0.10, "lid_height": -0.20, "eye_size": -0.10, "chin_length": 0.06, "brow_thickness": -0.05},
}


def draw_face(
    random: np.random.Generator, sex: str, age: float, size: float
) -> tuple[dict[str, float], dict[str, float | str]]:
    """Draw the parameters of a face; returns those of portrait.render, and the columns of people.csv.

    sex: male or female. age: years. size: standard deviations within the sex.
    """
    male = sex == "male"
    decades = (age - 45) / 10
    face: dict[str, float] = {}
    for name, (dimorphism, loading) in GEOMETRY.items():
        scatter = math.sqrt(1 - loading**2) * random.normal()
        value = (dimorphism / 2 if male else -dimorphism / 2) + loading * size + scatter
        face[name] = value / math.hypot(1, dimorphism / 2) + AGEING.get(name, 0.0) * decades
    face["cheek_fat"] += 0.5 - 0.12 * abs(decades)  # largest at 45
    skin_tone = float(random.beta(1.1, 1.3))
    colours = list(HAIR_COLOURS)
    hair_colour = colours[random.choice(len(colours), p=(0.30, 0.25, 0.22, 0.08, 0.15))]
    melanin, red = HAIR_COLOURS[hair_colour]
    face["skin_tone"], face["skin_warmth"] = skin_tone, random.normal()
    face["hair_melanin"] = float(np.clip(melanin + 0.05 * random.normal(), 0, 1))
    face["hair_red"] = float(np.clip(red + 0.08 * random.normal(), 0, 1))
    # The age at which half of the hair is grey has a mean of 60 and a standard deviation of 8 (after Panhard et al.
    # 2012).
    face["grey"] = float(expit((age - 60 + 8 * random.normal()) / 6))
    # Wrinkles deepen almost linearly from about 30 years on (Tsukahara et al. 2004).
    face["wrinkles"] = float(np.clip((age + 5 * random.normal() - 28) / 48, 0, 1))
    face["sag"] = float(np.clip((age + 5 * random.normal() - 38) / 42, 0, 1))
    face["freckles"] = float(np.clip(random.beta(0.5, 3.0) * (1.2 - skin_tone), 0, 1))
    face["hair_volume"] = random.normal() - 0.15 * decades
    face["hair_style"] = draw_hair_style(random, male, age)
    beard = int(random.choice(len(BEARDS), p=(0.62, 0.08, 0.10, 0.15, 0.05))) if male else 0
    face["beard"], face["beard_density"] = beard, float(np.clip(0.8 + 0.15 * random.normal(), 0.4, 1))
    face["stubble"] = float(np.clip(0.45 + 0.25 * random.normal(), 0.05, 1)) if male else 0.0
    made_up = not male and random.random() < 0.55
    face["makeup"] = float(random.uniform(0.3, 1)) if made_up else 0.0
    face["lip_colour"] = float(random.uniform(0.2, 1)) if made_up else 0.0
    wears_glasses = random.random() < 0.15 + 0.35 * expit((age - 50) / 6)
    face["glasses"] = int(random.integers(1, len(GLASSES))) if wears_glasses else 0
    face["eye_colour"] = int(random.choice(len(EYE_COLOURS), p=(0.28, 0.27, 0.12, 0.10, 0.16, 0.07)))
    face["clothing"] = int(random.integers(len(CLOTHES)))
    face["clothing_hue"], face["clothing_value"] = float(random.random()), float(random.uniform(0.1, 0.9))
    columns = {
        "skin_tone": round(skin_tone, 4),
        "hair_colour": hair_colour,
        "hair_style": HAIR_STYLES[int(face["hair_style"])],
        "eye_colour": EYE_COLOURS[int(face["eye_colour"])],
        "beard": BEARDS[beard],
        "glasses": GLASSES[int(face["glasses"])],
    }
    return face, columns


def draw_hair_style(random: np.random.Generator, male: bool, age: float) -> int:
    """Draw an index into HAIR_STYLES, given sex and age.

    Nearly half of men have lost hair at 50 (Hamilton 1951). Long hair gets rarer with age.
    """
    if not male:
        old = float(expit((age - 55) / 8))
        shares = {2: 0.05, 3: 0.06 + 0.10 * old, 5: 0.05, 6: 0.18 + 0.25 * old, 7: 0.20, 8: 0.20, 9: 0.16, 10: 0.12}
        shares[11] = 0.09
        for style in (7, 8, 10):
            shares[style] *= 1 - 0.6 * old
    elif random.random() < 0.8 * expit((age - 48) / 11):
        shares = {0: 0.35, 1: 0.2, 4: 0.45}
    else:
        shares = {0: 0.04, 1: 0.14, 2: 0.32, 3: 0.30, 5: 0.14, 8: 0.03, 9: 0.03}
    total = sum(shares.values())
    return int(random.choice(list(shares), p=[share / total for share in shares.values()]))
