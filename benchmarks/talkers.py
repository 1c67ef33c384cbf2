"""How fast simulated people are made, and what can be learnt from them: `python benchmarks/talkers.py`.

Prints the tables of docs/talkers.md. About six minutes on 2 cores.
"""

import multiprocessing
import sys
import time
from pathlib import Path

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
PIXEL_PEOPLE, PIXEL_TESTED = 2400, 400
VOICE_PEOPLE, VOICE_CLIPS = 300, 3


def draw_faces(start: int, count: int) -> np.ndarray:
    """(count, 56 * 56 * 3) pixels of people from `start` on, one picture of each."""
    from speech2face.talkers.population import portraits
    from speech2face.talkers.traits import draw_person

    people = [draw_person(7, index) for index in range(start, start + count)]
    images = portraits(people, [0] * count)[0].float() / 255
    return torch.nn.functional.adaptive_avg_pool2d(images, 56).flatten(1).numpy()


def speak(start: int, count: int) -> float:
    """Seconds of finished recordings, one of each person."""
    from speech2face.talkers.recording import RATE, encode, record
    from speech2face.talkers.traits import draw_person

    waveforms = [record(draw_person(7, index), 0, 5.0) for index in range(start, start + count)]
    return sum(len(waveform) * bool(encode(waveform, "flac", "flac")) for waveform in waveforms) / RATE


def hear(index: int) -> list[float]:
    from test_talkers import heard

    from speech2face.talkers.traits import draw_person

    person = draw_person(8, index)
    return np.mean([heard(person, clip) for clip in range(VOICE_CLIPS)], axis=0).tolist()


def timed(pool: multiprocessing.Pool, function, count: int, size: int = 32) -> tuple[list, float]:
    """Results of chunks and seconds, after a first chunk on each process that imports what is needed."""
    pool.starmap(function, [(10**6, size)] * CORES, 1)
    began = time.perf_counter()
    jobs = [pool.apply_async(function, (start, min(size, count - start))) for start in range(0, count, size)]
    return [job.get() for job in tqdm(jobs, function.__name__)], time.perf_counter() - began


def main() -> None:
    from test_talkers import aligned_scales, clean, envelope, measured_pitch

    from speech2face.talkers.traits import draw_person

    with multiprocessing.get_context("spawn").Pool(CORES, torch.set_num_threads, (1,)) as pool:
        faces, face_seconds = timed(pool, draw_faces, PIXEL_PEOPLE)
        speech, speech_seconds = timed(pool, speak, 600, 10)
        features = np.array(list(tqdm(pool.imap(hear, range(VOICE_PEOPLE)), "hear", VOICE_PEOPLE)))
    rates = PIXEL_PEOPLE / face_seconds, sum(speech) / speech_seconds
    print("\nfaces a second: {:.0f}; seconds of speech a second: {:.0f}".format(*rates))

    people = [draw_person(7, index) for index in range(PIXEL_PEOPLE)]
    pixels, known = np.concatenate(faces), PIXEL_PEOPLE - PIXEL_TESTED
    sex, age = (np.array([person.traits[name] for person in people]) for name in ("sex", "age"))
    by_sex = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(pixels[:known], sex[:known])
    by_age = RidgeCV(np.logspace(0, 3, 7)).fit(pixels[:known], age[:known])
    right = (by_sex.predict(pixels[known:]) == sex[known:]).mean()
    error = np.abs(by_age.predict(pixels[known:]) - age[known:]).mean()
    print(f"pixels, {PIXEL_TESTED} held-out people: sex {right:.1%}, age within {error:.1f} years on average")

    people = [draw_person(8, index) for index in range(VOICE_PEOPLE)]
    sex, age = (np.array([person.traits[name] for person in people]) for name in ("sex", "age"))
    by_sex = make_pipeline(StandardScaler(), LogisticRegression())
    right = (cross_val_predict(by_sex, features[:, :4], sex, cv=5) == sex).mean()
    by_age = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    told = np.array([[v for k, v in person.traits.items() if k.startswith("voice_")] for person in people])
    for name, known in (("measured in recordings", features), ("the voice's true parameters", told)):
        guess = cross_val_predict(by_age, known, age, cv=5)
        print(
            f"age from what is {name}: correlation {np.corrcoef(guess, age)[0, 1]:.2f}, "
            f"off by {np.abs(guess - age).mean():.1f} years; who knows nothing: {np.abs(age - age.mean()).mean():.1f}"
        )
    print(f"sex from pitch and formants measured in recordings: {right:.1%}")

    voices = [clean(index) for index in tqdm(range(200), "clean voices")]
    pitch = np.corrcoef([p.traits["voice_pitch_hz"] for p, _ in voices], [measured_pitch(w) for _, w in voices])[0, 1]
    scales = aligned_scales([envelope(waveform) for _, waveform in voices])
    tract = np.corrcoef([person.traits["voice_formants"] for person, _ in voices], scales)[0, 1]
    print(f"requested and obtained, 200 people: pitch {pitch:.4f}, vocal tract {tract:.3f}")


if __name__ == "__main__":
    main()
