"""C files and linker scripts that make a program out of a compiled model: for boards without an operating system, and for processes.

driver.c reads samples from a file, runs the model on each and writes the outputs; startup.c brings a Cortex-M core from reset
to main; <board>.ld says which memories a board has and sections.ld what goes into them; count_instructions.c is a qemu plugin.
`emulate.py` builds and runs them.
"""
