"""Decoders: embeddings (batch, 4096) -> landmarks and images of faces."""
