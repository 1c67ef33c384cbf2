"""Priors: the embedding of a voice -> embeddings of faces that the voice may belong to."""
