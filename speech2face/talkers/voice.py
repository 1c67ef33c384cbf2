"""A person's voice: espeak-ng, through the package espeakng-loader, its vocal tract scaled by resampling."""

import atexit
import ctypes
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import fft

from speech2face.errors import UserError
from speech2face.talkers.traits import Person

RATE = 16_000
OVERSAMPLING = 4  # before linear interpolation: its images are then 40 dB down
FLUTTER_HZ = 40.0  # at which an unsteady voice changes its pitch
BREATH = "breath 0 {0} {0} {0} {0} {0}\nbreathw 150 150 200 200 400 400"
SYNCHRONOUS, WORDS_A_MINUTE, UTF8 = 2, 1, 1  # of espeak-ng's speak_lib.h
_LOCK = threading.Lock()  # the library has one state for the whole process
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """espeak-ng in this process, with a voice of our own beside its languages.

    It reads a voice as a file among its data, so its data is linked from a folder where we can write one.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise UserError("the talkers speak by espeak-ng: pip install 'speech2face[talkers]'") from None
        self.home = Path(tempfile.mkdtemp(prefix="speech2face-"))
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        data = self.home / "espeak-ng-data"
        voices = data / "voices" / "!v"
        voices.mkdir(parents=True)
        for file in Path(espeakng_loader.get_data_path()).iterdir():
            if file.name != "voices":
                (data / file.name).symlink_to(file)
        self.voice = voices / "talker"
        self.library = espeakng_loader.get_library_path()
        self.close = ctypes.CDLL(None).dlclose
        self.close.argtypes = [ctypes.c_void_p]

    def __call__(self, text: str, accent: str, voice: str, words_a_minute: int) -> tuple[np.ndarray, int]:
        """(samples,) float32 in [-1, 1], and their rate in Hz: a text read by a voice in espeak-ng's voice file format.

        The library is loaded afresh each time (half a millisecond): it keeps the phases of its noises from one text to
        the next, and the same person would not say the same thing twice in the same way.
        """
        samples: list[np.ndarray] = []

        @_CALLBACK
        def receive(block: Any, count: int, _: Any) -> int:
            if block and count:
                samples.append(np.ctypeslib.as_array(block, (count,)).astype(np.float32))
            return 0

        self.voice.write_text(f"language variant\nname talker\n{voice}\n")
        library = ctypes.CDLL(self.library)
        try:
            rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(self.home).encode(), 0)
            library.espeak_SetSynthCallback(receive)
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it would take the time of day
            status = library.espeak_SetVoiceByName(f"{accent}+talker".encode())
            if status:
                raise ValueError(f"espeak-ng has no voice {accent} (status {status})")
            library.espeak_SetParameter(WORDS_A_MINUTE, words_a_minute, 0)
            encoded = text.encode()
            library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8, None, None)
            library.espeak_Terminate()
        finally:
            self.close(library._handle)
        return np.concatenate(samples) / 32768, rate


espeak = cache(Espeak)


def speak(person: Person, text: str, random: np.random.Generator) -> np.ndarray:
    """(samples,) float32 at 16 kHz: the person says a text, in a room without echo.

    Resampling by the person's formant scale moves every resonance as a shorter or longer vocal tract does (Fant 1960),
    and pitch and tempo with them: the synthesiser is asked for so much less of both.
    random: of the small unsteadiness of pitch.
    """
    traits = person.traits
    scale = float(traits["voice_formants"])
    low, high = pitch_range(float(traits["voice_pitch_hz"]) / scale, float(traits["voice_range"]))
    breath = BREATH.format(round(30 * float(traits["voice_breathiness"])))
    voice = f"pitch {low} {high}\nflutter 0\nroughness 0\n{breath}\n{timbre(person)}"
    with _LOCK:
        source, rate = espeak()(text, str(traits["accent"]), voice, round(float(traits["voice_rate"]) / scale))
    return resample_unsteadily(source, rate, scale, float(traits["voice_unsteadiness"]), random)


def pitch_range(hertz: float, semitones: float) -> tuple[int, int]:
    """espeak-ng's two pitches for a median and a deviation, as it was measured to use them."""
    span = 2 ** (4.2 * semitones / 12) - 1
    low = hertz / (1 + 0.66 * span)
    return round(low), round(low * (1 + span))


def timbre(person: Person) -> str:
    """What else makes a voice its own, in espeak-ng's voice file format: each formant's place, strength and width."""
    random = person.random("timbre")
    place = 100 * np.exp(0.01 * random.normal(size=5))
    strength, width = 100 * np.exp(0.1 * random.normal(size=5)), 100 * np.exp(0.1 * random.normal(size=5))
    return "\n".join(f"formant {i} {place[i - 1]:.0f} {strength[i - 1]:.0f} {width[i - 1]:.0f}" for i in range(1, 6))


def resample_unsteadily(
    source: np.ndarray, rate: int, scale: float, unsteadiness: float, random: np.random.Generator
) -> np.ndarray:
    """(samples,) at `rate` Hz, played `scale` times as fast, with a slight slow random variation -> 16 kHz."""
    size = fft.next_fast_len(len(source) + rate // 20, real=True)
    spectrum = fft.rfft(source, size)
    hertz = np.arange(len(spectrum), dtype=np.float32) * (scale * rate / size)
    spectrum *= np.clip((7900 - hertz) / 500, 0, 1)
    fine = fft.irfft(spectrum, OVERSAMPLING * size)[: OVERSAMPLING * len(source)] * OVERSAMPLING
    seconds = len(source) / rate / scale
    count = int(seconds * RATE)
    points = int(seconds * FLUTTER_HZ) + 2
    deviation = (0.003 + 0.03 * unsteadiness) * random.normal(size=points)
    speed = 1 + np.interp(np.arange(count) / RATE * FLUTTER_HZ, np.arange(points), deviation)
    positions = np.cumsum(speed) * (scale * rate * OVERSAMPLING / RATE)
    return np.interp(positions, np.arange(len(fine)), fine).astype(np.float32)
