"""Sections of benchmarks/run.py that measure networks and front ends in this process."""

from typing import Any

import numpy as np
import torch
from harness import (
    BUNDLED,
    CLIP,
    DEVICE,
    FULL,
    TINY,
    Bench,
    clip_features,
    fastest,
    operations,
    product_rate,
)

from speech2face.evaluation.images import psnr
from speech2face.inference.device import PRECISIONS
from speech2face.preprocessing.channel import encode
from speech2face.preprocessing.decode import decode
from speech2face.training.losses import normalized_distance


def encoders(bench: Bench) -> None:
    """The full-size encoders and the decoder, beside a matrix product."""
    size = 2 if bench.quick else 8
    bench.say(f"## Encoders and decoder, in batches of {size}", "")
    bench.explain(
        "torch counts the operations. The share is the rate over that of a matrix product, which is measured just "
        'before. "s, one alone" is a batch of one clip.'
    )
    rows = []
    for name in FULL:
        for precision in bench.precisions:
            net = bench.built(*FULL[name], f"precision={precision}", f"batch_size={size}")
            features = [clip_features(net)] * size
            flop = operations(net.encoder.network, features[0])
            rate = product_rate(precision)
            net.encoder.encode(features[:1])
            single = bench.fastest(lambda net=net, features=features: net.encoder.encode(features[:1]))
            took = bench.fastest(lambda net=net, features=features: net.encoder.encode(features))
            reached = size * flop / took
            rows.append([f"{name}, {precision}", f"{flop:.0f}", f"{took / size:.3f}", f"{single:.3f}"])
            rows[-1] += [f"{reached:.0f}", f"{reached / rate:.0%}"]
            if name == "paper":
                embedding = torch.randn(16, 4096)
                took = fastest(lambda net=net, embedding=embedding: net.decoder.decode(embedding), 2)
                rows.append([f"decoder, {precision}, batches of 16", "", f"{took / 16:.4f}", "", "", ""])
    bench.table(["", "GFLOP a clip", "s a clip", "s, one alone", "GFLOP/s", "share"], rows)


def precision(bench: Bench) -> None:
    """The faces of bf16 against those of fp32."""
    bench.say("## bfloat16 draws the same face", "")
    rows = []
    for name, arguments in (FULL | BUNDLED).items():
        results = [bench.built(*arguments, f"precision={one}")(CLIP) for one in ("fp32", "bf16")]
        a, b = (one.embedding.astype(np.float64) for one in results)
        (alike,) = psnr(*(one.face[None] for one in results))
        rows.append([name, f"{a @ b / np.linalg.norm(a) / np.linalg.norm(b):.6f}", f"{alike:.1f}"])
    bench.table(["", "cosine of the embeddings", "PSNR of the faces, dB"], rows)


def batches(bench: Bench) -> None:
    """Throughput against batch size."""
    if DEVICE.type == "cuda":
        sizes, names = (1, 4, 16, 64, 256), list(FULL)
    elif bench.quick:
        sizes, names = (1, 8), list(BUNDLED)
    else:
        sizes, names = (1, 2, 4, 8, 16, 32), ["bundled paper", "bundled ast", "paper"]
    bench.say("## Batch size", "", f"Clips a second through the encoder, {bench.best}:")
    rows = []
    for name in names:
        row: list[Any] = [name]
        for size in sizes:
            net = bench.built(*(FULL | BUNDLED)[name], f"precision={bench.best}", f"batch_size={size}")
            features = [clip_features(net)] * size
            took = fastest(lambda net=net, features=features: net.encoder.encode(features), 2)
            row.append(f"{size / took:.3g}")
            bench.growth.setdefault(f"{name}: clips in a batch", []).append((size, took, 0.0))
            if DEVICE.type == "cuda" and size == sizes[-1]:
                share = size * operations(net.encoder.network, features[0]) / took / bench.rates[bench.best]
                row[0] = f"{name} ({share:.0%} of the product's rate at {size})"
        rows.append(row)
    bench.table(["", *map(str, sizes)], rows)


def training(bench: Bench) -> None:
    """A step of training a full-size voice encoder: forward, backward, AdamW."""
    clips = 1 if bench.quick else 8
    bench.say("## A training step", "")
    bench.explain(
        f"Forward, backward and AdamW, {bench.best}, batches of {clips}. The share is the rate over that of a matrix "
        "product."
    )
    rows = []
    for name in FULL:
        encoder = bench.built(*FULL[name], "precision=fp32").encoder
        network = encoder.network.train().requires_grad_(True)
        features = torch.cat([encoder.prepare(CLIP).features] * clips).to(DEVICE)
        true = torch.rand(clips, 4096, device=DEVICE)
        flop = operations(network, features, training=True)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-5)
        for parameter in network.parameters():  # the optimizer allocates its state before the step that is measured
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()

        def step(
            network: Any = network, features: Any = features, true: Any = true, optimizer: Any = optimizer
        ) -> None:
            optimizer.zero_grad()
            with torch.autocast(DEVICE.type, PRECISIONS[bench.best], enabled=bench.best != "fp32"):
                predicted = network(features).float()
            normalized_distance(predicted, true).backward()
            optimizer.step()

        took = bench.fastest(step)
        rows.append([name, f"{took:.2f}", f"{clips / took:.2f}", f"{flop / took:.0f}"])
        rows[-1].append(f"{flop / took / product_rate(bench.best):.0%}")
    bench.table(["", "s a step", "clips/s", "GFLOP/s", "share"], rows)


def front_ends(bench: Bench) -> None:
    """Features and decoding, against the duration of the sound."""
    bench.say("## Front ends and decoding, on one core", "")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samples = decode(CLIP).waveform
    batch = torch.from_numpy(np.stack([np.resize(np.roll(samples, -997 * i), 16_000 * 10) for i in range(8)]))
    rows = []
    for name in ("paper", "ast"):
        transform = bench.built(*TINY[name]).encoder.preprocessing.features
        took = fastest(lambda transform=transform: transform(batch), 5)
        rows.append([type(transform).__name__, "8 clips of 10 s together", f"{80 / took:.0f}"])
    minute = np.resize(samples, 16_000 * 60)
    for container, codec, rate in (
        ("wav", "pcm_s16le", 16_000),
        ("wav", "pcm_s16le", 44_100),
        ("flac", "flac", 44_100),
        ("mp3", "libmp3lame", 44_100),
        ("mp4", "aac", 44_100),
        ("ogg", "libopus", 48_000),
    ):
        file = bench.home / f"minute_{rate}.{container}"
        file.write_bytes(encode(minute, codec, container, rate=rate))
        took = fastest(lambda file=file: decode(file), 3)
        rows.append(["decoding to 16 kHz", f"{codec}, {rate / 1000:g} kHz, one minute", f"{60 / took:.0f}"])
    torch.set_num_threads(threads)
    bench.table(["", "", "times real time"], rows)
