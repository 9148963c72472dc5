"""The tutorial's four runs as values: networks, batches, settings, and how they are trained."""
