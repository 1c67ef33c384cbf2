"""Speed of making simulated people, and the information in them: `python benchmarks/talkers.py [FACES VOICES]`.

FACES, VOICES: people whose faces are drawn (2400) and whose voices are measured (300). Prints the table of
docs/talkers.md. The default takes about six minutes on 2 cores.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT), str(ROOT / "tests")]
CORES = 2
FACES, VOICES = 2400, 300  # people
TESTED = 1 / 6  # share of the faces that the probes are tested on
CLIPS = 3  # recordings of each voice
CLEAN_VOICES = 200  # people whose requested and measured parameters are compared, at most


def draw_faces(start: int, count: int) -> np.ndarray:
    """(count, 56 * 56 * 3) pixels of people from `start` on, one picture of each."""
    from speech2face.talkers.population import portraits
    from speech2face.talkers.traits import draw_person

    people = [draw_person(7, index) for index in range(start, start + count)]
    images = portraits(people, [0] * count)[0].float() / 255
    return torch.nn.functional.adaptive_avg_pool2d(images, 56).flatten(1).numpy()


def make_recordings(start: int, count: int) -> float:
    """Seconds of finished recordings, one of each person."""
    from speech2face.preprocessing.channel import RATE, encode
    from speech2face.talkers.recording import record
    from speech2face.talkers.traits import draw_person

    waveforms = [record(draw_person(7, index), 0, 5.0) for index in range(start, start + count)]
    return sum(len(waveform) * bool(encode(waveform, "flac", "flac")) for waveform in waveforms) / RATE


def measure_voice(index: int) -> list[float]:
    """Features of a person's voice, the mean over CLIPS recordings."""
    from test_talkers import voice_features

    from speech2face.talkers.traits import draw_person

    person = draw_person(8, index)
    return np.mean([voice_features(person, clip) for clip in range(CLIPS)], axis=0).tolist()


def timed(pool: Pool, function: Callable[[int, int], Any], count: int, size: int = 32) -> tuple[list, float]:
    """Results of chunks and seconds, after a first chunk on each process, which imports what is needed."""
    pool.starmap(function, [(10**6, size)] * CORES, 1)
    began = time.perf_counter()
    jobs = [pool.apply_async(function, (start, min(size, count - start))) for start in range(0, count, size)]
    return [job.get() for job in tqdm(jobs, function.__name__)], time.perf_counter() - began


def main(face_count: int = FACES, voice_count: int = VOICES) -> None:
    from test_talkers import aligned_scales, clean, envelope, measured_pitch

    from speech2face.talkers.traits import draw_person

    with multiprocessing.get_context("spawn").Pool(CORES, torch.set_num_threads, (1,)) as pool:
        faces, face_seconds = timed(pool, draw_faces, face_count)
        speech, speech_seconds = timed(pool, make_recordings, 2 * voice_count, 10)
        features = np.array(list(tqdm(pool.imap(measure_voice, range(voice_count)), "voices", voice_count)))
    rates = face_count / face_seconds, sum(speech) / speech_seconds
    print("\nfaces a second: {:.0f}; seconds of speech a second: {:.0f}".format(*rates))

    people = [draw_person(7, index) for index in range(face_count)]
    tested = round(TESTED * face_count)
    pixels, known = np.concatenate(faces), face_count - tested
    sex, age = (np.array([person.traits[name] for person in people]) for name in ("sex", "age"))
    by_sex = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(pixels[:known], sex[:known])
    by_age = RidgeCV(np.logspace(0, 3, 7)).fit(pixels[:known], age[:known])
    right = (by_sex.predict(pixels[known:]) == sex[known:]).mean()
    error = np.abs(by_age.predict(pixels[known:]) - age[known:]).mean()
    print(f"pixels, {tested} held-out people: sex {right:.1%}, age within {error:.1f} years on average")

    people = [draw_person(8, index) for index in range(voice_count)]
    sex, age = (np.array([person.traits[name] for person in people]) for name in ("sex", "age"))
    by_sex = make_pipeline(StandardScaler(), LogisticRegression())
    right = (cross_val_predict(by_sex, features[:, :4], sex, cv=5) == sex).mean()
    by_age = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    parameters = np.array([[v for k, v in person.traits.items() if k.startswith("voice_")] for person in people])
    for name, known in (("features measured in recordings", features), ("the voice's true parameters", parameters)):
        guess = cross_val_predict(by_age, known, age, cv=5)
        print(
            f"age from {name}: correlation {np.corrcoef(guess, age)[0, 1]:.2f}, mean error "
            f"{np.abs(guess - age).mean():.1f} years; of the mean age: {np.abs(age - age.mean()).mean():.1f} years"
        )
    print(f"sex from pitch and formants measured in recordings: {right:.1%}")

    clean_count = min(CLEAN_VOICES, voice_count)
    voices = [clean(index) for index in tqdm(range(clean_count), "clean voices")]
    pitch = np.corrcoef([p.traits["voice_pitch_hz"] for p, _ in voices], [measured_pitch(w) for _, w in voices])[0, 1]
    scales = aligned_scales([envelope(waveform) for _, waveform in voices])
    tract = np.corrcoef([person.traits["voice_formants"] for person, _ in voices], scales)[0, 1]
    print(f"requested and measured, {clean_count} people: pitch {pitch:.4f}, vocal tract {tract:.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
