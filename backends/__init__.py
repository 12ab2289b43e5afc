"""Everything about machine code: target descriptions, loops -> LLVM, the object writer, the artifact, and running it.

The lowest layer of the house: nothing here knows an operator, and nothing outside the description files in `targets/` knows a
target's name. A model passes through in this order:

    target.find("x86-64-v3")   what the machine has, as data
    llvm, entry                loops and the run function as LLVM IR, one module per kernel
    machine                    LLVM IR -> relocatable object, one per kernel
    join, elf                  the objects and the weights -> one object
    artifact                   object + header + manifest; writes them, runs them (`native` here, `emulate` for other machines)
"""
