"""Figures of merit of a reconstruction: pure functions on arrays, without files or configuration."""
