"""The layer for Flax linen: it holds the variables and calls the core; there is no arithmetic here."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import Dtype
from jax.nn import initializers
from jax.typing import ArrayLike

from jaxbn import _checks, _flax
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, Initializer


class BatchNorm(nn.BatchNorm):
    """Batch normalization with the constructor, the call and the variables of `flax.linen.BatchNorm`.

    `y = scale * (x - mean) / sqrt(var + epsilon) + bias`, as by `jaxbn.batch_norm`. Running statistics live in the
    collection `batch_stats` (`mean`, `var`), parameters in `params` (`scale`, `bias`).

    Differences from Flax, all on purpose:

    - The variance is exact at any mean; Flax's default loses all digits from a mean of 1e4 standard deviations on, and
      its gradient with it.
    - Masked batches are averaged over devices by their counts, weights are weights, and what lies where the mask is 0
      is never read; `y` is 0 there, in evaluation too, where Flax ignores the mask.
    - A batch without data changes no statistics; in Flax it makes NaN of them for ever.
    - For `dtype=None` the output has the dtype of `x`; Flax's has that of the parameters where it is wider.
    - Statistics are at least float32, and never change their dtype; in Flax they become complex, or float64, in the
      first step, or stick if they are in half precision. No gradient flows through them.
    - Arguments out of their range are refused with a sentence: an axis that is not there, or named twice, a flag that
      is no bool, a momentum outside of 0 to 1, a negative epsilon, groups without an `axis_name`.
    - `use_running_average` may be traced.

    Attributes:
        use_running_average: whether to normalise with the running statistics, i.e. to evaluate; here or in the call.
        axis: the feature axis, or several.
        momentum: the weight of the OLD running value.
        epsilon: added to the variance.
        dtype: of the output; `None` for that of the input.
        param_dtype: of scale and bias.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        bias_init: the initialiser of the bias.
        scale_init: the initialiser of the scale.
        axis_name: a mapped axis, or several, over which the batch is spread; not needed while initialising.
        axis_index_groups: the members of that axis that share a batch, if not all of them do.
        use_fast_variance: without effect: the variance is always exact (Flax's default is not).
        force_float32_reductions: without effect: statistics are always kept in at least float32.
        mean_init: the initialiser of the running mean.
        var_init: the initialiser of the running variance.
        averaging: `"ema"`, `"warmup"` or `"cumulative"`; the last two keep a `count` in `batch_stats`, which has to be
            set beside statistics that come from elsewhere, or the first batch replaces them.
        ddof: 1 for an unbiased running variance, as in PyTorch.
        ghost_size: how many neighbours along axis 0 are normalised together, as by
            `jaxbn.variants.ghost_batch_norm`; `None` for the whole batch.
        r_max: the limit of `jaxbn.variants.batch_renorm`, given together with `d_max`: a number, which may be traced,
            or a schedule, as of optax, of the training updates that the layer has seen; for that it keeps a `count`.
        d_max: the other limit, as `r_max`.
        micro_batches: after how many calls the running statistics learn once, as by `jaxbn.variants.accumulate`; beside
            `optax.MultiSteps(optimizer, micro_batches)`. The layer then keeps `pending_...` in `batch_stats`.
        parent: of the layer; Flax sets it, as for all of its modules.
        name: of the layer in its model.

    Example:
        >>> import jax
        >>> from jaxbn.linen import BatchNorm
        >>> layer = BatchNorm()
        >>> x = jnp.arange(15.0).reshape(5, 3)
        >>> variables = layer.init(jax.random.key(0), x, use_running_average=False)
        >>> y, updates = layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        >>> print(updates["batch_stats"]["mean"])
        [0.06 0.07 0.08]

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.
    """

    use_running_average: bool | None = None
    axis: int | Sequence[int] = -1  # type: ignore[assignment]  # wider than that of Flax
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    axis_name: str | Sequence[str] | None = None  # type: ignore[assignment]  # wider than Flax's
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True
    mean_init: Initializer = initializers.zeros
    var_init: Initializer = initializers.ones
    averaging: Averaging = "ema"
    ddof: Literal[0, 1] = 0
    ghost_size: int | None = None
    r_max: _flax.Limit = None
    d_max: _flax.Limit = None
    micro_batches: int = 1

    @nn.compact
    def __call__(
        self, x: ArrayLike, use_running_average: ArrayLike | None = None, *, mask: ArrayLike | None = None
    ) -> jax.Array:
        """Normalise `x`, and in training remember its statistics.

        Args:
            x: `[..., features, ...]`, floating or complex; ints and bools become float32.
            use_running_average: a bool, given here or in the constructor, not in both. It may be traced if
                `batch_stats` is mutable, since it is then not known whether they change.
            mask: `None`, or booleans or weights that broadcast to `x`; of one axis, it is that of the last axis.

        Returns:
            `y` of the shape of `x`, in the dtype of the layer.

        Raises:
            TypeError: as in `jaxbn.batch_norm`.
            ValueError: `use_running_average` is given twice or not at all, and as in `jaxbn.batch_norm`.
        """
        merged: Any = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        # As an nnx or PyTorch layer would be made, `BatchNorm(100)`.
        train = _flax.training(merged, "; linen needs no number of features")
        x = _flax.data(x, self.dtype)
        # Flax sorts the axes, and its variables have that shape.
        axes = sorted(_checks.axes(self.axis, x.ndim))
        shape = tuple(x.shape[a] for a in axes)
        stats_dtype = x.dtype if jnp.iscomplexobj(x) else jnp.dtype(jnp.float32)

        def parameter(name: str, init: Initializer) -> Any:
            _checks.float_dtype("param_dtype", self.param_dtype)
            return self.param(name, functools.partial(_checks.drawn, f"{name}_init", init), shape, self.param_dtype)

        # Parameters first: they get the random numbers that they get in Flax's own layer.
        params = BatchNormParams(
            parameter("scale", self.scale_init) if _checks.switch("use_scale", self.use_scale) else None,
            parameter("bias", self.bias_init) if _checks.switch("use_bias", self.use_bias) else None,
        )

        def statistic(name: str, init: Initializer, dtype: Any) -> nn.Variable[jax.Array]:
            def value() -> jax.Array:
                # Without a key the default initialisers do as well, beside variables that hold parameters alone.
                key = self.make_rng("params") if self.has_rng("params") else None
                return _checks.drawn(f"{name}_init", init, key, shape, dtype)

            return self.variable("batch_stats", name, value)

        kept = {
            "mean": statistic("mean", self.mean_init, stats_dtype),
            "var": statistic("var", self.var_init, jnp.finfo(stats_dtype).dtype),
        }
        further = _flax.further(self.averaging, self.r_max, self.d_max, self.micro_batches)
        if evaluates := train is False and not self.is_initializing():
            # It needs none of them, and so the variables of a net that was trained without these options will do.
            further = ()
        for name in further:
            kept[name] = self.variable("batch_stats", name, _flax.nothing, name, kept["mean"].value)
        y, state = _flax.normalise(
            params,
            _flax.to_state(
                {name: variable.value for name, variable in kept.items()}, 1 if evaluates else self.micro_batches
            ),
            x,
            train,
            self.dtype,
            axis=axes,
            momentum=self.momentum,
            epsilon=self.epsilon,
            mask=_flax.mask(mask, x),
            # While initialising, the mapped axis is not there yet, and the values do not matter.
            axis_name=None if self.is_initializing() else self.axis_name,
            axis_index_groups=None if self.is_initializing() else self.axis_index_groups,
            averaging=self.averaging,
            ddof=self.ddof,
            ghost_size=self.ghost_size,
            r_max=self.r_max,
            d_max=self.d_max,
        )
        if train is not False and not self.is_initializing():
            new = _flax.from_state(state)
            for name, variable in kept.items():
                variable.value = new[name]
        return y
