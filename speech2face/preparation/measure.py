"""Measure one recording or photo: the row of the manifest that describes it."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image as PillowImage

from speech2face.errors import UserError, defect, reason
from speech2face.files import atomic, sha256
from speech2face.inference.encoder import Encoder
from speech2face.preparation.manifest import Row
from speech2face.preparation.sources import File
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.faces import crop_padded, detect_faces, face_box
from speech2face.preprocessing.fbank import LogMelFilterBank
from speech2face.preprocessing.landmarks import find_landmarks
from speech2face.preprocessing.photo import open_image
from speech2face.preprocessing.speech import little_speech, speech_share
from speech2face.preprocessing.streams import OPTIONS, pick_stream

RATE = 16_000
FBANK_SECONDS = 10.26  # the window of an Audio Spectrogram Transformer
# Levels are those of the first minute, which is what the front ends read by default.
AUDIO = Audio(LogMelFilterBank(max_frames=None, mean=0.0, std=0.5), sample_rate=RATE)
CROP_SIZE, CROP_MARGIN = 224, 0.25
PHOTOS_TOGETHER = 16


def recording(root: Path, file: File) -> Row:
    """Measure a recording: duration, level, share of speech, and the sums for the normalisation statistics.

    Only the first minute is decoded; the duration of a longer recording comes from its packets. A recording that
    cannot be used has `error` in its row; warnings are in `note`.
    """
    try:
        digest = sha256(root / file.path)
        sound = AUDIO.read(root / file.path, silence=True)
    except (UserError, OSError) as error:
        return {"error": reason(error, root / file.path)}
    waveform, warnings, seconds = sound.waveform, sound.warnings, len(sound.part) / RATE
    if seconds >= AUDIO.max_seconds - 0.1:
        seconds = max(seconds, packet_seconds(root / file.path))
    row = {"sha256": digest, "seconds": round(seconds, 3), "level_dbfs": max(sound.level_dbfs, -200.0)}
    if not sound.spans:
        return row | {"error": reason(UserError(AUDIO.why_silent(root / file.path, sound)), root / file.path)}
    heard = np.concatenate([waveform[start:stop] for start, stop in sound.spans])
    row["speech_share"] = share = round(speech_share(heard), 3)
    if doubt := little_speech(len(heard) / RATE, share):
        warnings.append(doubt)
    window = torch.from_numpy(waveform[: round(FBANK_SECONDS * RATE)])
    if len(window) >= RATE // 10:
        energies = AUDIO.features(window[None]).double()
        row |= {"fbank_values": energies.numel(), "fbank_sum": float(energies.sum())}
        row["fbank_squares"] = float(energies.square().sum())
    return row | {"note": "; ".join(warnings) or None}


def packet_seconds(path: Path) -> float:
    """Duration of a recording in s up to the end of its last packet. The header is not trusted, nothing is decoded."""
    end = 0.0
    try:
        with av.open(f"file:{path}", options=dict(OPTIONS), metadata_errors="ignore") as container:
            stream, _ = pick_stream(container, AUDIO.track, str(path))
            start = stream.start_time or 0
            for packet in container.demux(stream):
                if packet.pts is not None:
                    end = max(end, float((packet.pts - start + (packet.duration or 0)) * stream.time_base))
    except (av.FFmpegError, OSError, ValueError):
        pass  # a truncated file ends here
    return end


class PhotoReader:
    """Measures photos, and writes a 224 x 224 crop of each face below <root>/prepared/crops.

    root: of the dataset. encoder: of faces. landmarks: whether to find landmarks.
    """

    def __init__(self, root: Path, encoder: Encoder, landmarks: bool) -> None:
        self.root, self.encoder, self.landmarks = root, encoder, landmarks

    def __call__(self, files: Sequence[File]) -> list[Row]:
        """Rows of photos: size, number of faces, box of the crop, landmarks in pixels of the photo, embedding.

        A photo that cannot be used has `error` in its row.
        """
        rows, features = [], []
        for file in files:
            row, prepared = self.read(file)
            rows.append(row)
            features.append(prepared)
        good = [i for i, one in enumerate(features) if one is not None]
        for start in range(0, len(good), PHOTOS_TOGETHER):
            batch = good[start : start + PHOTOS_TOGETHER]
            for i, found in zip(batch, self.encoder.encode_each([features[i] for i in batch]), strict=True):
                rows[i] |= {"error": found} if isinstance(found, str) else {"embedding": found.astype(np.float32)}
        return rows

    def read(self, file: File) -> tuple[Row, torch.Tensor | None]:
        """The row of a photo without its embedding, and its features, or None if there is nothing to encode."""
        path, front_end = self.root / file.path, self.encoder.preprocessing
        try:
            digest = sha256(path)
            image = open_image(path, front_end.max_pixels)
            faces = detect_faces(image)
            prepared = front_end(image, faces=faces)
        except (UserError, OSError) as error:
            return {"error": reason(error, path)}, None
        row = {"sha256": digest, "width": image.width, "height": image.height, "faces": len(faces)}
        if not faces:
            if front_end.crop != "none":
                return row | {"error": "no face found"}, None
            return row | {"note": "no face found: took the whole photo, without landmarks"}, prepared.features
        box = face_box(faces[0], CROP_MARGIN)
        row |= {"face_score": round(faces[0].score, 3), "box": list(box), "crop": f"prepared/crops/{digest}.jpg"}
        if len(faces) > 1:
            row["note"] = f"{len(faces)} faces: took the most confident, at {box}"
        if self.landmarks:
            row["landmarks"] = find_landmarks(image, faces[0]).ravel()
        crop = crop_padded(image, box).resize((CROP_SIZE, CROP_SIZE), PillowImage.Resampling.BILINEAR, reducing_gap=3.0)
        target = self.root / row["crop"]
        if not target.exists():
            with atomic(target) as partial:
                crop.save(partial, "JPEG", quality=95)
        return row, prepared.features


def measure(kind: str, root: Path, files: Sequence[File], photos: PhotoReader | None) -> list[Row]:
    """Measure one person's files. A file that cannot be read has `error` in its row; nothing is raised.

    kind: "clips" or "faces". photos: the reader of photos, for "faces".
    """
    try:
        rows = photos(files) if kind == "faces" else [recording(root, file) for file in files]
    except Exception as error:  # codecs raise anything, and one file must not stop the others
        if len(files) > 1:
            return [row for file in files for row in measure(kind, root, [file], photos)]
        rows = [{"error": f"could not be read ({defect(error)})"}]
    for file, row in zip(files, rows, strict=True):
        if file.size < 0:
            row["error"] = "its name is not UTF-8: rename it"
    return [file.row(**row) for file, row in zip(files, rows, strict=True)]
