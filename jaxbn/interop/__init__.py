"""To and from other frameworks' layers, on plain dicts of arrays; no framework is imported.

`params, state = from_torch(model.state_dict(), "layer1.0.bn1")`, and back with `to_torch`; all batch norms of a model
at once, `{path: (params, state)}`, by `from_torch(model.state_dict())`. What the numbers mean in each framework is said
in `jaxbn.interop.conventions`.
"""

# What each framework means by its numbers.
from jaxbn.interop import conventions as conventions
from jaxbn.interop.debiasing import debiased_momentum as debiased_momentum

# One pair per framework.
from jaxbn.interop.equinox import from_equinox as from_equinox
from jaxbn.interop.equinox import to_equinox as to_equinox
from jaxbn.interop.haiku import from_haiku as from_haiku
from jaxbn.interop.haiku import to_haiku as to_haiku
from jaxbn.interop.keras import from_keras as from_keras
from jaxbn.interop.keras import to_keras as to_keras
from jaxbn.interop.linen import from_linen as from_linen
from jaxbn.interop.linen import to_linen as to_linen
from jaxbn.interop.nnx import from_nnx as from_nnx
from jaxbn.interop.nnx import to_nnx as to_nnx

# The layers of a model, called as in another one.
from jaxbn.interop.renaming import rename as rename
from jaxbn.interop.torch import from_torch as from_torch
from jaxbn.interop.torch import to_torch as to_torch
