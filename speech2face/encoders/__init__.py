"""Encoders: features of a voice or a photo -> (batch, 4096) embedding. Each is a plain torch module."""
