"""Simulated people. The voice and the face of a person share sex, age and size, and nothing else."""
