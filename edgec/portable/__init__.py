"""Arithmetic that every processor can do: expansion.py rewrites what a target has no instruction for, the other modules say how.

    from edgec.portable.expansion import expand;  expand(unary("exp", x), native=frozenset(), fma=True)
"""
