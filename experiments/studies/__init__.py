"""One page per claim of the theory: `python -m experiments.studies.NAME`."""
