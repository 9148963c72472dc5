"""Public functions and layers with hostile arguments: each call works, or names what is wrong; see `__main__`."""
