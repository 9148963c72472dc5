"""Why running statistics are not those of the data: a decision list, of which the first that applies is named."""

from __future__ import annotations

import numpy as np

from jaxbn.inference._diagnosis.channels import ERRORS, GAP, Channels
from jaxbn.inference._diagnosis.finding import Finding, found
from jaxbn.inference._population.nested import DROPOUT

# Of the variance, what lies between batches that differ by more than their samples.
BETWEEN = 0.1
# With the residual of the start known, what may be left of the gap; and with it fitted.
LEFT, LEFT_FITTED = 0.7, 0.5
# A fitted residual below this is not told from noise.
FITTED = 0.02
# Of the channels, what is few beside the others.
FEW = 0.25


def cause(channels: Channels, residual: float | None = None) -> Finding | None:
    """The first that applies of `BN101` to `BN106` and `BN114`.

    Args:
        channels: of a layer.
        residual: what is left of the start in another layer, if that is known.
    """
    if finding := _never_updated(channels) or _start_not_forgotten(channels, residual):
        return finding
    rules = (_not_alike, _few_far, _too_noisy, _dropout, _old)
    return next((finding for rule in rules if (finding := rule(channels))), None)


def _never_updated(channels: Channels) -> Finding | None:
    seen, mean, var = channels.seen, channels.seen.running_mean, channels.seen.running_var
    ones, zeros = mean.size > 0 and np.all(var == 1), np.all(var == 0) and np.any(channels.data.population.m2 > 0)
    initial = bool(np.all(mean == 0)) and bool(ones or zeros)
    # A count of 0 beside right statistics says that they came from elsewhere, as from another framework.
    if not initial and not (seen.updates == 0 and channels.is_gap):
        return None
    how = f"mean 0 and variance {0 if zeros else 1} to the bit" if initial else "a count of 0 training updates"
    return found(
        "BN101",
        f"{how}, {_gap(channels)}",
        "train with the new statistics kept (`batch_norm` returns them, and so does linen with "
        'mutable=["batch_stats"]; nnx keeps them in the model, under nnx.jit and in train mode), or recalibrate',
        gap=channels.gap,
    )


def _start_not_forgotten(channels: Channels, elsewhere: float | None) -> Finding | None:
    """As the momentum says; or else as means and variances say; or else as another layer says."""
    settings, updates = channels.seen.layer.settings, channels.seen.updates
    forgets_at_once = settings.averaging != "ema" and updates
    if not channels.is_gap or forgets_at_once:
        return None
    if settings.momentum is None or updates is None:
        return _start_fitted(channels, sure=False) or _start_of_another_layer(channels, elsewhere)
    known = settings.momentum**updates
    return _start_known(channels, known) or _start_fitted(channels, sure=known < FITTED)


def _start_known(channels: Channels, residual: float) -> Finding | None:
    start = min((1.0, 0.0), key=lambda start: channels.left(residual, start))
    if channels.left(residual, start) > LEFT * channels.gap:
        return None
    return _start_found(channels, residual, start, f"{channels.seen.layer.settings.momentum:g}^{channels.seen.updates}")


def _start_fitted(channels: Channels, *, sure: bool) -> Finding | None:
    """Against a momentum that says otherwise, which may not be that of training, it has to be sure."""
    residual, agree = channels.fitted(1.0), channels.agree(1.0)
    if residual < FITTED or agree is False or (sure and agree is None):
        return None
    explained = channels.left(residual, 1.0) <= LEFT_FITTED * channels.gap
    return _start_found(channels, residual, 1.0, "fitted") if explained else None


def _start_of_another_layer(channels: Channels, residual: float | None) -> Finding | None:
    """The layers of a model are updated together."""
    if residual is None or channels.left(residual, 1.0) > LEFT * channels.gap:
        return None
    return _start_found(channels, residual, 1.0, "as in another layer")


def _start_found(channels: Channels, residual: float, start: float, how: str) -> Finding:
    left = channels.left(residual, start)
    return found(
        "BN102",
        f"{100 * residual:.3g} % of the initial mean 0 and variance {start:g} are left ({how}), {_gap(channels)}, "
        f"{left:.2g} without them",
        'recalibrate, and train with a smaller momentum or with averaging="warmup", which forgets them at once',
        residual=residual,
        fitted=channels.fitted(start),
        gap=channels.gap,
        left=left,
    )


def _not_alike(channels: Channels) -> Finding | None:
    of, groups = channels.data.population, channels.data.groups
    parts, samples = len(groups or channels.seen.sizes), float(np.max(of.samples, initial=0))
    if parts < 2 or not channels.any:
        return None
    within = sum(group.m2 for group in groups.values()) if groups else channels.data.within
    share = float(np.mean(np.maximum(1 - within[channels.kept] / of.m2[channels.kept], 0)))
    # Of samples that are drawn alike, whatever the values of one sample have in common.
    alike = (parts - 1) / max(samples - 1, 1)
    if share <= BETWEEN + alike * (1 + 4 * np.sqrt(2 / (parts - 1))):
        return None
    what, remedy = ("groups", "keep one state for each group") if groups else ("batches", "shuffle the data")
    return found(
        "BN103",
        f"{100 * share:.3g} % of the variance lies between the {parts} {what}, {100 * alike:.2g} % if they were alike",
        f"{remedy}, so that training and evaluation see the same, or recalibrate on all of them",
        share=share,
        alike=alike,
        parts=parts,
        gap=channels.gap,
    )


def _few_far(channels: Channels) -> Finding | None:
    share = np.mean(channels.far) if channels.any else 0.0
    if not 0 < share <= FEW or not channels.others_fit:
        return None
    worst = int(np.argmax(channels.far_by))
    number = int(np.flatnonzero(channels.kept)[worst])
    return found(
        "BN114",
        f"{np.sum(channels.far)} of {channels.kept.size} channels, channel {number} most: mean "
        f"{channels.running_mean[worst]:.3g} and std {np.sqrt(channels.running_var[worst]):.3g}, where the data have "
        f"{channels.mean[worst]:.3g} and {channels.std[worst]:.3g}",
        "look at what feeds these channels (an input in another unit, a unit that was dead or edited), or recalibrate",
        channels=np.sum(channels.far),
        channel=number,
        far_by=channels.far_by[worst],
        gap=channels.gap,
    )


def _too_noisy(channels: Channels) -> Finding | None:
    settings = channels.seen.layer.settings
    momentum = settings.momentum
    if momentum is None or settings.averaging == "cumulative" or not channels.any:
        return None
    noise, error = channels.noise(momentum), channels.error
    # Statistics that are right by luck, or recalibrated, are not noisy.
    if noise <= GAP or not max(noise / 3, 1.5 * error) < channels.gap <= 3 * noise + ERRORS * error:
        return None
    samples = channels.size * (1 + momentum) / (1 - momentum)
    return found(
        "BN104",
        f"momentum {momentum:g} with {channels.size:g} values a batch averages {samples:.3g} of them, a noise of "
        f"{noise:.2g} std, {_gap(channels)}",
        "recalibrate, or train with a momentum nearer to 1 or with larger batches",
        noise=noise,
        samples=samples,
        gap=channels.gap,
    )


def _dropout(channels: Channels) -> Finding | None:
    if not channels.is_gap:
        return None
    is_there = DROPOUT in channels.seen.layer.after
    ratio = channels.running_var / channels.var
    mean_gap, std_gap = np.mean(np.abs(channels.mean_gap)), np.mean(channels.std_gap)
    # Dropout keeps the mean and adds to every variance. Where it is not seen, the figures must say so alone.
    wider, steady = (0.75, 1.0) if is_there else (0.9, 0.5)
    if np.mean(ratio > 1) < wider or mean_gap > steady * std_gap:
        return None
    why = "a layer of dropout is before it" if is_there else "as after dropout, or other noise that only training has"
    return found(
        "BN105",
        f"running variance {np.median(ratio):.3g} times that of the data (median), means {mean_gap:.2g} std apart, "
        f"{why}",
        "recalibrate without it, or put dropout after the last batch norm",
        ratio=np.median(ratio),
        mean_gap=mean_gap,
        gap=channels.gap,
    )


def _old(channels: Channels) -> Finding | None:
    if not channels.is_gap:
        return None
    return found(
        "BN106",
        f"{_gap(channels)}, and neither their sample ({channels.error:.2g}) nor the initial values explain it",
        "recalibrate on data like those of evaluation, after every change of the weights",
        gap=channels.gap,
        error=channels.error,
        mean_gap=np.mean(np.abs(channels.mean_gap)),
        std_gap=np.mean(np.abs(channels.std_gap)),
    )


def _gap(channels: Channels) -> str:
    return f"{channels.gap:.2g} std from the data"
