"""What a program compiled for an accelerator says, and the description of the accelerator."""

from pathlib import Path

import pytest

from experiments.bench.ahead_of_time import program as hlo
from experiments.bench.ahead_of_time import targets


def program(body, *computations):
    text = "HloModule m, entry_computation_layout={(f32[4]{0})->f32[4]{0}}\n"
    for name, lines in (*computations, ("ENTRY %main", body)):
        text += "\n" + name + " (p: f32[4]) -> f32[4] {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"
    return hlo.read(text)


def test_every_instruction_reads_and_writes_once():
    found = program(
        [
            "%p = f32[8,4]{1,0} parameter(0)",
            "%c = f32[4]{0} constant({1, 2, (3), 4})",
            '%r = (f32[4]{0}, /*index=1*/bf16[8,4]{1,0:T(8,128)(2,1)}) custom-call(%p, %c), metadata={op_name="a(b"}',
            "%g = bf16[8,4]{1,0} get-tuple-element(%r), index=1",
            "ROOT %n = bf16[8,4]{1,0} negate(%g)",
        ]
    )
    assert [(m.name, m.read, m.written) for m in found.moved] == [("r", 128 + 16, 16 + 64), ("n", 64, 64)]
    assert (found.bytes, found.kernels) == (352, 2)


def test_a_fusion_reads_the_slice_that_it_needs():
    inside = [
        "%a = bf16[100,4]{1,0} parameter(0)",
        "%b = f32[4]{0} parameter(1)",
        "%wide = f32[100,4]{1,0} convert(%a)",
        "%s = f32[2,4]{1,0} slice(%wide), slice={[0:2], [0:4]}",
        "ROOT %out = f32[2,4]{1,0} custom-call(%s, %b)",
    ]
    found = program(
        [
            "%b.1 = f32[4]{0} parameter(1)",
            "%a.1 = bf16[100,4]{1,0} parameter(0)",
            "ROOT %f = f32[2,4]{1,0} fusion(%a.1, %b.1), kind=kLoop, calls=%inside",
        ],
        ("%inside", inside),
    )
    assert [(m.read, m.written) for m in found.moved] == [(2 * 4 * 2 + 16, 32)]


def test_a_fusion_reads_all_that_someone_needs():
    inside = [
        "%a = f32[100]{0} parameter(0)",
        "%s = f32[2]{0} slice(%a), slice={[0:2]}",
        "%all = f32[] reduce(%a, %s), to_apply=%add",
        "ROOT %out = (f32[2]{0}, f32[]) tuple(%s, %all)",
    ]
    found = program(
        ["%a.1 = f32[100]{0} parameter(0)", "ROOT %f = (f32[2]{0}, f32[]) fusion(%a.1), kind=kLoop, calls=%inside"],
        ("%inside", inside),
    )
    assert [(m.read, m.written) for m in found.moved] == [(400, 12)]


@pytest.mark.parametrize(
    ("inside", "read"),
    [
        # Two slices of one array are no more than the array.
        (["%s = f32[60]{0} slice(%a)", "%t = f32[60]{0} slice(%a)", "ROOT %o = f32[60]{0} add(%s, %t)"], 400),
        (["%s = f32[6]{0} slice(%a)", "%t = f32[6]{0} slice(%a)", "ROOT %o = f32[6]{0} add(%s, %t)"], 48),
        # What is only converted is needed all the same.
        (["ROOT %o = bf16[100]{0} convert(%a)"], 400),
    ],
)
def test_a_fusion_reads_nothing_twice_and_nothing_for_free(inside, read):
    found = program(
        ["%a.1 = f32[100]{0} parameter(0)", "ROOT %f = f32[6]{0} fusion(%a.1), kind=kLoop, calls=%inside"],
        ("%inside", ["%a = f32[100]{0} parameter(0)", *inside]),
    )
    assert [m.read for m in found.moved] == [read]


def test_a_slice_outside_of_a_fusion_reads_what_it_writes():
    found = program(["%p = f32[100]{0} parameter(0)", "ROOT %s = f32[2]{0} slice(%p), slice={[0:2]}"])
    assert [(m.read, m.written) for m in found.moved] == [(8, 8)]


def test_the_chips_own_memory_is_free():
    found = program(
        [
            "%p = f32[8]{0:T(128)} parameter(0)",
            "%s = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)}, u32[]{:S(2)}) copy-start(%p)",
            "%d = f32[8]{0:T(128)S(1)} copy-done(%s)",
            "%q = ((f32[8]{0:T(128)}), f32[2]{0:T(128)S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:2]}",
            "%e = f32[2]{0:T(128)S(1)} slice-done(%q)",
            "ROOT %n = (f32[8]{0:T(128)}, u32[4]{0:S(2)}) custom-call(%d, %e)",
        ]
    )
    assert [(m.op, m.read, m.written) for m in found.moved] == [
        ("copy-start", 32, 0),
        ("slice-start", 8, 0),
        ("custom-call", 0, 32),
    ]
    assert found.kernels == 1


def test_scratch_is_free():
    found = program(
        [
            "%p = f32[4]{0} parameter(0)",
            '%c = (f32[4]{0}, s8[8]{0}, u8[90]{0}) custom-call(%p), custom_call_target="__cudnn$convForward"',
            "%y = f32[4]{0} get-tuple-element(%c), index=0",
            "%bytes = s8[8]{0} get-tuple-element(%c), index=1",
            'ROOT %d = (f32[4]{0}, u8[90]{0}) custom-call(%y, %bytes), custom_call_target="__cublas$gemm"',
        ]
    )
    assert [(m.read, m.written) for m in found.moved] == [(16, 24), (24, 106)]


def test_an_update_in_place_writes_the_slice():
    update = "dynamic-update-slice(%a, %b, %i)"
    arguments = ["%a = f32[100]{0} parameter(0)", "%b = f32[5]{0} parameter(1)", "%i = s32[] parameter(2)"]
    alone = program([*arguments, f"ROOT %u = f32[100]{{0}} {update}"])
    fused = program(
        [*arguments, "ROOT %f = f32[100]{0} fusion(%a, %b, %i), kind=kLoop, calls=%inside"],
        ("%inside", [*arguments, f"ROOT %u = f32[100]{{0}} {update}"]),
    )
    assert [(m.read, m.written) for m in alone.moved] == [(20, 20)]
    assert [(m.read, m.written) for m in fused.moved] == [(24, 20)]


def test_what_is_called_counts_and_cycles_are_summed():
    found = program(
        [
            "%p = f32[4]{0} parameter(0)",
            '%n = f32[4]{0} negate(%p), backend_config={"estimated_cycles":"70"}',
            '%c = f32[4]{0} call(%n), to_apply=%more, backend_config={"estimated_cycles":"5"}',
            "ROOT %t = (f32[4]{0}) tuple(%c)",
        ],
        ("%more", ["%p = f32[4]{0} parameter(0)", "ROOT %e = f32[4]{0} exponential(%p)"]),
    )
    assert [m.op for m in found.moved] == ["negate", "exponential"]
    assert (found.cycles, found.kernels, found.bytes) == (75, 2, 64)


def test_the_description_of_the_gpu_is_here():
    assert "NVIDIA H100" in (Path(targets.__file__).parent / "h100.txtpb").read_text()
