"""Of transforms that are fitted to data."""

import numpy as np

from jaxbn.preprocess import fit_center, fit_min_max, fit_pca, fit_standardize, fit_whiten, inverse_transform, transform
from tests.bad_calls.calls import IMAGES, ONES, STATE, X, Z


def fit(how, x=X, **kwargs):
    return lambda: how(x, **kwargs)


def applied(x, how=transform, **kwargs):
    return lambda: how(fit_pca(X, **kwargs), x)


# A readable id, the call, the error, and words that it must say.
ROWS = [
    (
        "fit-object",
        fit(fit_center, object()),
        TypeError,
        "`x` must be an array, got object; convert it with jnp.asarray",
    ),
    ("fit-none", fit(fit_center, None), TypeError, "`x` must be an array, got NoneType; convert it"),
    ("fit-int", fit(fit_pca, X.astype(int)), TypeError, "`x` must be floating or complex, got int32; .*astype"),
    ("fit-int-batch", fit(fit_min_max, [X, X.astype("int8")]), TypeError, "`x` must be floating or complex, got int8"),
    ("fit-scalar", fit(fit_center, [1.0, 2.0]), ValueError, "`x` must have a feature axis, got a scalar"),
    ("fit-axis", fit(fit_whiten, axis=2), ValueError, r"`axis` must lie in \[-2, 2\) for `x` .*, got 2"),
    ("nan-policy", fit(fit_center, nan_policy="ignore"), ValueError, "`nan_policy` .* 'raise', 'omit', got 'ignore'"),
    ("nan-policy-pca", fit(fit_pca, nan_policy=None), ValueError, "`nan_policy` .* 'raise', 'omit', got None"),
    ("kind", fit(fit_whiten, kind="ZCA"), ValueError, "`kind` must be one of 'pca', 'zca', got 'ZCA'"),
    ("standardize-ddof", fit(fit_standardize, ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("pca-ddof", fit(fit_pca, ddof=True), ValueError, "`ddof` must be one of 0, 1, got True"),
    ("whiten-epsilon", fit(fit_whiten, epsilon=-1.0), ValueError, "`epsilon` must be finite and at least 0, got -1.0"),
    ("range-equal", fit(fit_min_max, low=1), ValueError, "`low` must be less than `high` and both finite, got 1 and 1"),
    ("range-inf", fit(fit_min_max, high=float("inf")), ValueError, "`low` must .* both finite, got -1.0 and inf"),
    ("range-nan", fit(fit_min_max, low=float("nan")), ValueError, "`low` must be .* both finite, got nan and 1.0"),
    ("range-text", fit(fit_min_max, low="0"), TypeError, "`low` must be a real number, got '0'"),
    ("range-shape", fit(fit_min_max, high=ONES), ValueError, r"`high` must be a scalar, got the shape \(3,\)"),
    ("min-max-complex", fit(fit_min_max, Z), TypeError, "`x` must be real here, got complex64; take its real and"),
    ("pca-complex", fit(fit_pca, [X, Z]), TypeError, "`x` must be real here, got complex64; take its real and imagin"),
    ("components-0", fit(fit_pca, components=0), ValueError, "`components` .* 1 and the 3 features of `x`, got 0"),
    ("components-4", fit(fit_whiten, components=4), ValueError, "`components` .* 1 and the 3 features of `x`, got 4"),
    ("components-float", fit(fit_pca, components=0.95), TypeError, "`components` must be an int or None, got 0.95"),
    ("fit-mask-shape", fit(fit_center, mask=X[:4] > 0), ValueError, "`mask` must broadcast to `x`"),
    (
        "pca-mask",
        fit(fit_pca, mask=X > 0),
        ValueError,
        r"`mask` must hold one weight per example here, got the shape \(5, 3\); .* feature axes \(1,\)",
    ),
    (
        "masks-array",
        fit(fit_center, [X, X], mask=np.ones([5, 1], bool)),
        TypeError,
        "`mask` must be an iterable like `x`, got ndarray; give one mask per batch",
    ),
    ("masks-bool", fit(fit_pca, [X, X], mask=True), TypeError, "`mask` must be an iterable like `x`, got bool"),
    (
        "masks-few",
        fit(fit_center, [X, X], mask=[X > 0]),
        ValueError,
        "`mask` must yield .* got more batches; make them",
    ),
    (
        "masks-many",
        fit(fit_center, [X], mask=[X > 0] * 2),
        ValueError,
        "`mask` must yield .* got more masks; make them",
    ),
    ("no-feature", fit(fit_pca, X[:, :0]), ValueError, r"`x` must have at least one feature .*, got .* \(0,\)"),
    ("no-batch", fit(fit_min_max, iter([])), ValueError, "`x` must yield at least one batch, got none; an iterator"),
    (
        "other-features",
        fit(fit_pca, [X, X[:, :2]]),
        ValueError,
        r"`x` must yield batches with the same features, got \(2,\) after \(3,\); check `axis`",
    ),
    (
        "fit-nan",
        fit(fit_standardize, X.at[1:, 2].set(np.nan)),
        ValueError,
        r"`x` must be finite, .* feature \(2,\), one of 1 such; a mask .*, nan_policy='omit' leaves out NaN",
    ),
    ("fit-nan-range", fit(fit_min_max, [X, X / 0 * 0]), ValueError, r"`x` must be finite, .* \(0,\), one of 3 such"),
    ("fit-nan-pca", fit(fit_whiten, X.at[1, 1].set(np.nan)), ValueError, r"`x` must be finite, .* feature \(1,\)"),
    ("fit-inf", fit(fit_center, X.at[1, 1].set(-np.inf)), ValueError, r"`x` must be finite, .* feature \(1,\)"),
    ("fit-inf-range", fit(fit_min_max, X.at[1, 1].set(np.inf)), ValueError, r"`x` must be finite, .* feature \(1,\)"),
    (
        "fit-inf-omit",
        fit(fit_pca, X.at[1, 0].set(np.inf), nan_policy="omit"),
        ValueError,
        r"`x` must be finite, .* feature \(0,\), one of 1 such; a mask leaves values out\.$",
    ),
    (
        "fit-huge",
        fit(fit_standardize, X.at[1].set(1e30)),
        ValueError,
        "`x` must be finite, and small enough to be squa",
    ),
    (
        "transform-real",
        lambda: transform(fit_center(Z), X),
        TypeError,
        r"`x` must be complex for a transform that was fitted to complex data, got float32; convert it, .*complex64",
    ),
    ("no-transform", lambda: transform(STATE, X), TypeError, "`t` must be a fitted transform, got BatchNormState; see"),
    ("no-inverse", lambda: inverse_transform(fit_pca, X), TypeError, "`t` must be a fitted transform, got function"),
    ("transform-int", applied(X.astype(int)), TypeError, "`x` must be floating or complex, got int32; .*x.astype"),
    ("inverse-int", applied(X > 0, inverse_transform), TypeError, "`y` must be floating or complex, got bool; .*y.ast"),
    ("inverse-text", applied("y", inverse_transform), TypeError, "`y` must be an array, got str; convert it"),
    ("inverse-scalar", applied(1.0, inverse_transform), ValueError, "`y` must have a feature axis, got a scalar"),
    (
        "transform-features",
        applied(X[:, :2]),
        ValueError,
        r"`x` must have the features \(3,\) that the transform was fitted to, got \(2,\); check its shape",
    ),
    ("inverse-components", applied(X, inverse_transform, components=2), ValueError, r"`y` must .* \(2,\) .*got \(3,\)"),
    (
        "scale-features",
        lambda: inverse_transform(fit_center(IMAGES, axis=(1, 3)), IMAGES[:, :3]),
        ValueError,
        r"`y` must have the features \(4, 3\) that the transform was fitted to, got \(3, 3\)",
    ),
]
