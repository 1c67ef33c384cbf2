"""Datasets in the project's layout: people, their files, traits and splits."""
