"""Preparation: measure recordings and photos, and list them in a manifest for training and evaluation."""
