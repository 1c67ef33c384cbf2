"""The configuration: composed by Hydra, read once into options, and frozen once for the record."""
