"""Simulated people: their traits and voices, and the independence of skin tone and hair colour from the voice."""

import io
from dataclasses import replace

import av
import numpy as np
import parselmouth
import pytest
from scipy.signal import stft
from scipy.stats import chi2_contingency
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speech2face.preprocessing.channel import RATE, Channel, encode, mulaw, transmit
from speech2face.talkers.conditions import draw_clip, sentences
from speech2face.talkers.recording import record
from speech2face.talkers.traits import draw_person
from speech2face.talkers.voice import speak

SENTENCES = "The old teacher walked slowly to the market early in the morning. My brother bought bread and cheese."
VOICE = ("pitch_hz", "range", "formants", "rate", "breathiness", "unsteadiness")


@pytest.fixture(scope="module")
def people():
    return [draw_person(0, index) for index in range(3000)]


def trait(people, name):
    return np.array([person.traits[name] for person in people])


def test_person_17_of_seed_3_is_the_same_on_every_machine():
    person = draw_person(3, 17)
    assert person.name == "talker-3-000017" and person.split == "train"
    assert {name: person.traits[name] for name in ("sex", "age", "size", "skin_tone", "hair_colour", "accent")} == {
        "sex": "male",
        "age": 19.29,
        "size": -1.8974,
        "skin_tone": 0.1579,
        "hair_colour": "red",
        "accent": "en-gb-x-rp",
    }
    assert person.traits["voice_pitch_hz"] == 139.14
    assert draw_person(4, 17).traits != person.traits != draw_person(3, 18).traits


def test_a_recording_does_not_depend_on_earlier_recordings():
    person = draw_person(3, 17)
    alone = record(person, 1, 3.0)
    for other in (2, 9):
        record(draw_person(3, other), 0, 2.0)
    assert np.array_equal(record(person, 1, 3.0), alone)
    assert not np.array_equal(record(person, 2, 3.0)[: len(alone)], alone)


def test_voice_follows_the_literature(people):
    sex, age = trait(people, "sex"), trait(people, "age")
    pitch, formants = trait(people, "voice_pitch_hz"), trait(people, "voice_formants")
    young = (age > 20) & (age < 40)
    assert np.median(pitch[young & (sex == "male")]) == pytest.approx(113, abs=4)  # Hollien and Shipp 1972
    assert np.median(pitch[young & (sex == "female")]) == pytest.approx(215, abs=6)  # Stoicheff 1981
    assert np.std(12 * np.log2(pitch[young & (sex == "male")])) == pytest.approx(2.3, abs=0.3)
    ratio = formants[sex == "female"].mean() / formants[sex == "male"].mean()
    assert ratio == pytest.approx(1.16, abs=0.01)  # Hillenbrand et al. 1995
    within = [np.corrcoef(formants[sex == one], trait(people, "size")[sex == one])[0, 1] for one in ("female", "male")]
    assert min(within) > -0.75 and max(within) < -0.5  # size correlates with formants, but does not determine them


def test_skin_tone_and_hair_colour_are_independent_of_the_voice(people):
    voice = np.stack([trait(people, f"voice_{name}") for name in VOICE])
    skin = trait(people, "skin_tone")
    assert np.abs(np.corrcoef(np.vstack([skin, voice]))[0, 1:]).max() < 3.5 / np.sqrt(len(people))
    for name in ("language", "accent", "sex"):
        values, hair = trait(people, name), trait(people, "hair_colour")
        table = [[((values == a) & (hair == b)).sum() for b in np.unique(hair)] for a in np.unique(values)]
        assert chi2_contingency(table).pvalue > 0.001
        groups = [skin[values == one] for one in np.unique(values)]
        spread = np.std([group.mean() for group in groups])
        assert spread < 3 * skin.std() / np.sqrt(min(map(len, groups)))


def test_clips_have_different_texts_and_channels():
    assert all(len(slots) == 3 and np.prod([len(slot) for slot in slots]) > 300 for slots in sentences().values())
    clips = [draw_clip(draw_person(0, index), clip, 5.0) for index in range(20) for clip in range(3)]
    assert len({clip.text for clip in clips}) == len(clips)
    assert len({clip.channel.codec for clip in clips}) == 4
    assert any(clip.channel.band_hz[1] == 3400 for clip in clips)


def clean(index: int, **changes):
    """Person `index` with the accent en-us, and the waveform of SENTENCES without a channel."""
    person = draw_person(5, index)
    person.traits.update({"language": "en", "accent": "en-us"} | changes)
    return person, speak(person, SENTENCES, person.random("test"))


def measured_pitch(waveform):
    pitch = parselmouth.Sound(waveform.astype(float), RATE).to_pitch(pitch_floor=50, pitch_ceiling=500)
    hertz = pitch.selected_array["frequency"]
    return float(np.median(hertz[hertz > 0]))


def envelope(waveform):
    """Mean log spectrum (513,) from 0 to 8 kHz; a cepstral lifter removes the harmonics of the pitch."""
    power = np.abs(stft(waveform, RATE, nperseg=512, noverlap=352, nfft=1024)[2].T) ** 2
    loud = power[power.sum(1) > np.quantile(power.sum(1), 0.4)]
    cepstrum = np.fft.irfft(np.log(loud + 1e-12).mean(0))
    cepstrum[25:-25] = 0
    return np.fft.rfft(cepstrum).real


def aligned_scales(envelopes, rounds=3):
    """For each envelope, the factor of frequency that best aligns it with the mean: the scale of the vocal tract."""
    hertz, log_hertz = np.linspace(0, 8000, 513), np.linspace(np.log(300), np.log(5000), 400)
    factors = np.exp(np.arange(-0.35, 0.35, 0.004))

    def flat(values):
        values = values - np.polyval(np.polyfit(log_hertz, values, 1), log_hertz)
        return values / np.linalg.norm(values)

    warped = np.array(
        [[flat(np.interp(np.exp(log_hertz) * factor, hertz, one)) for factor in factors] for one in envelopes]
    )
    reference = warped[0, len(factors) // 2]
    for _ in range(rounds):
        best = (warped @ reference).argmax(1)
        best -= round(float(best.mean())) - len(factors) // 2
        reference = flat(np.mean([warped[i, np.clip(k, 0, len(factors) - 1)] for i, k in enumerate(best)], axis=0))
    return factors[np.clip(best, 0, len(factors) - 1)]


def test_pitch_and_vocal_tract_are_as_requested():
    voices = [clean(index) for index in range(60)]
    asked = np.array([person.traits["voice_pitch_hz"] for person, _ in voices])
    obtained = np.array([measured_pitch(waveform) for _, waveform in voices])
    assert np.corrcoef(asked, obtained)[0, 1] > 0.98
    assert np.median(obtained / asked) == pytest.approx(1, abs=0.05)
    scales = aligned_scales([envelope(waveform) for _, waveform in voices])
    asked = np.array([person.traits["voice_formants"] for person, _ in voices])
    assert np.corrcoef(asked, scales)[0, 1] > 0.95


def test_breathiness_and_rate_are_audible():
    def harmonicity(waveform):
        values = parselmouth.Sound(waveform.astype(float), RATE).to_harmonicity().values
        return values[values > -100].mean()

    clear, breathy = (clean(3, voice_breathiness=value)[1] for value in (0.05, 0.95))
    assert harmonicity(clear) > harmonicity(breathy) + 3
    slow, fast = (clean(3, voice_rate=rate)[1] for rate in (120.0, 180.0))
    assert len(slow) / len(fast) == pytest.approx(1.5, abs=0.1)


def test_transmit_has_the_properties_of_the_channel():
    random = np.random.default_rng(0)
    noise = random.standard_normal(4 * RATE).astype(np.float32)
    quiet = Channel(snr_db=100.0, noise_tilt=0.0, reverberation=0.0, direct_db=0.0, band_hz=(20.0, 20_000.0))

    def level(waveform, low, high):
        power = np.abs(np.fft.rfft(waveform)) ** 2
        hertz = np.fft.rfftfreq(len(waveform), 1 / RATE)
        return 10 * np.log10(power[(hertz > low) & (hertz < high)].mean())

    assert np.abs(transmit(noise, quiet, random) - noise).max() < 0.05 * noise.std() * 4
    phone = transmit(noise, replace(quiet, band_hz=(300.0, 3400.0)), random)
    assert level(phone, 1000, 2000) - level(noise, 1000, 2000) == pytest.approx(0, abs=0.1)
    assert level(phone, 6700, 6900) - level(noise, 6700, 6900) == pytest.approx(
        -24, abs=0.5
    )  # fourth order, one octave above
    burst = np.zeros(2 * RATE, np.float32)
    burst[0] = 1
    room = transmit(burst, replace(quiet, reverberation=0.6, direct_db=6.0), random)
    energy = np.sum(room[80:] ** 2) / np.sum(room[:80] ** 2)
    assert -10 * np.log10(energy) == pytest.approx(6.0, abs=1.0)
    decay = 10 * np.log10(np.sum(room[800:2400] ** 2) / np.sum(room[4000:5600] ** 2))
    assert decay == pytest.approx(60 * 0.2 / 0.6, abs=2)  # 60 dB in 0.6 s, measured over 0.2 s
    noisy = transmit(noise, replace(quiet, snr_db=10.0), random) - noise
    assert 10 * np.log10(np.mean(noise**2) / np.mean(noisy**2)) == pytest.approx(10, abs=0.2)
    assert transmit(noise, replace(quiet, level_dbfs=-20.0), random).std() == pytest.approx(0.1, rel=0.01)
    ramp = np.linspace(-1, 1, 1001, dtype=np.float32)
    assert np.abs(mulaw(ramp) - ramp).max() < 1 / 40 and len(np.unique(mulaw(ramp))) < 256


def voice_features(person, clip):
    """Measurements of a recording: pitch, three formants, steadiness of pitch, harmonicity, words per second."""
    waveform = record(person, clip, 4.0)
    sound = parselmouth.Sound(waveform.astype(float), RATE)
    hertz = sound.to_pitch(time_step=0.01, pitch_floor=60, pitch_ceiling=400).selected_array["frequency"]
    runs = np.split(hertz, np.flatnonzero(np.diff(hertz > 0)) + 1)
    pieces = [np.log(run[i : i + 15]) for run in runs if run[0] > 0 for i in range(0, len(run) - 14, 7)]
    time = np.arange(15)
    rest = [np.std(piece - np.polyval(np.polyfit(time, piece, 2), time)) for piece in pieces]
    tracks = sound.to_formant_burg(time_step=0.02, maximum_formant=5250)
    resonances = [[tracks.get_value_at_time(n, t) for n in (1, 2, 3)] for t in tracks.xs()]
    harmonicity = sound.to_harmonicity(time_step=0.05).values
    words = len(draw_clip(person, clip, 4.0).text.split()) * RATE / len(waveform)
    return [
        *(np.log(np.median(hertz[hertz > 0])), *np.nanmedian(np.log(resonances), 0), np.log(np.median(rest))),
        *(harmonicity[harmonicity > -100].mean(), words),
    ]


def test_sex_and_part_of_age_can_be_predicted_from_the_voice():
    people = [draw_person(1, index) for index in range(150)]
    features = np.array([voice_features(person, 0) for person in people])
    sex, age = trait(people, "sex"), trait(people, "age")
    by_sex = make_pipeline(StandardScaler(), LogisticRegression())
    pitch_and_formants = features[:, :4]
    assert (cross_val_predict(by_sex, pitch_and_formants, sex, cv=5) == sex).mean() > 0.95
    by_age = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    correlation = np.corrcoef(cross_val_predict(by_age, features, age, cv=5), age)[0, 1]
    assert 0.25 < correlation < 0.9  # by chance below 0.16


def test_flac_is_lossless():
    waveform = (np.random.default_rng(0).integers(-9000, 9000, 5000) / 32768).astype(np.float32)
    with av.open(io.BytesIO(encode(waveform, "flac", "flac"))) as file:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert np.array_equal(samples / 32768, waveform)
