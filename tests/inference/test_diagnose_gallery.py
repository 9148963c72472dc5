"""A gallery of broken nets: each is named by its own code and none of the others, at the layer that is broken."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn.linen
from jaxbn import BatchNormState, batch_norm, init_state
from jaxbn.inference import DIAGNOSES, diagnose
from tests.inference.nets_diagnose import (
    BATCHES,
    NONE,
    TRAINING,
    WEIGHTS,
    Linen,
    X,
    apply,
    at,
    by_hand,
    changed,
    one,
    quick,
    settled,
    slow,
    trained,
)

STOCK, OURS = flax.linen.BatchNorm, jaxbn.linen.BatchNorm
BY_CLASS = np.split(X[np.argsort(X[:, 5])], 20)
BRIGHT = [np.float32(1.5) * batch + np.float32(4) for batch in BATCHES]


def of(variables, batches=BATCHES, call=apply, **options):
    return diagnose(call, variables, batches, **options)


def linen(norm, batches=TRAINING, call=None, step=None, edit=lambda v: v, **options):
    model = Linen(norm, **options)
    run = model.apply if call is None else lambda v, x: call(model, v, x)
    return diagnose(run, edit(trained(model)), batches, step=step)


def unchanged_statistics(variables):
    """As of a training loop that drops the new ones."""
    stats = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    return {**variables, "batch_stats": {n: {**s, "var": jnp.ones_like(s["var"])} for n, s in stats.items()}}


def averaged_weights(variables):
    """Of two nets, with the statistics of one: the other has its units in reverse order."""
    kernel = variables["weights"]["one"]
    return {**variables, "weights": {**variables["weights"], "one": (kernel + kernel[:, ::-1]) / 2}}


def noise_on(model, variables, x):
    return model.apply(variables, x, drop=True, rngs={"dropout": jax.random.key(7)})


def first_layer(x, weight, steps=200, momentum=0.9, **options):
    """One batch norm on data of its own, trained on them; the report."""
    batches = np.split(x.astype("float32"), 10)

    @jax.jit
    def run(batches):
        def step(state, number):
            return batch_norm(NONE, state, batches[number % 10] @ weight, True, momentum=momentum)[1], None

        return jax.lax.scan(step, init_state(weight.shape[1]), jnp.arange(steps))[0]

    state = run(np.stack(batches))
    return of(state, batches, lambda state, x: batch_norm(NONE, state, x @ weight, False, momentum=momentum)[0])


def dead_unit(**edits):
    weights = {**WEIGHTS, "two": np.where(np.arange(5) == 3, 0, WEIGHTS["two"]).astype("float32")}
    return of(changed(settled(weights=weights), "two", **edits))


def constant_unit():
    x = X.copy()
    x[:, 2] = 7
    return first_layer(x, np.eye(6, dtype="float32"))


def nearly_constant_unit():
    return first_layer(X * np.where(np.arange(6) == 1, 1e-4, 1), np.eye(6, dtype="float32"))


def far_from_zero():
    return first_layer(X + np.where(np.arange(6) == 4, 1e4, 0), np.eye(6, dtype="float32"))


def tiny_batches():
    """As it should be but for the size of the batches: a momentum so near to 1 that the noise is small."""
    batches = np.split(X[:640], 80)
    return of(settled(0.99, 2000, batches), batches)


def poisoned_data():
    batches = [batch.copy() for batch in BATCHES]
    batches[4][3, 2] = np.nan
    return of(settled(), batches)


def dropout_by_hand():
    """The variances of training with dropout, in plain functions: no layer of dropout is seen."""
    return of(changed(settled(), "one", var=lambda var: 1.5 * var))


def wider_and_moved():
    """The variances as after dropout, but not the means."""
    variables = settled()
    std = np.sqrt(variables["one"].var)
    return of(changed(variables, "one", mean=lambda mean: mean + 0.17 * std, var=lambda var: 1.5 * var))


WIDE = [np.tile(batch, 11)[:, :64] for batch in BATCHES]


def one_of_64(batches=WIDE, **edits):
    """Right but for channel 5; a function is given its statistic."""
    stacked = np.concatenate(WIDE).astype("float64")
    parts = {"mean": stacked.mean(0), "var": stacked.var(0)}
    for name, edit in edits.items():
        parts[name][5] = edit(parts[name][5])
    state = BatchNormState(*(part.astype("float32") for part in parts.values()), np.int32(9))
    return of(state, batches, one)


def another_unit():
    """One input arrives a hundred times larger."""
    return one_of_64([batch * np.where(np.arange(64) == 5, np.float32(100), 1) for batch in WIDE])


def one_of_64_before_a_norm():
    """What the second norm sees in that channel is spoilt by the first."""
    x = np.concatenate(WIDE)
    right = BatchNormState(x.mean(0), x.var(0), np.int32(9))
    far = right._replace(mean=at(5, 50)(right.mean))
    after = BatchNormState(np.zeros(64, "float32"), np.full(64, 0.97, "float32"), np.int32(9))

    def both(states, x):
        for state in states:
            x = one(state, x)
        return x

    return of([far, after], WIDE, both)


BOTH = ("one", "two")
# A readable id, the layers that are broken, the code, and the diagnosis.
GALLERY = [
    ("never-updated", BOTH, "BN101", lambda: linen(STOCK, edit=unchanged_statistics)),
    ("never-updated-one", ["two"], "BN101", lambda: of(changed(settled(), "two", mean=np.zeros(5), var=np.ones(5)))),
    ("never-updated-0-0", ["two"], "BN101", lambda: of(changed(settled(), "two", mean=np.zeros(5), var=np.zeros(5)))),
    ("count-0", ["one"], "BN101", lambda: of(changed(settled(), "one", mean=np.full(8, 0.1), count=0))),
    ("start-by-count", BOTH, "BN102", lambda: of(settled(0.999, 1000), call=slow)),
    ("start-by-step", BOTH, "BN102", lambda: linen(STOCK, step=300, momentum=0.997)),
    ("start-by-step-ours", BOTH, "BN102", lambda: linen(OURS, step=300, momentum=0.997)),
    ("start-fitted", ["0/0", "1/0"], "BN102", lambda: of(by_hand(0.999, 1000)[1], call=by_hand()[0])),
    ("start-fitted-flax", BOTH, "BN102", lambda: linen(STOCK, momentum=0.999)),
    ("by-class", BOTH, "BN103", lambda: of(settled(), BY_CLASS)),
    ("by-class-in-training", ["one"], "BN103", lambda: of(settled(batches=BY_CLASS), BY_CLASS)),
    ("two-domains", ["one"], "BN103", lambda: of(settled(), BATCHES[:10] + BRIGHT[:10], groups=[0] * 10 + [1] * 10)),
    ("noisy", BOTH, "BN104", lambda: of(settled(0.1), call=quick)),
    ("dropout", ["two"], "BN105", lambda: linen(STOCK, dropout=0.5, momentum=0.98)),
    ("dropout-unseen", ["one"], "BN105", dropout_by_hand),
    ("new-data", ["one"], "BN106", lambda: of(settled(), BRIGHT)),
    ("dimmer-data", ["one"], "BN106", lambda: of(settled(), [0.5 * batch + np.float32(4) for batch in BATCHES])),
    ("wider-and-moved", ["one"], "BN106", wider_and_moved),
    ("new-weights", BOTH, "BN106", lambda: of(averaged_weights(settled()))),
    ("nan", ["one"], "BN107", lambda: of(changed(settled(), "one", mean=at(2, np.nan)))),
    ("infinite", ["one"], "BN107", lambda: of(changed(settled(), "one", var=at(2, np.inf)))),
    ("negative", ["two"], "BN107", lambda: of(changed(settled(), "two", var=at(0, -9.7)))),
    ("huge", ["two"], "BN107", lambda: of(changed(settled(), "two", var=at(0, 1e12)))),
    ("zero-variance", ["batch_norm"], "BN107", lambda: one_of_64(var=lambda var: 0 * var)),
    ("poisoned-data", ["one"], "BN108", poisoned_data),
    ("tiny", BOTH, "BN109", tiny_batches),
    ("dropout-on", ["two"], "BN110", lambda: linen(OURS, dropout=0.1, momentum=0.98, call=noise_on)),
    ("dead", ["two"], "BN111", dead_unit),
    ("died", ["two"], "BN111", lambda: dead_unit(mean=at(3, -2), var=at(3, 90))),
    ("constant", ["batch_norm"], "BN111", constant_unit),
    ("nearly-constant", ["batch_norm"], "BN111", nearly_constant_unit),
    ("far", ["batch_norm"], "BN112", far_from_zero),
    ("bias", BOTH, "BN113", lambda: linen(STOCK, bias=True)),
    ("far-mean", ["batch_norm"], "BN114", lambda: one_of_64(mean=lambda mean: mean + 6)),
    ("small-variance", ["batch_norm"], "BN114", lambda: one_of_64(var=lambda var: 1e-4 * var)),
    ("large-variance", ["batch_norm"], "BN114", lambda: one_of_64(var=lambda var: 1e4 * var)),
    ("another-unit", ["batch_norm"], "BN114", another_unit),
    ("far-mean-before-a-norm", ["0"], "BN114", one_of_64_before_a_norm),
    ("far-mean-of-8", ["one"], "BN114", lambda: of(changed(settled(), "one", mean=at(2, 50)))),
]


# Of each code one is enough where time is short.
QUICK = [
    "never-updated-one",
    "start-by-count",
    "by-class",
    "noisy",
    "dropout-unseen",
    "new-data",
    "nan",
    "poisoned-data",
    "tiny",
    "dropout-on",
    "dead",
    "far",
    "bias",
    "small-variance",
]


@pytest.mark.parametrize(
    ("layers", "code", "make"),
    [pytest.param(*row, id=name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, *row in GALLERY],
)
def test_named_by_its_own_code(layers, code, make):
    report = make()
    found = {norm.name: norm.codes for norm in report.norms if norm.findings}
    assert found == dict.fromkeys(layers, (code,)), str(report)


def test_the_gallery_holds_every_diagnosis():
    assert {row[2] for row in GALLERY} == {row[2] for row in GALLERY if row[0] in QUICK} == DIAGNOSES.keys()
