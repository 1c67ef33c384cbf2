"""Encoders: features of a voice or a photo -> embeddings (batch, 4096). Each is a plain torch module."""
