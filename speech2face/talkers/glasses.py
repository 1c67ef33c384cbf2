"""A layer of a portrait: glasses."""

import torch
from torch import Tensor

from speech2face.talkers.geometry import MIDLINE, PIVOT, POLE, Tensors
from speech2face.talkers.shading import crease, edge, hump, over, stretch


def glasses(image: Tensor, grid: Tensors, p: Tensors) -> Tensor:
    """Draw round, rectangular or browline glasses in a plane in front of the eyes, with a shadow and a reflection."""
    depth = 54.0
    dx, dy = (grid["px"] - MIDLINE - p["shift_x"]) / p["zoom"], (grid["py"] - PIVOT - p["shift_y"]) / p["zoom"]
    turned = dx * p["roll_cos"] + dy * p["roll_sin"]
    nodded = dy * p["roll_cos"] - dx * p["roll_sin"] + PIVOT - POLE
    x = (turned - depth * p["yaw_sin"]) / p["yaw_cos"]
    y = (nodded + (depth * p["yaw_cos"] - x * p["yaw_sin"]) * p["pitch_sin"]) / p["pitch_cos"] + POLE
    ax = x.abs()
    round_is, square_is, brow_is = (p["glasses_is"][:, i] for i in range(1, 4))
    worn = round_is + square_is + brow_is
    cx = p["eye_x"] + 1.2
    u, v = ax - cx, y - p["eye_y"] - 2.0
    r = (u * u + v * v + 1e-6).sqrt()
    circle = 17.2 - r
    qu, qv = (u / 19.0) ** 2, (v / 13.2) ** 2
    box = (1 - (qu * qu + qv * qv + 1e-6).sqrt().sqrt()) * 13.5
    qv = ((v + 0.5) / 14.0) ** 2
    clubmaster = (1 - (qu * qu * 0.6 + 0.4 * qu + qv + 1e-6).sqrt()) * 14.0
    lens = round_is * circle + square_is * box + brow_is * clubmaster
    half = 0.95 * round_is + 1.35 * square_is + brow_is * (0.6 + 1.9 * edge(-v - 3.5, 5.0))
    bridge_y = v + 4.5 - 3.0 * hump(x, 9.0)
    bridge = torch.minimum(1.15 - bridge_y.abs(), (cx - 14.5 - ax) * 0.8)
    temple_y = v + 5.0
    # The temples end at the outline of the head or under the hair.
    side = torch.minimum(-grid["face_sd"] - 0.5, grid["inner"] - grid["rho"] + 3.0)
    temple = torch.minimum(1.4 - temple_y.abs(), torch.minimum(ax - cx - 16.5, side))
    frame = torch.maximum(half - lens.abs(), torch.maximum(bridge, temple))
    frame = edge(frame, 1.1) * worn
    shadow = torch.maximum(half + 0.5 - (lens + 0.22 * v - 1.5).abs(), bridge - 2)
    image = image * (1 - 0.20 * edge(shadow, 5.0) * worn * edge(-grid["face_sd"], 2.0))[:, None]
    glass = edge(lens, 1.2) * worn
    stripe = edge(6 - (u * 0.8 + v + 7).abs(), 5.0) * 0.7 + edge(1.6 - (u * 0.8 + v - 5).abs(), 3.0) * 0.4
    image = image + (glass * (0.006 + 0.035 * stripe * p["key_level"]))[:, None] * p["key"]
    shell = stretch(p["noise"][:, 3], x / 4 + 28, y / 4)
    gleam = crease(lens - 0.35, 0.6) * edge(-v - 4, 10.0)
    colour = p["frame"] * (0.45 + 0.9 * shell + 0.6 * gleam)[:, None] + 0.05 * gleam[:, None]
    return over(image, colour * p["eye_light"], frame)
