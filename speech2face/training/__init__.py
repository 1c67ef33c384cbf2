"""Training of every part: pairs of a dataset, losses, and one loop for all."""
