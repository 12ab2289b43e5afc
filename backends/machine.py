"""LLVM's view of a target: the machine that turns a verified module into a relocatable object.

All of LLVM's back ends are initialised on first use, once per process; a module needs its triple and its data layout set
from the machine before any LLVM pass runs.

    >>> create_machine(find("cortex-m4")).triple
    'thumbv7em-unknown-none-eabihf'
"""
from functools import cache

import llvmlite.binding as llvm

from edgec.backends.target import Target


@cache
def initialise() -> None:
    """Register every back end of this LLVM and its object writer."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def create_machine(target: Target, opt_level: int = 3) -> llvm.TargetMachine:
    """A fresh LLVM target machine for `target`: cpu, features, relocation and code model as the description says."""
    initialise()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.feature_string, opt=opt_level, reloc=target.relocation, codemodel=target.code_model,
        abiname=target.abi_name)
