"""A run: its command, directory, inputs, record, results, and what a sweep makes of several."""
