"""Judges: networks that took no part in drawing a face and say whose it looks like, or its sex and age."""
