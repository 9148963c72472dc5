"""A norm goes into the linear operation beside it, of whatever kind and layout."""

import jax.numpy as jnp
import pytest

from tests.inference.nets_fold import X, conv, folded, norm, norm_variables, numbers, primitives

CONVS = {
    "plain": ((3, 3, 4, 6), {"padding": "SAME"}),
    "strided": ((3, 3, 4, 6), {"padding": "SAME", "window_strides": (2, 3)}),
    "dilated": ((3, 3, 4, 6), {"padding": "VALID", "rhs_dilation": (2, 2)}),
    "grouped": ((3, 3, 2, 6), {"padding": "SAME", "feature_group_count": 2}),
    "depthwise": ((3, 3, 1, 8), {"padding": "SAME", "feature_group_count": 4}),
    "transposed": ((3, 3, 4, 6), {"padding": ((2, 2), (1, 2)), "lhs_dilation": (2, 2)}),
    "depthwise-transposed": (
        (3, 3, 1, 4),
        {"padding": ((0, 0), (0, 0)), "lhs_dilation": (2, 2), "feature_group_count": 4},
    ),
    "batch-grouped": ((3, 3, 4, 6), {"padding": "SAME", "batch_group_count": 2}),
}


@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_into_the_convolution_before(kind, bias):
    shape, options = CONVS[kind]
    variables = {"conv": {"kernel": numbers(*shape)}, "norm": norm_variables(shape[-1])}
    if bias:
        variables["conv"]["bias"] = numbers(shape[-1], seed=2)

    def f(v, x):
        y = conv(x, v["conv"]["kernel"], **options)
        return jnp.tanh(norm(v["norm"], y + v["conv"]["bias"].reshape(1, 1, 1, -1) if bias else y))

    _, weights, report = folded(f, variables, X, into=1)
    assert sorted(weights) == ["conv/bias", "conv/kernel"]
    assert report.norms[0].name == "norm"
    assert set(report.norms[0].variables) == {"norm/scale", "norm/bias", "norm/mean", "norm/var"}
    assert report.norms[0].into == f"conv conv/kernel {'x'.join(map(str, shape))}"


@pytest.mark.parametrize("kind", ["plain", "strided", "dilated", "grouped", "depthwise"])
def test_into_the_convolution_after(kind):
    shape, options = CONVS[kind]
    options = {**options, "padding": "VALID"}
    variables = {"conv": {"kernel": numbers(*shape)}, "norm": norm_variables(4)}
    _, weights, report = folded(
        lambda v, x: conv(norm(v["norm"], x), v["conv"]["kernel"], **options), variables, X, into=1
    )
    assert sorted(weights) == ["conv/bias", "conv/kernel"]
    assert report.norms[0].into.startswith("conv conv/kernel")


@pytest.mark.parametrize("options", [{"padding": "SAME"}, {"padding": ((0, 0),) * 2, "lhs_dilation": (2, 2)}])
def test_a_shift_does_not_meet_padding(options):
    variables = {"conv": {"kernel": numbers(3, 3, 4, 6)}, "norm": norm_variables(4)}

    def f(v, x):
        return conv(norm(v["norm"], x), v["conv"]["kernel"], **options)

    _, _, report = folded(f, variables, X, into=0, kept=1)
    assert report.norms[0].kept == (
        "after the input, before conv conv/kernel 3x3x4x6, which pads with zeros that its shift must not meet"
    )


def test_a_product_may_meet_padding():
    variables = {"kernel": numbers(3, 3, 4, 6), "gamma": numbers(4, seed=2)}

    def f(v, x):
        return conv(x * v["gamma"].reshape(1, 1, 1, 4), v["kernel"])

    function, weights, _ = folded(f, variables, X, into=1)
    assert primitives(function, weights, X) == ["conv_general_dilated"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "axis"), [(("NCHW", "OIHW", "NCHW"), 1), (("NHWC", "OHWI", "CNHW"), 0), (("CHWN", "IHWO", "NHWC"), -1)]
)
def test_any_layout(layout, axis):
    shapes = {"N": 2, "H": 9, "W": 9, "C": 4, "I": 4, "O": 6}
    x = numbers(*(shapes[d] for d in layout[0]))
    kernel = numbers(*({**shapes, "H": 3, "W": 3}[d] for d in layout[1]))
    variables = {"kernel": kernel, "before": norm_variables(4), "norm": norm_variables(6, seed=3)}

    def f(v, x):
        x = norm(v["before"], x, axis=layout[0].index("C"))
        return norm(v["norm"], conv(x, v["kernel"], padding="VALID", layout=layout), axis=axis)

    function, weights, _ = folded(f, variables, x, into=2)
    assert sorted(primitives(function, weights, x)) == ["add", "conv_general_dilated", "reshape"]


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [1, 3])
def test_other_numbers_of_axes(ndim):
    x = numbers(2, *[7] * ndim, 4)
    variables = {"kernel": numbers(*[3] * ndim, 4, 5), "norm": norm_variables(5)}
    letters = "DHW"[-ndim:]
    layout = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def f(v, x):
        return norm(v["norm"], conv(x, v["kernel"], window_strides=(1,) * ndim, layout=layout))

    folded(f, variables, x, into=1)


PRODUCTS = {
    "dense": ("ni,io->no", (3, 4), (4, 5)),
    "kernel-first": ("io,ni->on", (4, 5), (3, 4)),
    "transposed-kernel": ("ni,oi->no", (3, 4), (5, 4)),
    "heads": ("nti,hid->nhtd", (2, 3, 4), (5, 4, 6)),
    "batched": ("bni,bio->bno", (2, 3, 4), (2, 4, 5)),
    "two-contracted": ("nhd,hdo->no", (3, 2, 4), (2, 4, 5)),
    "vector": ("ni,i->n", (3, 4), (4,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRODUCTS)
def test_into_any_matrix_product(name):
    formula, left, right = PRODUCTS[name]
    inputs, output = formula.split("->")
    spec_left, spec_right = inputs.split(",")
    data_first = "n" in spec_left
    data_spec, kernel_spec = (spec_left, spec_right) if data_first else (spec_right, spec_left)
    x, kernel = numbers(*(left if data_first else right)), numbers(*(right if data_first else left), seed=2)

    def beside(spec, seed):
        sizes = dict(zip(kernel_spec, kernel.shape, strict=True))
        return numbers(*(sizes.get(letter, 1) for letter in spec), seed=seed)

    variables = {"kernel": kernel}
    for number, spec in enumerate([data_spec, data_spec, output, output]):
        variables[f"v{number}"] = beside(spec, seed=number + 3)

    def f(v, x):
        x = x * v["v0"] + v["v1"]
        y = jnp.einsum(formula, *((x, v["kernel"]) if data_first else (v["kernel"], x)))
        return y * v["v2"] - v["v3"]

    function, weights, _ = folded(f, variables, x, into=2)
    assert set(primitives(function, weights, x)) <= {"dot_general", "add", "reshape", "transpose", "broadcast_in_dim"}
    assert len(weights) == 2
