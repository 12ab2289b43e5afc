"""What docs/targets.md calls "only assembled" is: rows that no named target has are accepted by LLVM and give their instruction."""

import importlib
import pkgutil
from dataclasses import replace

import llvmlite.binding as llvm
import pytest

from edgec.backends import targets
from edgec.backends.instruction import call, meaning
from edgec.backends.machine import create_machine

FAMILIES = [importlib.import_module(f"{targets.__name__}.{entry.name}") for entry in pkgutil.iter_modules(targets.__path__)]
ROWS = [pytest.param(family.TARGETS[-1], row, id=f"{row.name}-{' '.join(sorted(row.needs))}") for family in FAMILIES
        if hasattr(family, "TARGETS") for row in family.INSTRUCTIONS if not any(row in t.instructions for t in family.TARGETS)]

LANES = 8  # where a row leaves their number open


def function(row) -> str:
    """LLVM IR of a function that is the row: operands by pointer, the result stored to the last one."""
    what = meaning(row, LANES)
    operands = ((what.result,) if what.accumulates else ()) + what.operands
    declaration, lines = call(row, {each.name: f"%{each.name}" for each in operands}, LANES)
    loads = [f"%{each.name} = load {each.llvm}, ptr %p{n}" for n, each in enumerate(operands)]
    arguments = ", ".join(f"ptr %p{n}" for n in range(len(operands)))
    body = "\n".join([*loads, *lines, f"store {what.result.llvm} %r, ptr %to", "ret void"])
    return f"{declaration}\ndefine void @row({arguments}, ptr %to) {{\n{body}\n}}\n"


@pytest.mark.parametrize("target, row", ROWS)
def test_row_is_assembled(target, row):
    machine = create_machine(replace(target, features=(*target.features, *sorted(row.needs))))
    module = llvm.parse_assembly(f'target triple = "{machine.triple}"\ntarget datalayout = "{machine.target_data}"\n{function(row)}')
    module.verify()
    assembly = machine.emit_assembly(module)
    assert any(mnemonic in assembly for mnemonic in row.name.split("/"))
