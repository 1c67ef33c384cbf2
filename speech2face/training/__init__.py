"""Training of encoders and decoders: rows of a dataset, loss terms, and one loop for all parts."""
