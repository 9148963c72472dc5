"""CREPE, a net that others trained, in Flax; see `experiments.real_weights.__main__`."""
