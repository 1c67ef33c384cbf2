"""The voice of a simulated person: espeak-ng from the package espeakng-loader; resampling scales its vocal tract."""

import atexit
import ctypes
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np
from scipy import fft

from speech2face.errors import UserError, extra
from speech2face.preprocessing.channel import RATE
from speech2face.talkers.traits import Person

OVERSAMPLING = 4  # before linear interpolation; reduces its aliases to -40 dB
FLUTTER_HZ = 40.0  # random changes of pitch per second
BREATH = "breath 0 {0} {0} {0} {0} {0}\nbreathw 150 150 200 200 400 400"
SYNCHRONOUS, WORDS_PER_MINUTE, UTF8 = 2, 1, 1  # constants of espeak-ng's speak_lib.h
_LOCK = threading.Lock()  # the library has one state per process
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library espeak-ng, with an additional voice that can be redefined.

    espeak-ng reads a voice from a file in its data folder. A temporary folder with links to the data holds that file.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise UserError(f"simulated voices need espeak-ng: {extra('talkers')}") from None
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

    def __call__(self, text: str, accent: str, voice: str, words_per_minute: int) -> tuple[np.ndarray, int]:
        """Read a text aloud; returns (samples,) float32 in [-1, 1] and the sample rate in Hz.

        accent: a voice of espeak-ng. voice: changes to it, in the format of espeak-ng's voice files. Raises ValueError
        if the accent is unknown. The library is loaded again for each text, which takes 0.5 ms, because it keeps the
        state of its noise generators. The result would otherwise depend on the texts before.
        """
        samples: list[np.ndarray] = []

        @_CALLBACK
        def receive(block: "ctypes._Pointer[ctypes.c_short]", count: int, _: int | None) -> int:
            if block and count:
                samples.append(np.ctypeslib.as_array(block, (count,)).astype(np.float32))
            return 0

        self.voice.write_text(f"language variant\nname talker\n{voice}\n")
        library = ctypes.CDLL(self.library)
        try:
            rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(self.home).encode(), 0)
            library.espeak_SetSynthCallback(receive)
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # instead of the time of day
            status = library.espeak_SetVoiceByName(f"{accent}+talker".encode())
            if status:
                raise ValueError(f"espeak-ng has no voice {accent} (status {status})")
            library.espeak_SetParameter(WORDS_PER_MINUTE, words_per_minute, 0)
            encoded = text.encode()
            library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8, None, None)
            library.espeak_Terminate()
        finally:
            self.close(library._handle)
        return np.concatenate(samples) / 32768, rate


espeak = cache(Espeak)


def speak(person: Person, text: str, random: np.random.Generator) -> np.ndarray:
    """A person says a text, without room and noise; returns (samples,) float32 at 16 kHz.

    Resampling by the person's formant scale moves every resonance in the way that the length of the vocal tract does
    (Fant 1960). It scales pitch and tempo too, so the synthesiser gets values divided by the same scale.
    random: generator of the variation of pitch.
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
    """The low and the high pitch in Hz of a voice of espeak-ng.

    hertz, semitones: wanted median and standard deviation. The constants were measured in the output of espeak-ng.
    """
    span = 2 ** (4.2 * semitones / 12) - 1
    low = hertz / (1 + 0.66 * span)
    return round(low), round(low * (1 + span))


def timbre(person: Person) -> str:
    """Frequency, strength and width of formants 1 to 5 in percent, in the format of espeak-ng's voice files."""
    random = person.random("timbre")
    frequency = 100 * np.exp(0.01 * random.normal(size=5))
    strength, width = 100 * np.exp(0.1 * random.normal(size=5)), 100 * np.exp(0.1 * random.normal(size=5))
    return "\n".join(
        f"formant {i} {frequency[i - 1]:.0f} {strength[i - 1]:.0f} {width[i - 1]:.0f}" for i in range(1, 6)
    )


def resample_unsteadily(
    source: np.ndarray, rate: int, scale: float, unsteadiness: float, random: np.random.Generator
) -> np.ndarray:
    """Play (samples,) at `rate` Hz `scale` times as fast, at a randomly varying speed; returns (samples,) at 16 kHz.

    unsteadiness: in [0, 1]; the standard deviation of the speed is 0.003 + 0.03 times this.
    """
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
