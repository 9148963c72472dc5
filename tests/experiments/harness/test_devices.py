"""Which devices share each batch: what the flags stand for, and what is said where they can't be right."""

import re
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from experiments.harness import devices as subject
from experiments.harness.devices import Devices
from experiments.harness.errors import UserError
from experiments.harness.processes import join

ADDRESS = "--coordinator-address"
CLUSTER: Any = {"distributed": True, "coordinator_address": "host:1234", "process_count": 2, "process_id": 1}
TOGETHER = "`--coordinator-address`, `--process-count`, `--process-id` must be given together, got"
OR_NONE = "alone; add what is missing, or leave them out where JAX knows the cluster."

HOST_AND_PORT = "`--coordinator-address` must be HOST:PORT with a port up to 65535, got"
MISTAKES: Any = {
    "none": ({"devices": 0}, "`--devices` must be at least 1, got 0."),
    "alone": (
        {"process_id": 0},
        "`--process-id` is for several processes; add --distributed, or leave it out.",
    ),
    "no number": ({**CLUSTER, "process_id": None}, f"{TOGETHER} {ADDRESS} and --process-count {OR_NONE}"),
    "number": ({"distributed": True, "process_id": 0}, f"{TOGETHER} --process-id {OR_NONE}"),
    "no port": (
        {**CLUSTER, "coordinator_address": "host"},
        f"{HOST_AND_PORT} host.",
    ),
    "no host": ({**CLUSTER, "coordinator_address": ":1"}, f"{HOST_AND_PORT} :1."),
    "word": ({**CLUSTER, "coordinator_address": "a:b"}, f"{HOST_AND_PORT} a:b."),
    "high port": ({**CLUSTER, "coordinator_address": "a:65536"}, f"{HOST_AND_PORT} a:65536."),
    "no process": (
        {**CLUSTER, "process_count": 0, "process_id": 0},
        "`--process-count` must be at least 1, got 0.",
    ),
    "below": ({**CLUSTER, "process_id": -1}, "`--process-id` must be at least 0, got -1."),
    "above": ({**CLUSTER, "process_id": 2}, "`--process-id` must be at most 1, got 2."),
}


@pytest.mark.parametrize(("flags", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(flags: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        Devices(**flags).check_devices()


@pytest.mark.parametrize("flags", [{}, {"devices": 2}, {"distributed": True}, CLUSTER], ids=str)
def test_what_can_be_right_passes(flags: Any) -> None:
    Devices(**flags).check_devices()


def test_without_flags_one_device_works_alone() -> None:
    assert Devices().mesh(64) is None
    assert Devices(devices=1).mesh(64) is None
    Devices().join()


@pytest.mark.several_devices
@pytest.mark.parametrize("count", [2, 4])
def test_a_mesh_has_the_first_devices(count: int) -> None:
    mesh = Devices(devices=count).mesh(64)
    assert mesh is not None
    assert (list(mesh.devices), mesh.axis_types) == (jax.devices()[:count], (jax.sharding.AxisType.Auto,))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of four devices each, which come in turns."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(process_index=number % 2) for number in range(8)])
    monkeypatch.setattr(subject, "mesh_over", lambda devices: [device.process_index for device in devices])


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("devices", "expected"), [(None, [0, 0, 0, 0, 1, 1, 1, 1]), (4, [0, 0, 1, 1]), (2, [0, 1])])
def test_every_process_has_its_part(devices: int | None, expected: list[int]) -> None:
    assert Devices(devices, distributed=True).mesh(64) == expected


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("devices", "batch", "words"),
    [
        (3, 66, "`--devices` must be a multiple of the 2 processes, got 3; give --devices 6."),
        (6, 64, "`--devices` must divide the 64 examples of a batch, got 6; give --devices 8."),
        (
            None,
            20,
            "`--devices` must divide the 20 examples of a batch, got all 8 devices that were found; give --devices 4.",
        ),
        (
            10,
            20,
            "`--devices` must be at most 8, as many as JAX finds, got 10; with JAX_NUM_CPU_DEVICES=5 in its "
            "environment it makes as many of a CPU.",
        ),
        # No device more would help.
        (10, 64, "`--devices` must divide the 64 examples of a batch, got 10; give --devices 8."),
    ],
)
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_what_cannot_be_shared_is_refused(
    devices: int | None, batch: int, words: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    expected = words if platform == "cpu" else re.sub(r"; with .*", ".", words)
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        Devices(devices, distributed=True).mesh(batch)


def test_the_processes_must_divide_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "device_count", lambda: 6)
    words = "the number of processes must divide the 64 examples of a batch, got 3; start 2 instead."
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        Devices(distributed=True).mesh(64)


def test_the_flags_say_how_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(subject, "join", lambda *args: calls.append(args))
    for flags in ({"distributed": True}, CLUSTER):
        Devices(**flags).join()
    assert calls == [(None, None, None), ("host:1234", 2, 1)]


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        (
            None,
            ValueError("coordinator_address should be defined."),
            "`--distributed` needs SLURM, Open MPI, Kubernetes or a TPU pod around it, and found none; give "
            "--coordinator-address, --process-count and --process-id.",
        ),
        (
            "host:1",
            jax.errors.JaxRuntimeError("UNKNOWN: Failed to start"),
            "`--coordinator-address` must be where process 0 can listen, got host:1 (UNKNOWN: Failed to start); name a "
            "free port.",
        ),
    ],
    ids=["no cluster", "no port"],
)
def test_who_cannot_join_is_told_what_to_give(
    address: str | None, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def initialize(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        join.join(address, None, None)
