"""What a layer says of itself is known, whoever wrote it: momentum, averaging, epsilon; and dropout before it."""

import flax.linen
import flax.nnx
import jax
import numpy as np
import pytest

import jaxbn.linen
import jaxbn.nnx
from jaxbn import BatchNormState, batch_norm, normalize
from jaxbn.inference import diagnose
from tests.inference.nets_diagnose import BATCHES, NONE, X, one

pytestmark = pytest.mark.slow

MEAN, VAR = X.mean(0, dtype="float64"), X.var(0, dtype="float64")


def statistics(residual):
    """With so much of the start in them."""
    rest = 1 - residual
    return (rest * MEAN).astype("float32"), (residual + rest * VAR).astype("float32")


def linen(norm, stats, **options):
    layer = norm(use_running_average=True, use_scale=False, use_bias=False, **options)
    return layer.apply, {"batch_stats": dict(zip(("mean", "var"), stats, strict=True))}


def nnx(norm, stats, **options):
    layer = norm(6, use_running_average=True, rngs=flax.nnx.Rngs(0), **options)
    layer.mean.set_value(jax.numpy.asarray(stats[0]))
    layer.var.set_value(jax.numpy.asarray(stats[1]))
    return lambda layer, x: layer(x), layer


def functional(stats, **options):
    return lambda stats, x: batch_norm(NONE, BatchNormState(*stats, np.int32(0)), x, False, **options)[0], stats


LAYERS = {
    "linen-flax": lambda *args, **options: linen(flax.linen.BatchNorm, *args, **options),
    "linen-ours": lambda *args, **options: linen(jaxbn.linen.BatchNorm, *args, **options),
    "nnx-flax": lambda *args, **options: nnx(flax.nnx.BatchNorm, *args, **options),
    "nnx-ours": lambda *args, **options: nnx(jaxbn.nnx.BatchNorm, *args, **options),
    "functional": functional,
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@every_layer
def test_the_residual_is_that_of_its_momentum(make):
    apply, variables = make(statistics(0.98**40), momentum=0.98)
    ((finding,),) = (norm.findings for norm in diagnose(apply, variables, BATCHES, step=40).norms)
    assert finding.code == "BN102"
    assert "(0.98^40)" in finding.evidence
    ((finding,),) = (norm.findings for norm in diagnose(apply, variables, BATCHES).norms)
    assert "(fitted)" in finding.evidence
    np.testing.assert_allclose(finding.numbers["residual"], 0.98**40, rtol=0.01)


@every_layer
def test_the_momentum_of_one_is_not_that_of_the_next(make):
    """`normalize` has none, and is not given that of a call before it."""
    first, variables = make(statistics(0), momentum=0.98)
    mean, var = statistics(0.98**40)

    def apply(both, x):
        return first(both[0], x), normalize(NONE, x, *both[1])

    report = diagnose(apply, (variables, (mean, var)), BATCHES, step=40)
    assert report.norms[0].codes == ("BN102",)
    assert "(fitted)" in report.norms[0].findings[0].evidence


@every_layer
def test_epsilon_is_what_drowns_a_channel(make):
    apply, variables = make(statistics(0), epsilon=1.5)
    small = [i for i, var in enumerate(VAR) if var < 1.5]
    report = diagnose(apply, variables, BATCHES)
    assert report.codes == ("BN111",)
    assert f"{len(small)} varying by less than epsilon 1.5 of 6" in report.norms[0].findings[0].evidence
    apply, variables = make(statistics(0), epsilon=0.0)
    assert diagnose(apply, variables, BATCHES).codes == ()


@pytest.mark.parametrize("averaging", ["warmup", "cumulative"])
@pytest.mark.parametrize("name", ["linen-ours", "nnx-ours", "functional"])
def test_averages_that_forget_their_start_have_none(name, averaging):
    apply, variables = LAYERS[name](statistics(0.98**40), momentum=0.98, averaging=averaging)
    if name == "linen-ours":
        variables["batch_stats"]["count"] = np.int32(40)
    if name == "nnx-ours":
        variables.count.set_value(np.int32(40))
    assert diagnose(apply, variables, BATCHES, step=40).codes == ("BN106",)


def test_a_count_knows_better_than_the_step():
    state = BatchNormState(*statistics(0.98**40), np.int32(40))
    apply = lambda state, x: batch_norm(NONE, state, x, False, momentum=0.98)[0]  # noqa: E731
    ((finding,),) = (norm.findings for norm in diagnose(apply, state, BATCHES, step=7).norms)
    assert "(0.98^40)" in finding.evidence


def test_a_momentum_that_says_otherwise_takes_means_and_variances_together():
    """Of plain functions the call in evaluation may not have that of training."""
    state = BatchNormState(*statistics(0.4), np.int32(5000))
    assert diagnose(one, state, BATCHES).codes == ("BN102",)
    # Means that say nothing: data of smaller spread look the same.
    centered = [batch - MEAN.astype("float32") for batch in BATCHES]
    state = BatchNormState(np.zeros(6, "float32"), (0.6 * VAR).astype("float32"), np.int32(5000))
    assert diagnose(one, state, centered).codes == ("BN106",)


class Linen(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        for name in ("one", "two"):
            if name == "one":
                x = flax.linen.Dropout(0.5, deterministic=True)(x)
            x = flax.linen.BatchNorm(use_running_average=True, use_scale=False, use_bias=False, name=name)(2 * x)
        return x


class Nnx(flax.nnx.Module):
    def __init__(self):
        rngs = flax.nnx.Rngs(0)
        self.dropout, self.none = flax.nnx.Dropout(0.5, rngs=rngs), flax.nnx.Dropout(0.0, rngs=rngs)
        self.one, self.two = (flax.nnx.BatchNorm(6, rngs=rngs) for _ in range(2))

    def __call__(self, x):
        return self.two(2 * self.none(self.one(2 * self.dropout(x))))


def wide(mean, var):
    """As dropout leaves them."""
    return {"mean": np.asarray(mean, "float32"), "var": np.asarray(1.6 * var, "float32")}


def test_dropout_that_is_off_is_seen_as_far_as_the_next_norm():
    ones = np.ones(6)
    stats = {"one": wide(2 * MEAN, 4 * VAR), "two": wide(0 * ones, 4 * ones)}
    model = Nnx()
    for name, layer in (("one", model.one), ("two", model.two)):
        for part in ("mean", "var"):
            getattr(layer, part).set_value(jax.numpy.asarray(stats[name][part]))
    for report in (
        diagnose(Linen().apply, {"batch_stats": stats}, BATCHES),
        diagnose(lambda model, x: model(x), model, BATCHES),
    ):
        evidence = {norm.name: [f.evidence.split(", ")[-1] for f in norm.findings] for norm in report.norms}
        assert evidence["one"] == ["a layer of dropout is before it"]
        assert evidence["two"] == ["or other noise that only training has"]


def test_one_channel_does_not_speak_for_all():
    """Of 24 channels one hardly varies and still holds nearly nothing of the start: 0.02 is 200 times its variance."""
    scale = np.where(np.arange(24) == 0, 0.01, 1).astype("float32")
    batches = [np.tile(batch, (1, 4)) * scale for batch in BATCHES]
    mean, var = np.tile(statistics(0)[0], 4) * scale, np.tile(statistics(0)[1], 4) * scale**2
    stats = (0.63 * mean).astype("float32"), np.where(scale < 1, 0.02, 0.37 + 0.63 * var).astype("float32")
    apply, _ = functional(stats)
    ((finding,),) = (norm.findings for norm in diagnose(apply, stats, batches).norms)
    assert finding.code == "BN102"
    np.testing.assert_allclose(finding.numbers["residual"], 0.37, rtol=0.1)


def test_what_is_left_in_one_layer_is_left_in_the_others():
    """Statistics beside a noise that hides what is left of the start, but for a layer that shows it clearly."""
    scale = (1.2 / np.sqrt(VAR)).astype("float32")
    near = [(batch - MEAN.astype("float32")) * scale + np.float32(0.4) for batch in BATCHES]
    noise = 0.1 * np.where(np.arange(6) % 2, 1, -1)
    hidden = (0.63 * 0.4 + noise).astype("float32"), np.full(6, 0.37 + 0.63 * 1.44, "float32")
    apply = lambda stats, x: [normalize(NONE, part, *stats[name]) for name, part in x.items()]  # noqa: E731
    both = [{"clear": a, "hidden": b} for a, b in zip(BATCHES, near, strict=True)]
    report = diagnose(apply, {"clear": statistics(0.37), "hidden": hidden}, both)
    assert {norm.codes for norm in report.norms} == {("BN102",)}
    words = {norm.name: norm.findings[0].evidence for norm in report.norms}
    assert "(fitted)" in words["clear/0"]
    assert "37 % of the initial mean 0 and variance 1 are left (as in another layer)" in words["hidden/0"]
    report = diagnose(apply, {"clear": statistics(0), "hidden": hidden}, both)
    assert report.codes == ("BN106",)
    assert report["clear/0"].codes == ()


def test_what_comes_before_it_in_any_batch_counts():
    def apply(state, batch):
        x = batch["x"]
        if "noisy" in batch:
            x += 0.01 * jax.random.normal(jax.random.key(0), x.shape)
        return one(state, x)

    state = BatchNormState(*statistics(0.0), np.int32(99))
    quiet = [{"x": x} for x in BATCHES]
    assert "BN110" in diagnose(apply, state, [*quiet, {"x": X, "noisy": True}]).codes
    assert "BN110" not in diagnose(apply, state, quiet).codes
