"""Hypothesis strategies for graphs, expressions, programs and loops: what edgec's tests draw from, and what tests of custom passes may use.

    @given(graphs())                    # convolutions, products, norms, joins, cuts, choices, branches, loops ...: graphs.py
    def test_my_graph_pass(graph): ...

    @given(programs())
    def test_my_pass(program):
        arrays = random_inputs(program)
        assert_same(run_program(my_pass(program), arrays), run_program(program, arrays))
"""

from edgec.testing.graphs import graphs, integer_graphs
from edgec.testing.programs import assert_same, index_exprs, loop_programs, programs, random_inputs, value_exprs

__all__ = ["assert_same", "graphs", "index_exprs", "integer_graphs", "loop_programs", "programs", "random_inputs", "value_exprs"]
