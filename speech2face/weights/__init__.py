"""Weights: read files without trusting them, recognise their layout, build the model on them."""
