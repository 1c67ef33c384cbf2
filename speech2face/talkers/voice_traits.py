"""The parameters of a simulated voice, given sex, age and size."""

import math

import numpy as np
from scipy.special import expit

# Mean speaking fundamental frequency in Hz by age, interpolated. Men: Hollien and Shipp, "Speaking fundamental
# frequency and chronologic age in males" (1972). Women: Stoicheff, "Speaking fundamental frequency characteristics of
# nonsmoking female adults" (1981). The oldest: Nishio and Niimi (2008).
PITCH_AGES = (20, 30, 40, 50, 60, 70, 80)
PITCH_HZ = {"male": (119, 112, 107, 112, 113, 126, 138), "female": (224, 213, 211, 199, 197, 192, 185)}
# Standard deviation in semitones within one sex and age. Traunmueller and Eriksson (1995) report 2 to 3.
PITCH_SCATTER = 2.2
# Formant frequencies relative to the adult male mean: 1.16 for women (Hillenbrand et al. 1995), a fall of 2 % from 20
# to 80 years (Xue and Hao 2003), and a standard deviation of 4.5 % within one sex. Size explains 40 % of the variance:
# Fitch and Giedd (1999) relate vocal tract length to height, Pisanski et al. (2014) formants to height.
FORMANTS = {"male": 1.0, "female": 1.16}
FORMANT_SCATTER, FORMANT_SIZE = 0.045, 0.63
ACCENTS = {  # espeak-ng's voices by language
    "en": ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    **{"de": ("de",), "fr": ("fr", "fr-be", "fr-ch"), "es": ("es", "es-419"), "it": ("it",)},
    **{"pt": ("pt", "pt-br"), "nl": ("nl",), "sv": ("sv",)},
}


def draw_voice(random: np.random.Generator, sex: str, age: float, size: float) -> dict[str, float | str]:
    """Draw the columns traits.VOICE of people.csv.

    sex: male or female. age: years. size: standard deviations within the sex.
    language, accent: a key of ACCENTS and one of its values. voice_pitch_hz: median fundamental frequency, 60 to 380.
    voice_range: standard deviation of the pitch, 1 to 4 semitones. voice_formants: formant frequencies relative to the
    adult male mean. voice_rate: 100 to 240 words per minute. voice_breathiness, voice_unsteadiness: [0, 1].
    """
    language = str(random.choice(list(ACCENTS)))
    accent = str(random.choice(ACCENTS[language]))
    height = 0.25 * -size + math.sqrt(1 - 0.25**2) * random.normal()  # the voices of larger people are slightly lower
    pitch = float(np.interp(age, PITCH_AGES, PITCH_HZ[sex])) * 2 ** (PITCH_SCATTER * height / 12)
    tract = FORMANT_SIZE * size + math.sqrt(1 - FORMANT_SIZE**2) * random.normal()
    formants = FORMANTS[sex] * (1 - 0.02 * (age - 50) / 60) * math.exp(-FORMANT_SCATTER * tract)
    # With age, speech gets slower, by a sixth from 20 to 70 (Verhoeven, De Pauw and Kloots 2004), less steady and
    # noisier (Linville, Vocal Aging, 2001; Ferrand 2002). Women's voices are breathier (Klatt and Klatt 1990).
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
        "voice_breathiness": round(float(expit(breathiness)), 4),
        "voice_unsteadiness": round(float(expit(unsteadiness)), 4),
    }
