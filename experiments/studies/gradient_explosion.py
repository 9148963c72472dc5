"""Do gradients explode in a net with batch norm?

Takes 2 minutes on 2 cores; docs/studies.md has the results. For example:
    python -m experiments.studies.gradient_explosion --seeds 8 --out results/try

In a random net of dense layers without biases, each followed by batch norm and an activation, gradients grow from the
last layer to the first: their squared norm by a factor R(B) a layer, which for wide nets depends on the size B of the
batch and the activation alone. With c = -1/(B - 1), to which the cosines of the normalised values converge, and J, what
the activation makes of a cosine, with J(1) = 1:

    R(B) = ((B - 1) + J'(c)) / ((B - 3) (1 - J(c))) - 1 / (B - 3).

For ReLU, `J(c) = (sqrt(1 - c**2) + (pi - arccos(c)) c) / pi`: 1.788 at B = 8, 1.473 at B = 256, towards
pi / (pi - 1) = 1.467. Without an activation, J(c) = c, it is (B - 2) / (B - 3): 1.2 at B = 8, towards 1. So it is
batch norm with ReLU that explodes at every batch size. At B = 4 and 5 the factor of a layer has no variance, and does
not settle in any number of nets. The last layers are left out of the fit, for they see a gradient that no norm has
projected, and so are the first, where the cosines have not yet converged.

Source: Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz, "A mean field theory of batch normalization", ICLR 2019,
theorem 8. Expected: within 1 % of R(B), and falling with B. Writes `summary.md`, `summary.json` and
`gradient_explosion.png`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from experiments.harness import compilation, plotting, program, study
from experiments.harness.progress import progress
from jaxbn import batch_norm, init_batch_norm

STUDY = study.Study(
    "gradient_explosion",
    "The squared norm of the gradient grows by a known factor R(B) per layer of a random net with batch norm",
    "Yang et al. 2019, theorem 8; without an activation derived",
    2,
)
WIDTH, LAYERS = 1_000, 20
# Of the layers, counted from 1.
FITTED = (5, 16)
BATCHES = (8, 16, 32, 64, 128, 256)
JUDGED = (8, 16, 64, 256)
RELU, LINEAR = "ReLU", "linear"
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {RELU: jax.nn.relu, LINEAR: lambda z: z}


@dataclasses.dataclass(frozen=True)
class Config(study.Config):
    """The command line."""

    seeds: int = 32
    out: Path = Path("results/studies/gradient_explosion")


def main(args: list[str] | None = None) -> int:
    """Run the study, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Measure and report."""
    cfg.check()
    norms = {name: np.empty((len(BATCHES), cfg.seeds, LAYERS)) for name in ACTIVATIONS}
    with progress(console, STUDY.name, len(ACTIVATIONS) * len(BATCHES) * cfg.seeds) as on_progress:
        done = 0
        for name, of_name in norms.items():
            for (i, k), _ in np.ndenumerate(of_name[..., 0]):
                of_name[i, k] = squared_norms(cfg.all_seeds()[k], name, BATCHES[i], WIDTH, LAYERS)
                done += 1
                on_progress(done)
    growth = {name: factors(of_name, *FITTED) for name, of_name in norms.items()}
    figure = draw(norms[RELU], growth)
    study.report(STUDY, cfg, judge(growth), figure, console, measured={"batches": BATCHES, "growth": growth})


@partial(jax.jit, static_argnames=("activation", "batch", "width", "layers"))
def squared_norms(seed: int, activation: str, batch: int, width: int, layers: int) -> jax.Array:
    """`[layers]`: the squared norm of the gradient with respect to each layer's values before its norm."""
    params, state = init_batch_norm(width)
    of_input, of_output, of_layers = jax.random.split(jax.random.key(seed), 3)

    def layer(h: jax.Array, own: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        key, shift = own
        z = h @ jax.random.normal(key, (width, width)) / jnp.sqrt(width) + shift
        return ACTIVATIONS[activation](batch_norm(params, state, z, train=True, epsilon=0)[0]), None

    def loss(shifts: jax.Array) -> jax.Array:
        h, _ = jax.lax.scan(layer, x, (jax.random.split(of_layers, layers), shifts))
        return jnp.vdot(jax.random.normal(of_output, h.shape), h)

    x = jax.random.normal(of_input, (batch, width))
    return (jax.grad(loss)(jnp.zeros((layers, batch, width))) ** 2).sum((1, 2))


def factors(norms: np.ndarray, first: int, last: int) -> np.ndarray:
    """How the norms `[..., layers]` grow per layer from the last to the first of these: a fit to their logarithms."""
    fitted = np.log(norms[..., first - 1 : last])
    places = np.arange(first, last + 1) - (first + last) / 2
    return np.exp(-(fitted @ places) / (places @ places))


def predicted(activation: str, batch: Any) -> Any:
    """R(B)."""
    c = -1 / (batch - 1)
    angle = np.pi - np.arccos(c)
    j, slope = ((np.sqrt(1 - c**2) + angle * c) / np.pi, angle / np.pi) if activation == RELU else (c, 1)
    return (batch - 1 + slope) / ((batch - 3) * (1 - j)) - 1 / (batch - 3)


def judge(growth: dict[str, np.ndarray]) -> list[study.Verdict]:
    """What was predicted beside what was measured, `[batches, seeds]`."""
    verdicts = [
        study.near(
            f"growth per layer, {name}, batch of {batch}",
            of_name[BATCHES.index(batch)],
            predicted(name, batch),
            percent=1,
        )
        for name, of_name in growth.items()
        for batch in JUDGED
    ]
    falls = -np.diff(growth[RELU].mean(1))
    return [*verdicts, study.at_least("fall from one batch size to the next, least, ReLU", falls.min(), 0, digits=4)]


def draw(norms: np.ndarray, growth: dict[str, np.ndarray]) -> Any:
    """The squared norm by layer, and its growth by batch size, with the predictions."""
    figure, (by_layer, by_batch) = plotting.new_figure(2)
    layers = np.arange(1, LAYERS + 1)
    for batch, colour in zip(JUDGED, plotting.COLOURS, strict=False):
        # In units of the last layer that is fitted.
        of_batch = norms[BATCHES.index(batch)] / norms[BATCHES.index(batch)][:, FITTED[1] - 1 : FITTED[1]]
        by_layer.plot(layers, predicted(RELU, batch) ** (FITTED[1] - layers), "k--", linewidth=1)
        plotting.band(by_layer, layers.tolist(), [*of_batch.T], label=f"batch of {batch}", colour=colour)
    by_layer.plot([], "k--", linewidth=1, label="R(B) per layer")
    by_layer.axvspan(*FITTED, color="black", alpha=0.05, linewidth=0)
    by_layer.set(title="ReLU: gradients explode towards the first layer", yscale="log", xticks=layers[4::5])
    by_layer.set(xlabel="layer (shaded: fitted)", ylabel=f"squared gradient norm / that of layer {FITTED[1]}")
    by_layer.legend()
    sizes = np.geomspace(BATCHES[0], BATCHES[-1], 200)
    for name, of_name in growth.items():
        colour = plotting.COLOURS[0 if name == RELU else 4]
        by_batch.plot(sizes, predicted(name, sizes), "k--", linewidth=1)
        plotting.band(by_batch, BATCHES, [*of_name], label=f"{name}, mean and range of nets", colour=colour)
    by_batch.plot([], "k--", linewidth=1, label="R(B)")
    by_batch.axhline(np.pi / (np.pi - 1), color="black", linestyle=":", linewidth=1, label="pi / (pi - 1)")
    by_batch.set(title="The smaller the batch, the faster", xscale="log", xlabel="batch size B, samples")
    by_batch.set_xticks(BATCHES, map(str, BATCHES), minor=False)
    by_batch.minorticks_off()
    by_batch.set(ylabel="growth of the squared norm per layer", ylim=(0.95, None))
    by_batch.legend()
    return figure


if __name__ == "__main__":
    compilation.cache_compilations()
    program.leave(main())
