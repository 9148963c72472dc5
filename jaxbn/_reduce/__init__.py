"""How a sum over the batch is made, and its transpose: all that knows a compiler lives here."""

from jaxbn._reduce.primitives import expand as expand
from jaxbn._reduce.primitives import project as project
