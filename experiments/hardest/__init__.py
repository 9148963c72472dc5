"""How small image classifiers learn quickly on a CPU: mostly from the hardest images, the batch in the last axis."""
