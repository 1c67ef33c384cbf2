"""From folders of recordings and photos to a manifest of what is in them."""
