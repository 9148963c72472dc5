"""Batch normalization for JAX as one pure function: `y, state = batch_norm(params, state, x, train)`.

The core needs jax and numpy alone; the Flax layers, `jaxbn.linen`, are imported by themselves.
"""

# The statistics, as values that merge.
from jaxbn.moments import Moments as Moments
from jaxbn.moments import batch_moments as batch_moments
from jaxbn.moments import merge_moments as merge_moments
from jaxbn.moments import sync_moments as sync_moments

# The layer.
from jaxbn.normalization import BatchNormParams as BatchNormParams
from jaxbn.normalization import batch_norm as batch_norm
from jaxbn.normalization import init_batch_norm as init_batch_norm
from jaxbn.normalization import normalize as normalize

# The running statistics.
from jaxbn.running import BatchNormState as BatchNormState
from jaxbn.running import check_state as check_state
from jaxbn.running import init_state as init_state
from jaxbn.running import update_state as update_state

# Other frameworks' conventions.
from jaxbn import presets as presets  # isort: skip

__version__ = "0.1.0"
