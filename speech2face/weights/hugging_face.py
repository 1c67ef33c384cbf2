"""What the JSON files of a Hugging Face directory say about an Audio Spectrogram Transformer."""

from typing import Any

from speech2face.errors import UserError


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the encoder from config.json, those that its tensors do not show."""
    if config.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"config.json: hidden_act={config['hidden_act']} is not supported, only gelu")
    strides = {config.get(name, 10) for name in ("frequency_stride", "time_stride")}
    if len(strides) > 1 or config.get("patch_size", 16) != 16:
        raise UserError("config.json: only patches of 16 with one stride in both directions are supported")
    names = {"num_attention_heads": "heads", "num_mel_bins": "mel_bins", "max_length": "max_frames"}
    brought = {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    epsilon = config.get("layer_norm_eps", 1e-12)
    return brought | {"stride": strides.pop(), "epsilon": epsilon, "head_epsilon": epsilon}


def filter_bank(extractor: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the filter bank from preprocessor_config.json."""
    names = {"mean": "mean", "std": "std", "num_mel_bins": "mel_bins", "max_length": "max_frames"}
    brought = {ours: extractor[theirs] for theirs, ours in names.items() if theirs in extractor}
    if extractor.get("do_normalize") is False:
        brought |= {"mean": 0.0, "std": 0.5}  # (x - mean) / (2 std) leaves x as it is
    return brought
