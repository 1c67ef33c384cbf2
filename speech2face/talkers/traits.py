"""Who the simulated people are: the traits of a person, what follows from them, and what is drawn for one recording.

Shared by voice and face: sex, age, size. Everything else belongs to one of the two, and is drawn from a random stream
of its own. Skin tone and hair colour are drawn with no regard to anything that reaches the voice, language included:
whoever trains on these people cannot learn that origin can be heard, and an evaluation that finds it heard has found a
fault.
"""

import math
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}
SHARED = ("sex", "age", "size")
VOICE = (  # the voice's true parameters
    *("language", "accent", "voice_pitch_hz", "voice_range", "voice_formants", "voice_rate"),
    *("voice_breathiness", "voice_unsteadiness"),
)
HAIR_STYLES = (
    *("bald", "buzz cut", "side part", "quiff", "receding", "tight curls"),
    *("bob", "long straight", "long wavy", "bun", "fringe", "big curls"),
)
BEARDS = ("none", "moustache", "goatee", "full beard", "long beard")
GLASSES = ("none", "round", "rectangular", "browline")
EYE_COLOURS = ("dark brown", "brown", "hazel", "green", "blue", "grey")
CLOTHES = ("crew neck", "collar shirt", "v-neck", "jacket")
HAIR_COLOURS = {  # melanin and redness of hair before it greys
    "black": (0.97, 0.05),
    "dark brown": (0.75, 0.15),
    "brown": (0.48, 0.25),
    "red": (0.32, 0.95),
    "blond": (0.08, 0.15),
}
# Male less female mean in standard deviations within a sex, then loading of size. Facial widths and heights: Farkas,
# Anthropometry of the Head and Face (1994), North American adults; brow ridge, brows, lips, eyes: Samal, Subramani and
# Marx, "Analysis of sexual dimorphism in human face" (2007). Size is within a sex, so that it is not sex once more.
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
# lips thin (Iblher et al. 2008), brows and lids sink (Matros et al. 2009), faces fill, then hollow.
AGEING = {
    **{"ear_size": 0.25, "nose_length": 0.15, "nose_width": 0.12, "upper_lip": -0.22, "lower_lip": -0.16},
    **{"brow_height": -0.10, "lid_height": -0.20, "eye_size": -0.10, "chin_length": 0.06, "brow_thickness": -0.05},
}
# Mean speaking fundamental frequency in Hz by age, smoothed after, for men, Hollien and Shipp, "Speaking fundamental
# frequency and chronologic age in males" (1972), for women Stoicheff, "Speaking fundamental frequency characteristics
# of nonsmoking female adults" (1981), and Nishio and Niimi (2008) for the oldest.
PITCH_AGES = (20, 30, 40, 50, 60, 70, 80)
PITCH_HZ = {"male": (119, 112, 107, 112, 113, 126, 138), "female": (224, 213, 211, 199, 197, 192, 185)}
PITCH_SCATTER = 2.2  # semitones between people of one sex and age (Traunmueller and Eriksson 1995: 2 to 3)
# Formants against the adult male mean: 1.16 in women (Hillenbrand et al. 1995), falling by 2 % from 20 to 80 years (Xue
# and Hao 2003), with 4.5 % between people of one sex, of which size explains 40 % (vocal tract length and height: Fitch
# and Giedd 1999; what formants tell of it: Pisanski et al. 2014).
FORMANTS = {"male": 1.0, "female": 1.16}
FORMANT_SCATTER, FORMANT_SIZE = 0.045, 0.63
ACCENTS = {  # voices of espeak-ng by language
    "en": ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    **{"de": ("de",), "fr": ("fr", "fr-be", "fr-ch"), "es": ("es", "es-419"), "it": ("it",)},
    **{"pt": ("pt", "pt-br"), "nl": ("nl",), "sv": ("sv",)},
}
CODECS = ("none", "none", "none", "mp3", "opus", "mulaw")


@dataclass(frozen=True)
class Person:
    """A simulated person.

    name: the folder's. traits: what people.csv says, the voice's true parameters (voice_*) included.
    face: what portrait.render takes, scalars; but for `noise`, made when it is needed.
    """

    seed: int
    index: int
    name: str
    split: str
    traits: dict[str, float | str]
    face: dict[str, float]

    def random(self, *stream: object) -> np.random.Generator:
        """This person's random numbers of one purpose: the same wherever and whenever they are drawn."""
        words = [self.seed, self.index, *(zlib.crc32(str(word).encode()) for word in stream)]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def draw_person(seed: int, index: int) -> Person:
    """Person `index` of the population `seed`, the same alone or among others."""
    blank = Person(seed, index, f"talker-{seed}-{index:06d}", "", {}, {})
    random = blank.random("shared")
    split = str(random.choice(list(SPLITS), p=list(SPLITS.values())))
    sex = "male" if random.random() < 0.5 else "female"
    age = float(18 + 62 * random.random())
    size = float(np.clip(random.normal(), -3, 3))
    face, seen = draw_face(blank.random("face"), sex, age, size)
    heard = draw_voice(blank.random("voice"), sex, age, size)
    traits = {"sex": sex, "age": round(age, 2), "size": round(size, 4)} | seen | heard
    return Person(seed, index, blank.name, split, traits, face)


def draw_face(
    random: np.random.Generator, sex: str, age: float, size: float
) -> tuple[dict[str, float], dict[str, float | str]]:
    """A face for the shared traits: the renderer's parameters, and those that people.csv names."""
    male = sex == "male"
    decades = (age - 45) / 10
    face: dict[str, float] = {}
    for name, (dimorphism, loading) in GEOMETRY.items():
        scatter = math.sqrt(1 - loading**2) * random.normal()
        value = (dimorphism / 2 if male else -dimorphism / 2) + loading * size + scatter
        face[name] = value / math.hypot(1, dimorphism / 2) + AGEING.get(name, 0.0) * decades
    face["cheek_fat"] += 0.5 - 0.12 * abs(decades)  # fullest in middle age
    skin_tone = float(random.beta(1.1, 1.3))
    colours = list(HAIR_COLOURS)
    hair_colour = colours[random.choice(len(colours), p=(0.30, 0.25, 0.22, 0.08, 0.15))]
    melanin, red = HAIR_COLOURS[hair_colour]
    face["skin_tone"], face["skin_warmth"] = skin_tone, random.normal()
    face["hair_melanin"] = float(np.clip(melanin + 0.05 * random.normal(), 0, 1))
    face["hair_red"] = float(np.clip(red + 0.08 * random.normal(), 0, 1))
    # Half of people have half of their hair grey at 60, give or take eight years (after Panhard et al. 2012).
    face["grey"] = _sigmoid((age - 60 + 8 * random.normal()) / 6)
    # Wrinkles: from 30 on, nearly even with age, eight years between people (Tsukahara et al. 2004).
    face["wrinkles"] = float(np.clip((age + 5 * random.normal() - 28) / 48, 0, 1))
    face["sag"] = float(np.clip((age + 5 * random.normal() - 38) / 42, 0, 1))
    face["freckles"] = float(np.clip(random.beta(0.5, 3.0) * (1.2 - skin_tone), 0, 1))
    face["hair_volume"] = random.normal() - 0.15 * decades
    face["hair_style"] = _hair_style(random, male, age)
    beard = int(random.choice(len(BEARDS), p=(0.62, 0.08, 0.10, 0.15, 0.05))) if male else 0
    face["beard"], face["beard_density"] = beard, float(np.clip(0.8 + 0.15 * random.normal(), 0.4, 1))
    face["stubble"] = float(np.clip(0.45 + 0.25 * random.normal(), 0.05, 1)) if male else 0.0
    made_up = not male and random.random() < 0.55
    face["makeup"] = float(random.uniform(0.3, 1)) if made_up else 0.0
    face["lip_colour"] = float(random.uniform(0.2, 1)) if made_up else 0.0
    wears = random.random() < 0.15 + 0.35 * _sigmoid((age - 50) / 6)
    face["glasses"] = int(random.integers(1, len(GLASSES))) if wears else 0
    face["eye_colour"] = int(random.choice(len(EYE_COLOURS), p=(0.28, 0.27, 0.12, 0.10, 0.16, 0.07)))
    face["clothing"] = int(random.integers(len(CLOTHES)))
    face["clothing_hue"], face["clothing_value"] = float(random.random()), float(random.uniform(0.1, 0.9))
    named = {
        "skin_tone": round(skin_tone, 4),
        "hair_colour": hair_colour,
        "hair_style": HAIR_STYLES[int(face["hair_style"])],
        "eye_colour": EYE_COLOURS[int(face["eye_colour"])],
        "beard": BEARDS[beard],
        "glasses": GLASSES[int(face["glasses"])],
    }
    return face, named


def _hair_style(random: np.random.Generator, male: bool, age: float) -> int:
    """Hair by sex and age: nearly half of men have lost hair at 50 (Hamilton 1951), long hair is rarer in the old."""
    if not male:
        old = _sigmoid((age - 55) / 8)
        shares = {2: 0.05, 3: 0.06 + 0.10 * old, 5: 0.05, 6: 0.18 + 0.25 * old, 7: 0.20, 8: 0.20, 9: 0.16, 10: 0.12}
        shares[11] = 0.09
        for style in (7, 8, 10):
            shares[style] *= 1 - 0.6 * old
    elif random.random() < 0.8 * _sigmoid((age - 48) / 11):
        shares = {0: 0.35, 1: 0.2, 4: 0.45}
    else:
        shares = {0: 0.04, 1: 0.14, 2: 0.32, 3: 0.30, 5: 0.14, 8: 0.03, 9: 0.03}
    total = sum(shares.values())
    return int(random.choice(list(shares), p=[share / total for share in shares.values()]))


def draw_voice(random: np.random.Generator, sex: str, age: float, size: float) -> dict[str, float | str]:
    """The voice's true parameters for the shared traits, as people.csv has them.

    voice_pitch_hz: median fundamental frequency. voice_range: its deviation in semitones. voice_formants: formant
    frequencies against the adult male mean. voice_rate: words a minute. voice_breathiness, voice_unsteadiness: [0, 1].
    """
    language = str(random.choice(list(ACCENTS)))
    accent = str(random.choice(ACCENTS[language]))
    height = 0.25 * -size + math.sqrt(1 - 0.25**2) * random.normal()  # larger people speak a little lower
    pitch = float(np.interp(age, PITCH_AGES, PITCH_HZ[sex])) * 2 ** (PITCH_SCATTER * height / 12)
    tract = FORMANT_SIZE * size + math.sqrt(1 - FORMANT_SIZE**2) * random.normal()
    formants = FORMANTS[sex] * (1 - 0.02 * (age - 50) / 60) * math.exp(-FORMANT_SCATTER * tract)
    # The old speak more slowly, by a sixth from 20 to 70 (Verhoeven, De Pauw and Kloots 2004), less steadily and with
    # more noise in the voice (Linville, Vocal Aging, 2001; Ferrand 2002); women more breathily (Klatt and Klatt 1990).
    rate = 170 * (1 - 0.17 * (age - 45) / 50) * math.exp(0.09 * random.normal())
    breathiness = -0.9 + 0.6 * (sex == "female") + 0.45 * (age - 45) / 18 + 0.9 * random.normal()
    unsteadiness = -1.0 + 0.9 * (age - 45) / 18 + 0.9 * random.normal()
    return {
        "language": language,
        "accent": accent,
        "voice_pitch_hz": round(float(np.clip(pitch, 60, 380)), 2),
        "voice_range": round(float(np.clip(2.3 + 0.5 * random.normal(), 1.0, 4.0)), 3),
        "voice_formants": round(formants, 4),
        "voice_rate": round(float(np.clip(rate, 100, 240)), 1),
        "voice_breathiness": round(_sigmoid(breathiness), 4),
        "voice_unsteadiness": round(_sigmoid(unsteadiness), 4),
    }


def draw_scene(person: Person, picture: int) -> dict[str, float]:
    """Pose, expression and light of one of a person's pictures: what portrait.render takes as `scene`."""
    random = person.random("scene", picture)
    normal, uniform = random.normal, random.uniform
    return {
        **{"yaw": float(np.clip(4 * normal(), -12, 12)), "pitch": float(np.clip(2.5 * normal(), -8, 8))},
        **{"roll": float(np.clip(1.5 * normal(), -5, 5)), "zoom": float(np.clip(1 + 0.015 * normal(), 0.94, 1.06))},
        **{"shift_x": float(np.clip(1.5 * normal(), -5, 5)), "shift_y": float(np.clip(1.5 * normal(), -5, 5))},
        **{"smile": float(np.clip(0.3 + 0.3 * normal(), -0.3, 1)), "brow_raise": float(np.clip(0.3 * normal(), -1, 1))},
        "mouth_open": float(np.clip(0.3 * normal() - 0.15, 0, 0.5)),
        "blink": float(np.clip(0.12 * normal(), 0, 0.4)),
        **{"gaze_x": float(np.clip(0.2 * normal(), -1, 1)), "gaze_y": float(np.clip(0.12 * normal(), -1, 1))},
        **{"light_azimuth": uniform(-50, 50), "light_elevation": uniform(10, 50), "light_warmth": normal()},
        **{"light_strength": uniform(0.85, 1.15), "ambient": uniform(0.4, 0.6)},
        **{"background_hue": uniform(0, 1), "background_value": uniform(0.15, 0.9)},
    }


@dataclass(frozen=True)
class Clip:
    """What is said in one of a person's recordings, and how it was recorded.

    snr_db: speech against noise. noise_tilt: its slope, in 3 dB an octave down. reverberation: s, until 60 dB down; 0:
    none. direct_db: direct sound against the room's. band_hz: what passes. level_dbfs: RMS.
    """

    text: str
    snr_db: float
    noise_tilt: float
    reverberation: float
    direct_db: float
    band_hz: tuple[float, float]
    codec: str
    level_dbfs: float


def draw_clip(person: Person, clip: int, seconds: float) -> Clip:
    """One of a person's recordings: about `seconds` of sentences, in conditions that tell nothing of the person."""
    random = person.random("clip", clip)
    words = seconds * float(person.traits["voice_rate"]) / 60
    slots, text = sentences()[str(person.traits["language"])], ""
    while len(text.split()) < words:
        text += " ".join(str(random.choice(slot)) for slot in slots) + ". "
    telephone = random.random() < 0.12
    highest = 3400.0 if telephone else float(random.choice((8000, 8000, 7000, 5500)))
    return Clip(
        text=text.strip(),
        snr_db=float(random.uniform(12, 50)),
        noise_tilt=float(random.uniform(0, 2)),
        reverberation=float(random.uniform(0.1, 0.7)) if random.random() < 0.7 else 0.0,
        direct_db=float(random.uniform(0, 15)),
        band_hz=(300.0 if telephone else float(random.uniform(20, 120)), highest),
        codec=str(random.choice(CODECS)),
        level_dbfs=float(random.uniform(-35, -15)),
    )


@cache
def sentences() -> dict[str, list[list[str]]]:
    """By language, the parts of sentences: one of each in turn is a sentence."""
    import yaml

    return yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text(encoding="utf-8"))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
