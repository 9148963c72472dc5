"""What the user reads of what a child prints, and what its attendant says when it is no more."""

import signal
import subprocess

import pytest

from experiments.harness.processes import attendant
from experiments.harness.processes.heard import Heard
from experiments.harness.processes.lines import Lines
from tests.sources import ROOT, modules_after

# As JAX prints it, shortened.
OF_0_10 = """\
E1126 09:14:00.580736   23922 coordination_service_agent.cc:289] Polled an error from coordination service.
F1126 09:14:00.580994   23922 client.h:80] Terminating process. absl::Status: UNAVAILABLE: Failed to send RPC.
Additional GRPC error information from remote target coordination_service while calling /xla/PollForError:
:UNKNOWN:Error received from peer  {grpc_message:"Socket closed", grpc_status:14}
*** Check failure stack trace: ***
    @     0x7f08ffc40634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
    @     0x7f09070a71f5  (unknown)
"""
OF_0_12 = """\
W1126 09:14:12.601705   24021 preemption_sync_manager.cc:147] Failed to retrieve: UNAVAILABLE: Stream removed
Additional GRPC error information from remote target coordination_service while calling /xla/GetKeyValue:
:UNAVAILABLE:Stream removed (Socket closed)
=== Source Location Trace: ===
external/xla+/xla/tsl/distributed_runtime/rpc/grpc_util.h:89
. This is only expected if one of the tasks is unhealthy. Check the logs for the actual root cause.
E1126 09:14:12.601745   24021 preemption_sync_manager.cc:159] Failed to cancel preemption barrier.
=== Source Location Trace: ===
external/xla+/xla/util.h:302

"""
TRACEBACK = """\
Traceback (most recent call last):
  File "job.py", line 3, in <module>
    1 / 0
ZeroDivisionError: division by zero
"""


def sorted_lines(text):
    lines = Lines()
    return "".join(line for line in text.splitlines(keepends=True) if lines.passes(line)), "".join(lines.kept)


@pytest.mark.parametrize(
    "text", [OF_0_10, OF_0_12, OF_0_12 + OF_0_10, "terminate called after throwing an 'x'\n  what\n"]
)
def test_what_cpp_prints_while_it_gives_up_is_kept(text):
    assert sorted_lines(text) == ("", text)


@pytest.mark.parametrize(
    "text", [TRACEBACK, "STEP 1000: train_loss: 0.1\n\nTrain Done!\n", "", "F1 score: 0.9\n", "\n"]
)
def test_all_else_is_for_the_user(text):
    assert sorted_lines(text) == (text, "")


@pytest.mark.parametrize(
    "text",
    [
        "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1\n",
        "[Gloo] Rank [Gloo] Rank 01\n is connected to 1 peer ranks. \n",
        "Expected number of connected peer ranks is : 1\n",
    ],
)
def test_chatter_of_gloo_is_for_nobody(text):
    assert sorted_lines(f"a\n{text}b\n") == ("a\nb\n", "")


def test_after_an_error_that_was_no_end_the_lines_go_on():
    assert sorted_lines(OF_0_12 + "STEP 1000: 0.1\n\n")[0] == "STEP 1000: 0.1\n\n"


def test_after_the_end_nothing_is_for_the_user():
    assert sorted_lines(OF_0_10 + TRACEBACK)[0] == ""


def heard(*messages):
    child = Heard()
    child.take(f"{message}\n" for message in messages)
    return child


JOINED = '{"joined": [1, 2]}'
JOINING = '{"joining": ["host:1234", 300]}'
ABORT = signal.SIGABRT
NONE_KNOWN = "with --resume, the same command goes on from the last checkpoint, if there is one."


@pytest.mark.parametrize(
    ("messages", "number", "said", "words", "known"),
    [
        ([JOINED], ABORT, OF_0_10, "process 0 of 2 is gone: the connection to it broke at ", True),
        ([JOINED], ABORT, "", "process 1 of 2 was ended by SIGABRT at ", False),
        ([JOINED], signal.SIGSEGV, "", "process 1 of 2 was ended by SIGSEGV at ", False),
        (['{"joined": [0, 2]}'], ABORT, OF_0_10, "process 0 of 2 was ended at ", True),
        ([], signal.SIGSEGV, "", "this process was ended by SIGSEGV at ", False),
        (
            [JOINING],
            ABORT,
            "absl::Status: DEADLINE_EXCEEDED: x",
            "not all processes have come to host:1234 within",
            True,
        ),
        (
            [JOINING],
            ABORT,
            "absl::Status: ALREADY_EXISTS: x\ny",
            "this process could not join the others at host:1234 (ALREADY_EXISTS: x)",
            True,
        ),
        (
            [JOINING],
            signal.SIGSEGV,
            "E1126 11:20:51.787603   24657 add_port.cc:83] Failed to add port to server: No address",
            "this process can't listen at host:1234, take a free port",
            True,
        ),
        ([JOINING, JOINED], ABORT, "absl::Status: ABORTED: x", "process 1 of 2 was ended at ", True),
    ],
)
def test_why_a_signal_has_ended_the_child(messages, number, said, words, known):
    child = heard(*messages)
    assert child.explain(number, said) == known
    assert child.reason.startswith(words)


def test_who_is_killed_may_have_wanted_memory():
    child = heard(JOINED)
    child.explain(signal.SIGKILL, "")
    assert child.reason.endswith(", perhaps for want of memory")


def test_the_way_on_is_that_of_the_last_checkpoint():
    assert heard(JOINED).way_on() == NONE_KNOWN
    saved = heard('{"saved": ["mlp", 1000]}', '{"saved": ["conv-bn", 2000]}')
    assert saved.way_on() == "the last checkpoint of conv-bn is of step 2,000: the same command with --resume goes on."


def test_who_could_not_join_has_to_be_started_with_the_others():
    assert heard(JOINING).way_on().startswith("start all of them with the same address")


def test_silence_does_not_replace_a_reason():
    child = heard(JOINED, '{"reason": "process 0 of 2 is gone"}')
    child.end_silence(21)
    assert child.reason == "process 0 of 2 is gone"
    child = heard(JOINED)
    child.end_silence(21)
    assert child.reason.startswith("process 1 of 2 is gone: no sign of life since ")


def test_a_message_that_was_cut_off_is_left_out():
    child = Heard()
    child.take([f"{JOINED}\n", '{"saved": ["ml'])
    assert child.way_on() == NONE_KNOWN


def test_the_attendant_starts_at_once():
    loaded = modules_after("from experiments.harness.processes import attendant")
    assert not {name.split(".")[0] for name in loaded} & {"jax", "numpy", "rich", "tyro"}


def test_what_the_attendant_ignores_it_does_not_pass_on():
    """As under `nohup`: it would end the child, for not listening."""
    code = """
import signal, time
signal.signal(signal.SIGHUP, lambda *_: print("heard", flush=True))
print("here", flush=True)
time.sleep(1)
"""
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *attendant.COMMAND, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 0
