"""Each net trained, folded and scored; what is known already is kept in a file for each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.hardest import training
from experiments.hardest.compilation import compile_all
from experiments.hardest.training import Carry, Programs, Recipe
from experiments.harness import environment, files
from experiments.harness.lanes import map_lanes
from experiments.harness.placement import place
from experiments.harness.stopwatch import Stopwatch
from experiments.studies.record import images
from experiments.studies.record.nets import Features, separable
from jaxbn.inference import fold

# Where the window begins through which a net looks at an image that has a margin of one pixel: five places, one pixel
# apart. The middle one comes first, which is the image as it is.
LOOKS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))


class Data(NamedTuple):
    """Images and labels, uint8, to learn from and to be scored on.

    Attributes:
        name: of what is scored.
        images: `[n, 28, 28]`.
        labels: `[n]`.
        scored: `[m, 28, 28]`.
        targets: `[m]`.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    scored: np.ndarray
    targets: np.ndarray


class Job(NamedTuple):
    """A net to train.

    Attributes:
        features: output channels of its convolutions.
        seed: of its initial values, and of the order and the copies of the images.
    """

    features: Features
    seed: int


class Trained(NamedTuple):
    """What became of it.

    Attributes:
        parameters: that were learned: kernels, scales and biases. Running statistics are as many as the last two.
        folded: what is left of all of these without the norms.
        accuracy: of the folded net, from the mean of its logits at five looks.
        one_look: the same from the image as it is.
        seconds: of training, beside as many others as there are lanes.
    """

    parameters: int
    folded: int
    accuracy: float
    one_look: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Laboratory:
    """Where nets are trained.

    Attributes:
        data: to learn from and to be scored on.
        recipe: how they learn.
        copies: how many changed copies of every image they see.
        folder: for what is known of nets already.
    """

    data: Data
    recipe: Recipe
    copies: int
    folder: Path

    def run(self, jobs: list[Job], on_trained: Callable[[Job, Trained], None]) -> list[Trained]:
        """Train the nets, as many at once as there are lanes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = sorted({job.features for job in jobs if not self.known(job)})
        programs = {features: self.compile(features) for features in missing}

        def one(job: Job) -> Trained:
            found = self.known(job)
            if not found:
                found = self.train(job, programs[job.features])
                files.write_json(self.file(job), {"settings": self.settings(job), "trained": found._asdict()})
            on_trained(job, found)
            return found

        return map_lanes(one, jobs)

    def compile(self, features: Features) -> Programs:
        """The programs for a net."""
        count, *shape = self.data.images.shape
        shapes = ((1 + self.copies) * count, *shape), self.data.scored.shape
        pictures = [jax.ShapeDtypeStruct(of, jnp.uint8) for of in shapes]
        return compile_all(separable(features), self.recipe, *pictures)

    def train(self, job: Job, programs: Programs) -> Trained:
        """Train one net, fold it, and score it."""
        stopwatch = Stopwatch()
        pictures = place(images.with_copies(self.data.images, self.copies, job.seed))
        labels = place(np.tile(self.data.labels, 1 + self.copies))
        carry = jax.block_until_ready(training.train_once(programs, self.recipe, job.seed, pictures, labels))
        seconds = stopwatch.seconds()
        pieces = training.chunks(place(self.data.scored))
        predict, weights = folded(job.features, carry, training.scaled(pictures[: pieces.shape[1]]))
        told = np.concatenate([predict(weights, piece) for piece in pieces], axis=1)
        five_looks, one_look = np.mean(told == self.data.targets, axis=1).tolist()
        return Trained(size(carry.params), size(weights), five_looks, one_look, seconds)

    def known(self, job: Job) -> Trained | None:
        """What an earlier run, with these settings, found out before it was stopped."""
        kept = files.read_json(self.file(job))
        return Trained(**kept["trained"]) if kept and kept.get("settings") == self.settings(job) else None

    def file(self, job: Job) -> Path:
        """Where that is kept."""
        return self.folder / f"{'-'.join(map(str, job.features))}-{self.data.name}-{job.seed}.json"

    def settings(self, job: Job) -> dict[str, Any]:
        """All that it depends on, as JSON."""
        changes = {name: getattr(images, name) for name in ("TURN", "STRETCH", "SLANT", "MOVE")}
        of_data = {"images": len(self.data.images), "scored": len(self.data.scored), "copies": self.copies}
        recipe = dataclasses.asdict(self.recipe)
        return json.loads(
            json.dumps({**job._asdict(), **of_data, **changes, **recipe, **environment.describe_environment()})
        )


def folded(
    features: Features, carry: Carry, sample: jax.Array
) -> tuple[Callable[[dict[str, jax.Array], Any], jax.Array], dict[str, jax.Array]]:
    """`(weights, images [n, 28, 28]) -> classes [2, n]` of a net without its norms, and the weights.

    The classes are those of all looks together, then those of one.
    """
    net = separable(features)

    def logits(variables: tuple[Any, Any], x: jax.Array) -> jax.Array:
        return net.apply(*variables, x, train=False)[0]

    function, weights, _ = fold(logits, (carry.params, carry.state), sample)

    @jax.jit
    def predict(weights: dict[str, jax.Array], images: jax.Array) -> jax.Array:
        x = training.scaled(images)
        looks = jnp.stack([function(weights, training.shifted(x, start, 1)) for start in LOOKS])
        return jnp.stack([looks.mean(0), looks[0]]).argmax(-1)

    return predict, weights


def size(weights: Any) -> int:
    """How many numbers they are."""
    return sum(leaf.size for leaf in jax.tree.leaves(weights))
