"""Norms for batches that are small, or not drawn at random.

Each has the form of `batch_norm`, its parameters, its state and its evaluation; they differ in training alone, so that
a net may change from one to another at any step.
"""

from jaxbn.running import AccumulatingState as AccumulatingState
from jaxbn.variants.accumulation import accumulate as accumulate
from jaxbn.variants.ghost import ghost_batch_norm as ghost_batch_norm
from jaxbn.variants.renorm import batch_renorm as batch_renorm
