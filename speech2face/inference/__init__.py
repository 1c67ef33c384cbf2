"""Inputs -> embeddings -> faces: encoder, decoder, both together, the cache of embeddings, and pictures of results."""
