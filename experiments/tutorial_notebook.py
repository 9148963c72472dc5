# ---
# jupyter:
#   source: experiments/tutorial_notebook.py
#   to_make_anew: >-
#     jupytext --to ipynb --update experiments/tutorial_notebook.py --output experiments/tutorial.ipynb &&
#     jupyter nbconvert --execute --inplace --ExecutePreprocessor.record_timing=False experiments/tutorial.ipynb
#   jupytext:
#     formats: ipynb,_notebook.py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Batch normalization, from four formulas to a net that is ready for use
#
# A well-known tutorial explains batch normalization with TensorFlow 1 and MNIST. This notebook tells its story anew in
# JAX, runs it, and corrects what the original has wrong. You need ten minutes, and to know a little JAX.
#
# **To run it yourself**, in a clone of the repository, with Python 3.11 or newer:
#
# ```bash
# python3 -m venv .venv && .venv/bin/pip install -r requirements.txt jupyterlab
# .venv/bin/jupyter lab experiments/tutorial.ipynb
# ```
#
# It takes one to two minutes on 2 CPU cores. MNIST is downloaded once, and kept. Without a network, put its four
# official files into a folder, and name the folder by `JAXBN_MNIST_DIR=...` before you start Jupyter.

# %%
import sys

# The clone, in whose folder `experiments` this notebook lies.
sys.path.insert(0, "..")

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import display

from experiments.harness import compilation, plotting, rolled_loops, seeds, training
from experiments.harness.data import load_kept
from experiments.tutorial import classifier, lessons, nets, runs

rolled_loops.leave_loops_rolled()
compilation.cache_compilations()
# The colours are distinct also without colour vision.
plt.rcParams.update({"axes.prop_cycle": plt.cycler(color=plotting.COLOURS), "figure.dpi": 90})
plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
plt.rcParams["figure.constrained_layout.use"] = True

# %% [markdown]
# The original's numbers of training steps. Smaller ones are quicker, and less like the text.

# %% tags=["parameters"]
DENSE_STEPS, CONV_STEPS, DEEP_STEPS = 10_000, 5_000, 800
SEED = 1
# The step of the surprise in section 6.
READ_AT = 1_000

# %% [markdown]
# ## 1. Preprocessing
#
# Gradient descent is easier when all features have the same centre and the same scale. Three ways to get there, each
# fitted to every feature for itself:
#
# - **Centring** subtracts the mean.
# - **Standardising** also divides by the standard deviation.
# - **Scaling to ±1** uses the smallest and the largest value instead.
#
# A point keeps its colour. The cloud moves and stretches, and no point overtakes another. PCA and whitening, which also
# remove correlations, are on [a page of their own](../docs/preprocessing.md).

# %%
from jaxbn.preprocess import fit_center, fit_min_max, fit_standardize, transform

cloud = np.random.default_rng(0).normal(size=(400, 2)) @ [[1.6, 0.5], [0.0, 0.4]] + [3, 2]
views: dict[str, Any] = {
    "original": cloud,
    "centred": transform(fit_center(cloud), cloud),
    "standardised": transform(fit_standardize(cloud), cloud),
    "scaled to ±1": transform(fit_min_max(cloud), cloud),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), sharex=True, sharey=True)
for ax, (name, points) in zip(axes, views.items(), strict=True):
    ax.scatter(points[:, 0], points[:, 1], s=6, c=cloud[:, 1], cmap="cividis")
    ax.plot(0, 0, "+", color="#D55E00", markersize=14, markeredgewidth=2)
    ax.set(title=name)
plt.show()

# %% [markdown]
# > **Correction.** The original says that standardised data are nearly *normal*. Standardising sets the mean to 0 and
# > the variance to 1, and keeps the shape. This pixel of MNIST is mostly black or white, before and after:

# %%
mnist = load_kept(None)
data = classifier.on_device(*runs.all_examples(mnist))
train_images = np.asarray(mnist.train_images, np.float32) / 255
test_images = np.asarray(mnist.test_images, np.float32) / 255
pixel = train_images[:, 14, 14][:, None]

figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
for ax, values in zip(axes, (pixel, transform(fit_standardize(pixel), pixel)), strict=True):
    ax.hist(np.asarray(values)[:, 0], bins=30)
    ax.set(xlabel="value")
axes[0].set(title="one pixel of all digits", ylabel="digits")
axes[1].set(title="standardised, and not normal")
plt.show()

# %% [markdown]
# ## 2. Batch normalization
#
# The data are preprocessed once. But the layers of a net change with every step, and with them the centre and the
# scale of what they hand on. Batch normalization (2015) standardises *inside* the net: every feature, over the
# examples $x_1, \dots, x_m$ of a batch.
#
# $$\mu = \frac{1}{m} \sum_i x_i \qquad \sigma^2 = \frac{1}{m} \sum_i (x_i - \mu)^2 \qquad
# \hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} \qquad y_i = \gamma \hat{x}_i + \beta$$
#
# The small $\epsilon$ avoids a division by 0. Scale $\gamma$ and bias $\beta$ are trained: the net may choose another
# centre and scale. Four formulas, four lines:


# %%
def simple_batch_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array) -> jax.Array:
    mean = x.mean(0)
    var = ((x - mean) ** 2).mean(0)
    x_hat = (x - mean) / jnp.sqrt(var + 1e-5)
    return gamma * x_hat + beta


x = jnp.arange(15.0).reshape(5, 3)
print(f"before:\n{x}\n\nafter:\n{simple_batch_norm(x, jnp.ones(3), jnp.zeros(3))}")

# %% [markdown]
# Five examples (rows) and three features (columns). The original prints the same, to the last digit. So does the
# library. It also takes a state and returns a new one, see section 3:

# %%
from jaxbn import batch_norm, init_batch_norm

params, state = init_batch_norm(3)
y, new_state = batch_norm(params, state, x, train=True)
print(y)

# %% [markdown]
# > **Correction.** "Each column is now standard normal": it has mean 0 and variance 1, but five equal steps stay five
# > equal steps. "So the next layer gets standard normal input": after $\gamma$, $\beta$ and relu neither mean nor
# > variance is that, and the features still depend on each other.
#
# (Why then does it help? That is still disputed; [the studies](../docs/studies.md) measure what theory says.)
#
# Four lines, so why a library? One reason: far from 0, rounding spoils the mean. These data have mean 1,000,000 and
# standard deviation 1; NumPy in float64 has the truth.

# %%
far = 1e6 + jax.random.normal(jax.random.key(0), (64, 3))
wide = np.asarray(far, np.float64)
truth = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
ours, _ = batch_norm(params, state, far, train=True)
errors = [np.abs(found - truth).max() for found in (simple_batch_norm(far, jnp.ones(3), jnp.zeros(3)), ours)]
print("largest error: {:.1e} by the four lines, {:.1e} by jaxbn".format(*errors))

# %% [markdown]
# What it does to a layer: 50 units of a new dense layer see a batch of 64 digits. A dot is the mean of a unit, its bar
# one standard deviation to each side. (In a convolutional net a feature is a channel: mean and variance are taken over
# the examples *and* the pixels.)

# %%
kernel = nn.initializers.truncated_normal(0.05)(jax.random.key(0), (784, 50))
hidden = jnp.dot(train_images[:64].reshape(64, 784), kernel)
normed, _ = batch_norm(*init_batch_norm(50), hidden, train=True)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
for ax, (name, values) in zip(axes, {"before": hidden, "after": normed}.items(), strict=True):
    ax.errorbar(range(50), values.mean(0), values.std(0), fmt="o", markersize=3)
    ax.set(title=f"{name} batch norm", xlabel="unit")
axes[0].set(ylabel="mean ± std of the batch")
plt.show()

# %% [markdown]
# ## 3. Why evaluation needs running statistics
#
# In training, the output for one example depends on the others in its batch. When the net is used, that must not be:
# the answer for a digit should not depend on its neighbours. A batch of one is the worst case. Two different examples:

# %%
first, _ = batch_norm(params, state, x[:1], train=True)
last, _ = batch_norm(params, state, x[4:], train=True)
print(first, last)

# %% [markdown]
# > **Correction.** The original calls this output random. It is always the same: a single example *is* the mean, so
# > that nothing is left of it, and the output is $\beta$ (here 0) whatever comes in.
#
# So we keep a running mean and a running variance while we train, and use them in evaluation:
#
# `new = momentum * old + (1 - momentum) * batch`
#
# Momentum is the weight of the **old** value, here 0.99. (PyTorch's momentum is the weight of the new one.)

# %%
y, unchanged = batch_norm(params, new_state, x[:1], train=False)
print(f"running mean after one batch: {new_state.mean}\none example, in evaluation: {y[0]}")

# %% [markdown]
# Which momentum? A small one forgets its start at once, but repeats the noise of the last batches. A large one is
# calm, but late. Batches of 64 numbers whose true mean is 1:

# %%
batches = 1 + jax.random.normal(jax.random.key(1), (500, 64, 1))


def running_means(momentum: float) -> jax.Array:
    params, state = init_batch_norm(1)

    def step(state: Any, batch: jax.Array) -> tuple[Any, jax.Array]:
        _, state = batch_norm(params, state, batch, train=True, momentum=momentum)
        return state, state.mean[0]

    return jax.lax.scan(step, state, batches)[1]


figure, ax = plt.subplots(figsize=(8, 3))
for momentum, style in {0.1: "-", 0.99: "--", 0.999: "-."}.items():
    ax.plot(running_means(momentum), style, label=f"momentum {momentum}")
ax.axhline(1, color="black", linewidth=1, label="the truth")
ax.set(title="Small is noisy, large is late", xlabel="batch", ylabel="running mean")
figure.legend(loc="outside right center")
plt.show()

# %% [markdown]
# > **Correction.** The original's own layer has a decay of 0.1 for the old value. It is the usual number the wrong way
# > round: its running statistics are those of little more than the last batch, the noisy line above. (Its running
# > variance also starts at 0 instead of 1. With this decay, that is forgotten after a few steps.)
#
# ## 4. The four runs
#
# A dense net, `784 -> 100 -> relu -> 10`, and a small convolutional one, each with batch norm before its relus, and
# without. All settings are the original's: batches of 64, plain SGD at rate 0.1, the initial values, the numbers of
# steps. Nets and training loop come from `experiments/`. The picture grows while the nets train.


# %%
def draw(ax: Any, measured: Any, title: str) -> None:
    ax.clear()
    for (name, of), style in zip(measured.items(), ("-", "--"), strict=True):
        ax.plot([*of], [1 - metrics["test_acc"] for metrics in of.values()], style, label=name)
    ax.set(title=title, xlabel="training step", ylabel="test error", yscale="log")
    plotting.percent_axis(ax)
    ax.legend()


def train(models: Any, steps: int, message: str, every: int = runs.EVALUATE_EVERY) -> tuple[Any, Any]:
    """Of each net, by the step: what was measured on all test images, and the weights."""
    measured: dict[str, dict[int, Any]] = {name: {} for name in models}
    states: dict[str, dict[int, Any]] = {name: {} for name in models}
    figure, ax = plt.subplots(figsize=(8, 3.2))
    shown = display(figure, display_id=True)

    def keep(name: str, evaluation: training.Evaluation, state: training.TrainState) -> None:
        measured[name][evaluation.step] = evaluation.metrics
        states[name][evaluation.step] = state
        draw(ax, measured, f"{name}: step {evaluation.step:,} of {steps:,}")
        shown.update(figure)

    for name, model in models.items():
        problem = classifier.classification(model, optax.sgd(runs.LEARNING_RATE))
        training.train(
            problem,
            training.init_state(problem, [SEED]),
            data,
            lessons.training_batches([SEED]),
            steps=steps,
            evaluate_every=every,
            evaluate=lessons.make_evaluate(model, [SEED], steps, data),
            on_evaluation=functools.partial(keep, name),
        )
    draw(ax, measured, message)
    shown.update(figure)
    plt.close(figure)
    return measured, states


# %%
MODELS = {name: run.model for name, run in runs.RUNS.items()}
both = {name: MODELS[name] for name in ("mlp-bn", "mlp")}
dense, dense_states = train(both, DENSE_STEPS, "Dense: batch norm is ahead at first, not in the end")

# %%
both = {name: MODELS[name] for name in ("conv-bn", "conv")}
conv, conv_states = train(both, CONV_STEPS, "Convolutional: a bad start, and a good end")

# %% [markdown]
# In the end, beside what the original printed:

# %%
PRINTED = {"mlp-bn": "0.9853  -", "mlp": "0.9861  -", "conv-bn": "0.9895  0.9868", "conv": "0.9870  0.9849"}
lines = ["accuracy  here            the original", "          train   test    train   test"]
for name, of in {**dense, **conv}.items():
    train_acc, test_acc = (of[max(of)][key].item() for key in ("train_acc", "test_acc"))
    lines.append(f"{name:8}  {train_acc:.4f}  {test_acc:.4f}  {PRINTED[name]}")
print("\n".join(lines))

# %% [markdown]
# > **Correction.** The original's evaluation of "all samples" shuffles anew where an epoch ends: some digits count
# > twice, others never. Here each counts once.
# >
# > **Correction.** "With batch norm it converges faster" was read off single batches of 64 test images. Here are such
# > readings of our two dense nets, and all 10,000 images:

# %%
figure, ax = plt.subplots(figsize=(8, 3.2))
for (name, of), dot, line, colour in zip(dense.items(), "ox", ("-", "--"), plotting.COLOURS[:2], strict=True):
    read, exact = ([m[key].item() for m in of.values()] for key in ("test_batch_acc", "test_acc"))
    ax.plot([*of], read, dot, color=colour, label=f"{name}, 64 images")
    ax.plot([*of], exact, line, color=colour, label=f"{name}, all")
ax.set(title="64 images are too few to compare nets", xlabel="training step", ylabel="test accuracy")
figure.legend(loc="outside right center")
plt.show()

# %% [markdown]
# One seed is not enough either. [Ten seeds](../docs/tutorial.md), compared pair by pair: in the dense net batch norm
# gains 1.4 points at step 500, and *loses* 0.3 in the end. In the convolutional net it gains 0.1 to 0.2 points in the
# end. The original has 0.19 there, from one run each, which is about one standard error.
#
# > **Correction.** The original draws the first $\gamma$ and $\beta$ of its dense net from N(0, 1). Where $\beta$ is
# > far below 0 and $\gamma$ small, relu never lets a digit through, and the unit is lost at the start. Begin with
# > $\gamma = 1$ and $\beta = 0$.

# %%
model = MODELS["mlp-bn"]
# Flax then also returns what every layer puts out.
watched: Any = {"train": True, "mutable": True, "capture_intermediates": True}


def active(key: jax.Array) -> jax.Array:
    """How often each unit of a new net is active, on 1,000 digits."""
    variables = model.init(key, train_images[:1], train=False)
    _, kept = model.apply(variables, train_images[:1000], **watched)
    return (kept["intermediates"]["BatchNorm_0"]["__call__"][0] > 0).mean(0)


often = jax.lax.map(active, jax.random.split(jax.random.key(SEED), 20))
never, always = (often == 0).mean(), (often == 1).mean()
print(f"of {often.size:,} new units, {never:.1%} are never active, {always:.1%} always")

# %% [markdown]
# ## 5. What the running statistics became
#
# The original prints ten running means after training, and notes that they have changed. But are they right? The truth
# is the mean over all training images, with the weights as they are in the end. `recalibrate` computes it.

# %%
from jaxbn.inference import diagnose, recalibrate


def variables_of(state: training.TrainState) -> dict[str, Any]:
    (one,) = seeds.unstack(state)
    return {"params": one.params, **one.extras}


def apply_dense(variables: Any, images: Any) -> Any:
    return MODELS["mlp-bn"].apply(variables, images, train=False)


trained = variables_of(dense_states["mlp-bn"][DENSE_STEPS])
population = recalibrate(apply_dense, trained, train_images[runs.VALIDATION :])[0]
running, exact = (of["batch_stats"]["BatchNorm_0"] for of in (trained, population))
print(f"running mean: {np.round(running['mean'][:6], 3)}\nthe truth:    {np.round(exact['mean'][:6], 3)}")

figure, ax = plt.subplots(figsize=(4.2, 3.6))
ax.plot(exact["mean"] / np.sqrt(exact["var"]), running["mean"] / np.sqrt(exact["var"]), "o", alpha=0.6)
ax.axline((0, 0), slope=1, color="black", linewidth=1)
ax.set(title="100 units: right, but noisy", xlabel="true mean / std", ylabel="running mean / std")
plt.show()

# %% [markdown]
# `diagnose` finds such troubles by itself. It takes your own call of the model, and some batches as in training:

# %%
batches_of_64 = np.array_split(train_images[:1024], 16)
print(diagnose(apply_dense, trained, batches_of_64))

# %% [markdown]
# > **Correction.** `BN104` is the decay of 0.1 again. `BN113` is another slip: the dense layer before batch norm has a
# > bias. It goes away with the mean, so that its gradient is 0, and it never learns. Leave it out; $\beta$ does its
# > work.
#
# ## 6. The surprise at step 1,000
#
# For its convolutional net the original takes the batch norm of `slim`. At step 1,000 it prints a test accuracy of
# 0.58, where the net without batch norm has 0.95, and says nothing about it. What happened? Our run, once with the
# running statistics, and once with those of each test batch:

# %%
of = conv["conv-bn"]
figure, ax = plt.subplots(figsize=(8, 3.2))
ax.plot([*of], [m["test_acc"] for m in of.values()], label="running statistics")
ax.plot([*of], [m["test_batch_stats_acc"] for m in of.values()], "--", label="batch statistics")
ax.plot([1000, 2000, 3000], [0.578, 0.891, 0.984], "kx", label="the original, 64 images")
ax.set(title="The net is good, its running statistics are late", xlabel="training step", ylabel="test accuracy")
figure.legend(loc="outside right center")
plt.show()

# %% [markdown]
# `slim` has a decay of 0.999. After 1,000 steps, $0.999^{1000}$ = 37 % of the running statistics are still their
# start, mean 0 and variance 1. `diagnose` sees it:

# %%
# The net in the layout that most people use. On a CPU it trains in a faster one.
conv_bn = nets.ConvNet(runs.SLIM_NORM, form=nets.CHANNELS_LAST)


def apply_conv(variables: Any, images: Any) -> Any:
    return conv_bn.apply(variables, images, train=False)


early = variables_of(conv_states["conv-bn"][READ_AT])
print(diagnose(apply_conv, early, batches_of_64, step=READ_AT))

# %% [markdown]
# `recalibrate` mends it, with a thousand images and no training:


# %%
def accuracy(apply: Any, variables: Any) -> float:
    return float((jax.jit(apply)(variables, test_images).argmax(-1) == mnist.test_labels).mean())


mended, moved = recalibrate(apply_conv, early, batches_of_64)
before, after = accuracy(apply_conv, early), accuracy(apply_conv, mended)
print(moved, f"\n\ntest accuracy at step {READ_AT:,}: {before:.4f} as it was, {after:.4f} recalibrated")

# %% [markdown]
# How bad it is depends on the seed: [20 seeds](../docs/inference.md) have 0.914 ± 0.045 at step 1,000, and
# 0.980 ± 0.002 when they are recalibrated. The original's 0.58, on 64 images, lies below the lowest of them, 0.815.
#
# In your own training, take a momentum of 0.99 or 0.9, or let the average warm up:
# `batch_norm(..., averaging="warmup")`.
#
# ## 7. Ready for use: fold
#
# In evaluation the statistics are fixed, and batch norm is one product and one sum for each feature. Both can go into
# the weights of the layer before. `fold` does that for a whole net, and compares the outputs on a sample:

# %%
from jaxbn.inference import fold

final = variables_of(conv_states["conv-bn"][CONV_STEPS])
folded, weights, report = fold(apply_conv, final, test_images[:64])
before, after = accuracy(apply_conv, final), accuracy(folded, weights)
print(f"{report}\n\ntest accuracy: {before:.4f} with batch norm, {after:.4f} folded")

# %% [markdown]
# The same answers, without batch norm. On a CPU this small net becomes 1.1 to 1.4 times as fast, a large one
# [hardly faster](../docs/inference.md).
#
# ## 8. A deep net that trains only with batch norm
#
# The original ends with a claim: deeper nets converge fast with batch norm. It shows no such net. Here is one: ten
# hidden layers of 100 units, all kernels drawn from N(0, 0.05). Each layer and its relu hand on
# $\sqrt{100 \cdot 0.05^2 / 2}$ = 0.354 of what they get. Ten layers leave nothing of the image:

# %%
from jaxbn.linen import BatchNorm

kernels = nn.initializers.normal(0.05)
DEEP = {
    "with batch norm": nets.Deep(10, functools.partial(BatchNorm, momentum=0.9), kernel_init=kernels),
    "without": nets.Deep(10, kernel_init=kernels),
}

figure, ax = plt.subplots(figsize=(8, 3))
for (name, net), style in zip(DEEP.items(), ("o-", "s--"), strict=True):
    start = net.init(jax.random.key(SEED), train_images[:1], train=False)
    _, kept = net.apply(start, train_images[:1000], **watched)
    layer = "Dense" if net.norm is None else "BatchNorm"
    inputs = [kept["intermediates"][f"{layer}_{number}"]["__call__"][0] for number in range(10)]
    ax.plot(range(1, 11), [(of**2).mean() ** 0.5 for of in inputs], style, label=name)
ax.set(title="Without batch norm the signal is lost", xlabel="hidden layer", xticks=range(1, 11))
ax.set(ylabel="input of its relu, rms", yscale="log")
ax.legend()
plt.show()

# %%
message = "Ten layers: only the net with batch norm learns"
deep = train(DEEP, DEEP_STEPS, message, every=DEEP_STEPS // 8)[0]
reached = [of[DEEP_STEPS]["test_acc"].item() for of in deep.values()]
print("test accuracy: {:.4f} with batch norm, {:.4f} without".format(*reached))

# %% [markdown]
# > **Correction.** That deep nets need batch norm is half of the truth. With initial values made for relu (He's), nets
# > of up to 16 layers train without it too, and end 0.9 to 1.6 points below. At 32 layers the net *without* was ahead
# > after 1,000 steps ([depth](../docs/tutorial.md)). Batch norm spares you much care for initial values and learning
# > rates; it does not carry you to any depth.
#
# ## Where to go on
#
# - [Flax, PyTorch, Keras, Haiku, Equinox](../docs/migrate.md): batch norm in your own model, and a whole training step.
# - [From training to inference](../docs/inference.md): more of `diagnose`, `recalibrate` and `fold`.
# - [Small batches](../docs/small-batches.md), batches that are not random, several devices: which norm.
# - [The four runs with ten seeds](../docs/tutorial.md), and [the studies](../docs/studies.md) of what theory says.
