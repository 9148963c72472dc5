"""The report of a diagnosis: its order, its words, and what it is silent about."""

import dataclasses

import flax.linen
import numpy as np
import pytest

from jaxbn import BatchNormState
from jaxbn.inference import DiagnosisReport, diagnose
from jaxbn.inference._diagnosis.finding import found
from tests.inference.nets_diagnose import (
    BATCHES,
    TRAINING,
    Linen,
    X,
    apply,
    at,
    changed,
    half_settled,
    one,
    settled,
    slow,
    trained,
)

pytestmark = pytest.mark.slow


def test_the_most_harmful_is_first():
    for old in (changed(settled(), "two", var=lambda v: 30 * v), changed(settled(), "one", var=lambda v: 30 * v)):
        report = diagnose(apply, old, BATCHES)
        harms = [norm.harm for norm in report.norms]
        assert harms == sorted(harms, reverse=True)
        assert report.norms[0].codes == ("BN105",)
    report = diagnose(apply, changed(settled(), "two", mean=at(0, np.nan)), BATCHES)
    assert next((norm.name, norm.harm) for norm in report.norms) == ("two", np.inf)


def test_what_cannot_be_computed_is_first_where_something_is_wrong_and_else_last():
    right = BatchNormState(X.mean(0), X.var(0), np.int32(9))
    behind = right._replace(mean=np.zeros(6, "float32"), var=np.full(6, 0.97, "float32"))

    def call(states, x):
        healthy = one(states["healthy"], x)
        return healthy, one(states["behind"], one(states["poisoned"], x / np.float32(0)))

    report = diagnose(call, {"healthy": right, "poisoned": right, "behind": behind}, BATCHES)
    assert [(norm.name, norm.codes) for norm in report.norms] == [
        *(("poisoned", ("BN108",)), ("healthy", ()), ("behind", ()))
    ]
    assert [np.isnan(norm.harm) for norm in report.norms] == [True, False, True]


def test_the_report_is_a_table_of_diagnosis_evidence_and_next_step():
    lines = str(diagnose(slow, half_settled(), BATCHES)).splitlines()
    assert lines[0].split() == ["batch", "norm", "harm", "code", "diagnosis;", "evidence;", "next", "step"]
    assert [line.split()[2] for line in lines[1:3]] == ["BN102", "BN102"]
    assert all(line.count(";") == 2 for line in lines[:3])
    assert "initial values not forgotten; 49.6 % of the initial mean 0 and variance 1 are left (0.999^700)" in lines[1]
    assert lines[3].startswith("Harm: ")
    healthy = str(diagnose(apply, settled(), BATCHES)).splitlines()
    assert "nothing found; 0.0" in healthy[1]
    assert len(healthy) == 4


def test_a_large_harm_is_never_beside_nothing_found():
    """Of 40 samples the standard error is as large as a gap."""
    few = diagnose(apply, settled(), [X[:40]])
    assert few.codes == ()
    assert few["one"].harm > 0.2
    said = f"no cause is named for a harm of {few['one'].harm:.2g}; 0.25 std from the data, of which their sample"
    assert said in str(few)
    silenced = diagnose(slow, half_settled(), BATCHES).without("BN102")
    assert str(silenced).count("no cause is named") == 2
    assert "nothing found" not in str(silenced)
    # A bias before a norm is no cause of harm, and does not hide that there is none.
    biased = dataclasses.replace(few["one"], findings=(found("BN113", "a bias", "leave it out"),))
    assert str(DiagnosisReport((biased,))).count("no cause is named") == 1


def test_which_channel_is_far_is_said():
    report = diagnose(
        apply, changed(settled(), "one", var=lambda var: np.where(np.arange(8) == 6, 1e-4, 1) * var), BATCHES
    )
    (finding,) = report["one"].findings
    assert (finding.numbers["channel"], finding.numbers["channels"]) == (6, 1)
    np.testing.assert_allclose(finding.numbers["far_by"], 99, rtol=0.1)
    assert "1 of 8 channels, channel 6 most: mean" in finding.evidence


def test_a_code_can_be_silenced():
    model = Linen(flax.linen.BatchNorm, bias=True, momentum=0.997)
    report = diagnose(model.apply, trained(model), TRAINING, step=300)
    assert report.codes == ("BN102", "BN113")
    assert len(str(report).splitlines()) == 6
    assert report.without("BN113").codes == ("BN102",)
    assert report.without("BN113")["one"].findings == report["one"].findings[:1]
    assert report.without(*report.codes).codes == ()
    assert report.codes == ("BN102", "BN113")
    (finding,) = report.without("BN102")["one"].findings
    assert "params/dense_one/bias is added" in finding.evidence
    assert finding.diagnosis == "bias before the norm"
