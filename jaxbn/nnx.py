"""The layer for Flax nnx: it holds the variables and calls the core; there is no arithmetic here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError
from flax.nnx.module import first_from
from flax.typing import Dtype
from jax.nn import initializers
from jax.typing import ArrayLike

from jaxbn import _checks, _flax, _outside
from jaxbn.moments import Moments, batch_moments, sync_moments
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, Initializer, init_state, update_state


def keep_digits(arrays: tuple[Any, ...], *, dtype: Dtype | None = None) -> tuple[Any, ...]:
    """The input in the wider of its own dtype and of `dtype`, all else as it is: how `BatchNorm` promotes.

    `x, mean, var, scale, bias = x.astype(jnp.promote_types(x.dtype, dtype)), mean, var, scale, bias`. Flax rounds all
    of them to `dtype`.

    Args:
        arrays: `(x, ...)`: `x` is an array, in which ints and bools become float32, and what follows may be `None`.
        dtype: floating or complex, or `None` for that of `x`.

    Returns:
        A tuple like `arrays`.

    Raises:
        TypeError: `arrays` is no tuple, `x` no array of numbers, or `dtype` not floating or complex.

    Example:
        >>> x, mean = keep_digits((jnp.ones(2, jnp.float32), jnp.zeros(2)), dtype=jnp.bfloat16)
        >>> print(x.dtype)
        float32

    Reference:
        `flax/nnx/nn/dtypes.py`, `promote_dtype`: what Flax does instead.
    """
    if not isinstance(arrays, tuple | list) or not len(arrays):
        raise TypeError(f"`arrays` must be a tuple (x, ...), got {_checks.shown(arrays)}; write keep_digits((x,)).")
    x, *others = arrays
    return _flax.data(x, dtype), *others


class BatchNorm(nnx.BatchNorm):
    """Batch normalization with the constructor, the call and the variables of `flax.nnx.BatchNorm`.

    `y = scale * (x - mean) / sqrt(var + epsilon) + bias`, as by `jaxbn.batch_norm`. Running statistics are `BatchStat`s
    (`mean`, `var`), parameters `Param`s (`scale`, `bias`). Equal to `jaxbn.linen.BatchNorm` to the last bit.

    Differences from Flax, all on purpose, are those of `jaxbn.linen.BatchNorm` and:

    - A half precision `dtype` is that of the output alone; Flax rounds the input and the running statistics to it.
    - Masks may hold ints or weights; Flax refuses them.
    - Complex data has a complex running mean; Flax drops the imaginary part.
    - Several feature axes, with as many `num_features`; a wrong number of features is always refused.
    - `nnx.vmap(model)` works, where the model is no argument of the mapped function: every member of the batch is
      normalised with its own statistics, and those of all, merged, are remembered. `nnx.eval_shape(model, x)` works
      too, and remembers nothing. Flax raises `TraceContextError` in both. Ours does where the statistics can't be
      updated, as in `nnx.jit(model)`.

    Args:
        num_features: the number of features, or one for each of several feature axes, in the order of the axes in `x`.
        use_running_average: whether to normalise with the running statistics, i.e. to evaluate.
        axis: the feature axis, or several.
        momentum: the weight of the OLD running value.
        epsilon: added to the variance.
        dtype: of the output; `None` for that of the input.
        param_dtype: of scale and bias.
        use_bias: whether there is a bias.
        use_scale: whether there is a scale.
        bias_init: the initialiser of the bias.
        scale_init: the initialiser of the scale.
        axis_name: a mapped axis, or several, over which the batch is spread.
        axis_index_groups: the members of that axis that share a batch, if not all of them do.
        use_fast_variance: without effect: the variance is always exact (Flax's default is not).
        promote_dtype: `((x, mean, var, scale, bias), dtype=dtype) -> (x, mean, var, scale, bias)`, applied before
            anything else; the statistics that it returns are used where `use_running_average` is known to be true.
        rngs: `nnx.Rngs`, which give the initialisers their keys.
        bias_metadata: that of the variable `bias`, by name.
        scale_metadata: that of the variable `scale`, by name.
        mean_init: the initialiser of the running mean.
        var_init: the initialiser of the running variance.
        averaging: `"ema"`, `"warmup"` or `"cumulative"`; the last two keep a `BatchStat` named `count`, which has to be
            set beside statistics that come from elsewhere, or the first batch replaces them. The option may be set
            later, on the layer, but before `nnx.split`: the variable is then added if it is missing.
        ddof: 1 for an unbiased running variance, as in PyTorch.
        ghost_size: how many neighbours along axis 0 are normalised together, as by
            `jaxbn.variants.ghost_batch_norm`; `None` for the whole batch.
        r_max: the limit of `jaxbn.variants.batch_renorm`, given together with `d_max`: a number, or a schedule, as of
            optax, of the training updates that the layer has seen; for that it keeps a `BatchStat` named `count`. It
            may be set later, as `averaging`.
        d_max: the other limit, as `r_max`.
        micro_batches: after how many calls the running statistics learn once, as by `jaxbn.variants.accumulate`; beside
            `optax.MultiSteps(optimizer, micro_batches)`. The layer then keeps `BatchStat`s named `pending_...`. It may
            be set later, as `averaging`.

    Example:
        >>> from flax import nnx
        >>> from jaxbn.nnx import BatchNorm
        >>> layer = BatchNorm(3, rngs=nnx.Rngs(0))
        >>> y = layer(jnp.arange(15.0).reshape(5, 3))
        >>> print(layer.mean[...])
        [0.06 0.07 0.08]
        >>> layer.eval()
        >>> y = layer(jnp.arange(15.0).reshape(5, 3))

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.
    """

    def __init__(
        self,
        num_features: int | Sequence[int],
        *,
        use_running_average: bool | None = False,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Initializer = initializers.zeros,
        scale_init: Initializer = initializers.ones,
        axis_name: str | Sequence[str] | None = None,
        axis_index_groups: Any = None,
        use_fast_variance: bool = True,
        promote_dtype: Callable[..., Any] = keep_digits,
        rngs: nnx.Rngs,
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        scale_metadata: Mapping[str, Any] = MappingProxyType({}),
        mean_init: Initializer = initializers.zeros,
        var_init: Initializer = initializers.ones,
        averaging: Averaging = "ema",
        ddof: Literal[0, 1] = 0,
        ghost_size: int | None = None,
        r_max: _flax.Limit = None,
        d_max: _flax.Limit = None,
        micro_batches: int = 1,
    ) -> None:
        shape = _checks.features(num_features, "num_features")
        _checks.update_rule(averaging, ddof)
        for name, value in (("dtype", dtype), ("param_dtype", param_dtype)):
            if value is not None:
                _checks.float_dtype(name, value)
        _flax.random("rngs", rngs)

        # The keys that Flax draws, in its order: all that is made later gets the same random numbers.
        def parameter(name: str, init: Initializer, metadata: Mapping[str, Any]) -> nnx.Param[Any]:
            return nnx.Param(_checks.drawn(name, init, rngs.params(), shape, param_dtype), **metadata)

        use_scale, use_bias = _checks.switch("use_scale", use_scale), _checks.switch("use_bias", use_bias)
        self.scale = parameter("scale_init", scale_init, scale_metadata) if use_scale else nnx.data(None)
        self.bias = parameter("bias_init", bias_init, bias_metadata) if use_bias else nnx.data(None)
        own_init = mean_init is not initializers.zeros or var_init is not initializers.ones
        state = init_state(
            shape,
            key=rngs.params() if own_init else None,
            mean_init=mean_init,
            var_init=var_init,
            dtype=_statistics_dtype(dtype, param_dtype),
        )
        self.mean = nnx.BatchStat(state.mean)
        self.var = nnx.BatchStat(state.var)

        self.num_features = num_features  # type: ignore[assignment]  # wider than Flax's, as are axis and axis_name
        self.use_running_average = use_running_average
        self.axis = axis  # type: ignore[assignment]
        self.momentum = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.use_bias = use_bias
        self.use_scale = use_scale
        self.axis_name = axis_name  # type: ignore[assignment]
        self.axis_index_groups = axis_index_groups
        self.use_fast_variance = use_fast_variance
        self.promote_dtype = promote_dtype
        self.ddof = ddof
        self.ghost_size = ghost_size
        self.r_max = r_max
        self.d_max = d_max
        self.micro_batches = micro_batches
        self.averaging = averaging

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "averaging":
            _checks.update_rule(value, 0)
        super().__setattr__(name, value)
        # Here and not in the first call: a state that `scan` carries can't get a variable on the way.
        if name in _KEEPING and all(hasattr(self, option) for option in _KEEPING):
            mean = self.mean[...]
            # One for each member of an ensemble, whose statistics have leading axes.
            members = mean.shape[: -len(_checks.features(self.num_features))]
            for further in self._further():
                if not hasattr(self, further):
                    setattr(self, further, nnx.BatchStat(_flax.nothing(further, mean, members)))

    def __call__(
        self, x: ArrayLike, use_running_average: ArrayLike | None = None, *, mask: ArrayLike | None = None
    ) -> jax.Array:
        """Normalise `x`, and in training remember its statistics.

        Args:
            x: `[..., features, ...]`, floating or complex; ints and bools become float32.
            use_running_average: a bool, which may be traced; it takes precedence over that of the constructor.
            mask: `None`, or booleans or weights that broadcast to `x`; of one axis, it is that of the last axis.

        Returns:
            `y` of the shape of `x`, in the dtype of the layer.

        Raises:
            TypeError: as in `jaxbn.batch_norm`.
            ValueError: `use_running_average` is given nowhere, and as in `jaxbn.batch_norm`.
            TraceContextError: the layer is no argument of the transformed function, so that its running statistics
                can't be updated.
        """
        train = _flax.training(first_from(use_running_average, self.use_running_average, error_msg=_NO_FLAG))
        scale, bias = (None if part is None else part[...] for part in (self.scale, self.bias))
        old = self._state()
        x, mean, var, scale, bias = self.promote_dtype((x, old.mean, old.var, scale, bias), dtype=self.dtype)
        x = _flax.data(x, None)
        mask = _flax.mask(mask, x)
        axes = sorted(_checks.axes(self.axis, x.ndim))
        _checks.num_features(self.num_features, x, axes)
        y, new = _flax.normalise(
            BatchNormParams(scale, bias),
            old._replace(mean=mean, var=var) if train is False else old,
            x,
            train,
            self.dtype,
            axis=axes,
            momentum=self.momentum,
            epsilon=self.epsilon,
            mask=mask,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            averaging=self.averaging,
            ddof=self.ddof,
            ghost_size=self.ghost_size,
            r_max=self.r_max,
            d_max=self.d_max,
        )
        if train is not False:
            try:
                self._remember(new)
            except TraceContextError:
                # The layer is no argument of the function around it that is transformed.
                seen = batch_moments(x, axis=axes, mask=mask)
                if self.axis_name is not None:
                    seen = sync_moments(seen, self.axis_name)
                if train is not True:
                    # No data, where a traced flag says that this is no training.
                    seen = jax.tree.map(lambda part: jnp.where(train, part, 0), seen)
                _outside.learn(self._learn, seen, x)
        return y

    def _further(self) -> tuple[str, ...]:
        return _flax.further(*(getattr(self, option) for option in _KEEPING))

    def _state(self) -> Any:
        names = ("mean", "var", *self._further())
        return _flax.to_state({name: getattr(self, name)[...] for name in names}, self.micro_batches)

    def _remember(self, state: Any) -> None:
        new = _flax.from_state(state)
        for name in ("mean", "var", *self._further()):
            # Not `[...] = `, which keeps the dtype: that of Flax's own variables may be too narrow.
            getattr(self, name).set_value(new[name])

    def _learn(self, seen: Moments) -> None:
        old = self._state()
        self._remember(update_state(old, seen, momentum=self.momentum, averaging=self.averaging, ddof=self.ddof))

    # `nnx.view_info` reads this docstring, whose arguments it expects two spaces in.
    def set_view(self, use_running_average: bool | None = None) -> None:
        """Choose whether to evaluate; `nnx.view` calls it.

        Args:
          use_running_average: whether to normalise with the running statistics, i.e. to evaluate; `None` changes
          nothing.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average


# The options by which a layer keeps more than mean and variance.
_KEEPING = ("averaging", "r_max", "d_max", "micro_batches")
_NO_FLAG = (
    "`use_running_average` must be given, to the constructor of BatchNorm, in the call, or by "
    "nnx.view(model, use_running_average=...), got None everywhere."
)


def _statistics_dtype(*dtypes: Dtype | None) -> Dtype:
    return next((d for d in dtypes if d is not None and jnp.issubdtype(d, jnp.complexfloating)), jnp.float32)
