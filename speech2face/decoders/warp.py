"""Warp of an image from landmarks to landmarks: Cole et al., CVPR 2017 (arXiv 1701.04851), section 3.2."""

import torch
import torch.nn.functional as F

EPSILON = 1e-6  # keeps the logarithm and its gradient finite at a landmark
RIDGE = 1e-5  # smooths the spline, so that close landmarks with different moves do not tear the image


def warp(image: torch.Tensor, source: torch.Tensor, target: torch.Tensor, step: int = 4) -> torch.Tensor:
    """Warp an image so that the points `source` move to the points `target` and its border stays.

    The displacement is a smoothing thin-plate spline from target to source (Bookstein, "Principal warps", PAMI 1989).
    It is evaluated at every `step`-th pixel and interpolated bilinearly. The warp is differentiable in image, source
    and target. If source equals target, it returns the image, up to the rounding of positions.

    image: (batch, channels, size, size). source, target: (batch, points, 2) as x, y in pixels, with 0 at the centre of
    the first pixel. The points of `target` must differ from each other. Returns the shape of `image`.
    """
    with torch.autocast(image.device.type, enabled=False):  # positions need the precision of float32
        return _warp(image, source, target, step)


def _warp(image: torch.Tensor, source: torch.Tensor, target: torch.Tensor, step: int) -> torch.Tensor:
    size = image.shape[-1]
    border = _border(size, target)
    controls = torch.cat([target, border.expand(target.shape[0], -1, -1)], 1) / size
    moves = F.pad((source - target) / size, (0, 0, 0, border.shape[0]))
    axis = torch.arange(0, size + step, step, device=image.device, dtype=target.dtype)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1) / size
    field = _spline(controls, moves, grid.expand(target.shape[0], -1, -1))
    field = field.unflatten(1, (len(axis), len(axis))).permute(0, 3, 1, 2)
    whole = (len(axis) - 1) * step + 1
    field = F.interpolate(field, (whole, whole), mode="bilinear", align_corners=True)[..., :size, :size]
    pixels = torch.arange(size, device=image.device, dtype=target.dtype)
    x, y = torch.meshgrid(pixels, pixels, indexing="xy")
    position = torch.stack([x, y], -1) + field.permute(0, 2, 3, 1) * size
    position = position * (2 / (size - 1)) - 1
    return F.grid_sample(image, position.to(image.dtype), padding_mode="border", align_corners=True)


def _border(size: int, like: torch.Tensor) -> torch.Tensor:
    """Sixteen points on the border of the image, which do not move: (16, 2)."""
    axis = torch.linspace(0, size - 1, 5, device=like.device, dtype=like.dtype)[:-1]
    low, high = torch.zeros_like(axis), torch.full_like(axis, size - 1)
    sides = ((axis, low), (high, axis), (size - 1 - axis, high), (low, size - 1 - axis))
    return torch.cat([torch.stack(side, -1) for side in sides])


def _spline(controls: torch.Tensor, values: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Thin-plate spline through `values` (batch, n, 2) at `controls` (batch, n, 2), evaluated at (batch, m, 2)."""
    batch, count, _ = controls.shape
    ones = controls.new_ones(batch, count, 1)
    kernel = _kernel(controls, controls) + RIDGE * torch.eye(count, device=controls.device, dtype=controls.dtype)
    affine = torch.cat([ones, controls], -1)
    system = torch.cat([torch.cat([kernel, affine], 2), F.pad(affine.transpose(1, 2), (0, 3))], 1)
    weights = torch.linalg.solve(system, F.pad(values, (0, 0, 0, 3)))
    basis = torch.cat([_kernel(at, controls), at.new_ones(batch, at.shape[1], 1), at], -1)
    return basis @ weights


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """r^2 log r of the distances between (batch, n, 2) and (batch, m, 2) -> (batch, n, m)."""
    squared = (a[:, :, None] - b[:, None]).square().sum(-1)
    return 0.5 * squared * (squared + EPSILON).log()
