"""Encoders: features of a voice or a photo -> (batch, 4096) face feature. Each is a plain torch module."""
