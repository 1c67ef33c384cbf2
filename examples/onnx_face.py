"""A face from a recording, by numpy and onnxruntime alone: python onnx_face.py model.onnx clip.wav"""

import sys
import wave

import numpy as np
import onnxruntime

model, recording = sys.argv[1:]
with wave.open(recording) as file:
    if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16_000, 1, 2):
        sys.exit(f"{recording}: ffmpeg -i {recording} -ar 16000 -ac 1 -sample_fmt s16 clip.wav makes what it must be")
    samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
session = onnxruntime.InferenceSession(model)
outputs = dict(
    zip((one.name for one in session.get_outputs()), session.run(None, {"samples": samples[None]}), strict=True)
)
if np.isneginf(outputs["level_dbfs"][0]):
    sys.exit(f"{recording}: silent")
np.save("embedding.npy", outputs["embedding"][0])
pixels = (outputs["face"][0] * 255).astype(np.uint8)
with open("face.ppm", "wb") as file:  # a picture that needs no library
    file.write(b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes())
