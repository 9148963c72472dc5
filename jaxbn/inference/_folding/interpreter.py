"""Goes through a program once: what depends on the variables alone is known, what is linear waits for what follows it.

Nothing is recognised as a batch norm. A linear operation with a known kernel stays lazy; `+ - * /` by known numbers,
channel by channel, and changes of layout pass into it; anything else makes it a step of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from jaxbn.inference._folding import names as _names
from jaxbn.inference._folding.evaluation import has_root, is_root, results
from jaxbn.inference._folding.known import KnownArray, leaf
from jaxbn.inference._folding.lazy import AFFINE, LAYOUT, Lazy, at_the_end, begin, changed, moved
from jaxbn.inference._folding.linear import Linear, bias_of, fits, in_dtype, linear, result_of, times_data, times_result
from jaxbn.inference._folding.plan import Operand, Plan, Step, operand
from jaxbn.inference._folding.program import FlatProgram, Operation, Value
from jaxbn.inference._folding.report import FoldedNorm, Item, common_name, norms_among
from jaxbn.inference._folding.steps import layout_step, linear_step

_TRAINS = "it seems to be in training, for it multiplies a root of the batch; call the model in evaluation"


class Interpreter:
    """The plan of a program, and what is reported of it.

    Args:
        program: of a function.
        leaves: its variables.
        layers: the layers that they belong to, by their names.
        several: whether the data hold more than one example.
    """

    def __init__(
        self, program: FlatProgram, leaves: dict[Value, KnownArray], layers: Mapping[str, str], *, several: bool
    ) -> None:
        self.norms: list[FoldedNorm] = []
        self.linear = 0
        self.leaves = {k: k.sources[0] for k in leaves.values()}
        self.rounded = [value.rounded for value in program.outputs]
        self._layers = layers
        self._names = _names.Names()
        self._steps: list[Step] = []
        self._states: dict[Value, KnownArray | Lazy] = dict(leaves)
        self._makers: dict[Value, str] = {}
        self._several = several
        self._roots_of_batch: set[Value] = set()
        for operation in program.operations:
            self._interpret(operation)
        outputs = [self._operand(value, "returned") for value in program.outputs]
        self.plan = Plan(self._steps, outputs, self._names.known)

    def _interpret(self, operation: Operation) -> None:
        known = {i: k for i, value in enumerate(operation.inputs) if (k := self._known(value)) is not None}
        if len(known) == len(operation.inputs) and not operation.eqn.effects:
            self._states.update(zip(operation.outputs, results(operation, list(known.values())), strict=True))
            return
        lazy = self._lazy(operation, known)
        if lazy is None:
            self._perform(operation)
            return
        result = operation.outputs[0]
        self._states[result] = lazy
        if result.uses > 1:
            # It is computed once, as it is now, for all who read it.
            self._force(result, f"used {result.uses} times")

    def _lazy(self, operation: Operation, known: dict[int, KnownArray]) -> Lazy | None:
        """The result as a lazy value, if it can be one."""
        op = linear(operation, known)
        if op is not None:
            return self._begin(op)
        unknown = [i for i in range(len(operation.inputs)) if i not in known]
        if len(unknown) != 1 or len(known) > 1:
            return None
        (position,), other = unknown, next(iter(known.values()), None)
        value = operation.inputs[position]
        if not jnp.issubdtype(value.aval.dtype, jnp.inexact):
            return None
        # What a mean divides by may follow the size of the data, which must not get into a kernel.
        if self._makers.get(value) == "reduce_sum" and other is not None and not other.sources:
            return None
        for attempt in (self._states.get(value), begin(value)):
            if not isinstance(attempt, Lazy):
                continue
            after = moved(attempt, operation) if other is None else None
            after = after or changed(attempt, operation, other, position)
            if after is not None:
                return after
            axes = " along other axes" if operation.name in LAYOUT | AFFINE else ""
            self._force(value, f"before {operation.name}{axes}")
        return None

    def _begin(self, op: Linear) -> Lazy:
        """A linear operation, with what came before it in its kernel if it can go there."""
        value = op.operation.inputs[op.data]
        before = self._states.get(value)
        if not isinstance(before, Lazy) or before.linear is not None or not before.depends_on_variables:
            self._force(value, f"before {op.label}")
            return begin(value, op)
        scale, shift = at_the_end(before, before.scale), at_the_end(before, before.shift)
        obstacle = None
        if shift is not None and op.pads:
            obstacle = "which pads with zeros that its shift must not meet"
        elif not all(k is None or fits(k, op.of_data) for k in (scale, shift)):
            obstacle = "whose kernel does not have its axes"
        elif jnp.finfo(before.base.aval.dtype).bits > jnp.finfo(value.aval.dtype).bits:
            obstacle = f"which takes {value.aval.dtype}"
        if obstacle is not None:
            self._force(value, f"before {op.label}, {obstacle}")
            return begin(value, op)
        # The constant first: it meets the kernel as it was.
        constant = None if shift is None else result_of(op, shift)
        op = op if scale is None else times_data(op, scale)
        self._tell(before.items, into=op.label)
        return begin(self._laid_out(before, value), op)._replace(shift=constant)

    def _laid_out(self, lazy: Lazy, value: Value) -> Value:
        """The base in the layout and dtype of the value, without the numbers that moved on."""
        if len(lazy.layout) == 0 and lazy.base.aval.dtype == value.aval.dtype:
            return lazy.base
        result = Value(value.aval, unknown=True)
        self._steps.append(Step(layout_step(lazy, value.aval.dtype), [lazy.base], [result]))
        return result

    def _perform(self, operation: Operation) -> None:
        """An operation as it is."""
        operands = [self._operand(value, f"before {operation.title}") for value in operation.read]
        self._steps.append(Step(operation.run, operands, operation.outputs))
        self._makers.update((value, operation.title) for value in operation.outputs)
        if self._several and is_root(operation):
            # A root for each channel is of all examples; one of each example has their number in front.
            self._roots_of_batch.update(v for v in operation.outputs if v.aval.ndim == 1 or v.aval.shape[:1] == (1,))
        self._tell_bodies(operation)

    def _operand(self, value: Value, follows: str) -> Operand:
        known = self._known(value)
        if known is not None:
            return operand(known, self._names, _names.of_value(known))
        self._force(value, follows)
        return value

    def _known(self, value: Value) -> KnownArray | None:
        if value not in self._states and not value.unknown and value.constant is not None:
            name = next(iter(value.sources), None)
            made = self._states[value] = leaf(value, value.constant, name)
            self.leaves |= {made: name} if name is not None else {}
        state = self._states.get(value)
        return state if isinstance(state, KnownArray) else None

    def _force(self, value: Value, follows: str) -> None:
        """Makes a lazy value a step of the plan."""
        lazy = self._states.pop(value, None)
        if not isinstance(lazy, Lazy):
            return
        if lazy.linear is None:
            self._replay(lazy, value)
            before = self._makers.get(lazy.base, "the input")
            trains = lazy.base in self._roots_of_batch
            self._tell(lazy.items, kept=_TRAINS if trains else f"after {before}, {follows}")
            self._makers[value] = "a norm" if lazy.depends_on_variables else before
        else:
            self._compute(lazy, value)
            self._makers[value] = f"{lazy.linear.label} ({follows})"

    def _replay(self, lazy: Lazy, value: Value) -> None:
        """The operations one after the other, as they were."""
        current = lazy.base
        for number, (operation, _) in enumerate(lazy.steps, 1):
            result = value if number == len(lazy.steps) else Value(operation.outputs[0].aval, unknown=True)
            operands: list[Operand] = []
            for read in operation.read:
                beside = self._known(read)
                operands.append(
                    current if beside is None else operand(beside, self._names, _names.of_value(beside), whole=False)
                )
            self._steps.append(Step(operation.run, operands, [result]))
            current = result

    def _compute(self, lazy: Lazy, value: Value) -> None:
        """A linear operation with all that moved into it."""
        op = lazy.linear
        assert op is not None
        if lazy.scale is not None:
            op = times_result(op, lazy.scale)
        kernel, label = in_dtype(op), op.label
        self.linear += 1
        self._tell(lazy.items, into=label)
        weight = operand(kernel, self._names, kernel.sources[0] if kernel.sources else "constant")
        operands = [weight, lazy.base] if op.data == 1 else [lazy.base, weight]
        if lazy.shift is not None:
            wanted = _names.of_bias(kernel, lazy.items)
            operands.append(operand(bias_of(op, lazy.shift, value.aval.dtype), self._names, wanted, whole=False))
        self._steps.append(Step(linear_step(op, lazy, value.aval.dtype), operands, [value]))

    def _tell(self, items: Sequence[Item], into: str | None = None, kept: str | None = None) -> None:
        for names in norms_among(items, self._layers):
            self.norms.append(FoldedNorm(common_name(names, self._layers), names, into, kept))

    def _tell_bodies(self, operation: Operation) -> None:
        """A loop or branch whose body has a norm in it, by its roots: it is left alone."""
        known = [k for value in operation.inputs if (k := self._known(value)) is not None]
        names = tuple(sorted({name for k in known for name in k.sources}))
        if names and has_root(operation.eqn.params):
            self.norms.append(
                FoldedNorm(
                    common_name(names, self._layers), names, None, f"inside {operation.name}, whose body is left alone"
                )
            )
