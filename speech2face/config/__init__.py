"""The configuration: composed by Hydra, read once into values, frozen once for the record."""
