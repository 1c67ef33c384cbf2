"""Decoders: (batch, 4096) face feature -> landmarks and texture of a face."""
