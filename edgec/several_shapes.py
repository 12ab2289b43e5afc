"""Several fixed shapes of one model in one object: which shapes go together, and the interface that covers them all.

    one_by_one({"x": [(1, 3, 224, 224), (4, 3, 224, 224)]})     # [{"x": (1, 3, 224, 224)}, {"x": (4, 3, 224, 224)}]
    merged([interface_of_1, interface_of_4]).dims               # (("x_0", 1, 4),); .variants == ((1,), (4,))

A dimension that is not the same in all of them becomes a member of the inputs, and the call says which of the shapes it has. Each shape is
a program of its own, as fast as if it were alone; what they share is the weights, wherever their layouts agree, and equal kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgec.backends.c_names import identifiers
from edgec.backends.interface import Interface, Port
from edgec.errors import ModelError, Unsupported

Extents = tuple[int | str, ...]  # of one dimension, shape by shape


def one_by_one(shapes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The shapes of all inputs, alternative by alternative; inputs with one shape have it in all. ModelError when the numbers differ."""
    several = {name: len(each) for name, each in (shapes or {}).items() if isinstance(each, list)}
    count = max(several.values(), default=1)
    if {*several.values()} - {count}:
        told = ", ".join(f"{n} of '{name}'" for name, n in several.items())
        raise ModelError(f"the inputs do not have equally many shapes: {told}", hint="the first of each go together, then the second, ...")
    found = [{name: each[k] if name in several else each for name, each in (shapes or {}).items()} for k in range(count)]
    if any(isinstance(size, str) for each in found if several for sizes in each.values() for size in sizes):
        raise ModelError("a range cannot be one of several shapes", hint="give one shape with ranges, or several of numbers")
    return found


def merged(interfaces: Sequence[Interface]) -> Interface:
    """The interface of all: dimensions that differ are named after their input and place, and `variants` holds their sizes.

    Unsupported where two shapes of the inputs are the same, or an output's size is no linear function of a dimension.
    """
    first = interfaces[0]
    computed = [name for name, _, _ in first.sizes] or [name for name, _ in first.functions]
    if computed:
        what = "sizes that the model computes" if first.sizes else "functions in C"
        raise Unsupported(f"several shapes of a model with {what} ({', '.join(computed)})",
                          hint="compile an object for each shape, or one for a range: --shape INPUT=1..8x3")
    if any(each.states != first.states or any(kept.after for kept in each.states) for each in interfaces):
        raise Unsupported("several shapes of a model whose state is not the same for all of them", hint="compile it for each shape")
    names: dict[Extents, str] = {}
    members = [port.c_name for port in first.inputs]
    inputs = [_merged_port(ports, lambda axis, sizes, c=ports[0].c_name: _named(names, members, f"{c}_{axis}", sizes))
              for ports in zip(*(each.inputs for each in interfaces))]
    variants = tuple(zip(*names))
    if len(set(variants)) < len(interfaces):
        raise ModelError("two of the shapes are the same", hint="give every shape once")
    outputs = [_merged_port(ports, lambda axis, sizes, port=ports[0]: _function_of(names, sizes, f"{port.name}, axis {axis}"))
               for ports in zip(*(each.outputs for each in interfaces))]
    dims = tuple((name, min(sizes), max(sizes)) for sizes, name in names.items())
    return replace(first, inputs=tuple(inputs), outputs=tuple(outputs), dims=dims, variants=variants)


def _merged_port(ports: Sequence[Port], name: Any) -> Port:
    extents = list(zip(*(port.shape for port in ports)))
    return replace(ports[0], shape=tuple(sizes[0] if len(set(sizes)) == 1 else name(axis, sizes) for axis, sizes in enumerate(extents)))


def _named(names: dict[Extents, str], members: list[str], wanted: str, sizes: Extents) -> str:
    """The name of a dimension of the inputs; those that change alike are one."""
    if sizes not in names:
        names[sizes] = identifiers([wanted], members)[0]
        members.append(names[sizes])
    return names[sizes]


def _function_of(names: Mapping[Extents, str], sizes: Extents, place: str) -> str:
    """An output's size as a C expression of a dimension, on a line through all of its points; division is exact at each."""
    for known, name in names.items():
        (x0, y0), (x1, y1) = (min(zip(known, sizes)), max(zip(known, sizes)))
        rise, run = y1 - y0, x1 - x0
        if run and all((y - y0) * run == (x - x0) * rise for x, y in zip(known, sizes)):
            if (y0, rise) == (x0, run):
                return name
            step = f"({name} - {x0}) * {abs(rise)} / {run}"
            return f"{y0} + {step}" if rise >= 0 else f"{y0} - {step}"
    raise Unsupported(f"output {place}: {', '.join(map(str, sizes))} are no linear function of a dimension of the inputs",
                      hint="compile fewer shapes together")
