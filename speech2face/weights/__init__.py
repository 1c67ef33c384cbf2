"""Weights: locate and safely read checkpoints, recognise their layout, and build networks from them."""
