"""Simulated people, each with a voice and a face that share a known cause."""
