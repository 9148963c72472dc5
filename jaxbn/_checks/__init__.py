"""Every check of arguments of the core and the layers, and the wording of their errors.

`interop`, `preprocess`, `inference` and `variants` each have a file of checks for what only they can be given.

Only static facts raise: dtypes, shapes, ranges of Python numbers. Values inside `jit` never do. A wrong dtype or type
is a `TypeError`, a wrong shape or value a `ValueError`; the sentence names the argument, what was expected, what
arrived and the remedy.
"""

from jaxbn._checks.arrays import array as array
from jaxbn._checks.arrays import axes as axes
from jaxbn._checks.arrays import data as data
from jaxbn._checks.arrays import is_array as is_array
from jaxbn._checks.arrays import mask as mask
from jaxbn._checks.arrays import no_reference as no_reference
from jaxbn._checks.arrays import weights as weights
from jaxbn._checks.initialization import drawn as drawn
from jaxbn._checks.initialization import features as features
from jaxbn._checks.initialization import float_dtype as float_dtype
from jaxbn._checks.initialization import initial as initial
from jaxbn._checks.initialization import keys as keys
from jaxbn._checks.initialization import num_features as num_features
from jaxbn._checks.mapped_axes import axis_size as axis_size
from jaxbn._checks.mapped_axes import groups_cover as groups_cover
from jaxbn._checks.mapped_axes import groups_need_axis as groups_need_axis
from jaxbn._checks.options import choice as choice
from jaxbn._checks.options import epsilon as epsilon
from jaxbn._checks.options import flag as flag
from jaxbn._checks.options import is_known as is_known
from jaxbn._checks.options import momentum as momentum
from jaxbn._checks.options import scalar as scalar
from jaxbn._checks.options import switch as switch
from jaxbn._checks.options import update_rule as update_rule
from jaxbn._checks.statistics import fits as fits
from jaxbn._checks.statistics import is_state as is_state
from jaxbn._checks.statistics import moments as moments
from jaxbn._checks.statistics import moments_fit_state as moments_fit_state
from jaxbn._checks.statistics import same_shapes as same_shapes
from jaxbn._checks.statistics import state_values as state_values
from jaxbn._checks.statistics import statistic as statistic
from jaxbn._checks.words import shown as shown
