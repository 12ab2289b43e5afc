"""Target descriptions, one file per architecture. The only place where a target's name is written.

`edgec.backends.target` lists this folder; a file defines `TARGETS`, or `detect(known)` for what can only be known at run time.
Latencies and throughputs are from the vendors' optimisation guides, cache sizes are the common configuration of the core.
"""
