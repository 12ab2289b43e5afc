"""Symbolic dimensions solved from the shapes of arrays."""
import numpy as np
import pytest

from edgec.backends.binding import bind, evaluate
from edgec.backends.interface import Interface, Port
from edgec.errors import TypeMismatch


def interface(*shapes, outputs=((),), dims=(("n", 0, 8), ("m", 1, 100))) -> Interface:
    return Interface("net", tuple(Port(f"x{i}", f"x{i}", "f32", shape) for i, shape in enumerate(shapes)),
                     tuple(Port(f"y{i}", f"y{i}", "f16", shape) for i, shape in enumerate(outputs)), dims)


def arrays(*shapes) -> dict:
    return {f"x{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}


@pytest.mark.parametrize("expression, value", [("n", 3), ("2 * n + m", 11), ("(n + 1) / 2", 2), ("m % n", 2), ("EDGEC_MIN(n, m)", 3),
                                               ("EDGEC_MAX(n, m - 1)", 4), ("-n + 10", 7), (12, 12)])
def test_expressions(expression, value):
    assert evaluate(expression, {"n": 3, "m": 5}) == value


@pytest.mark.parametrize("expression", ["n ** 2", "n.real", "print(n)", "n if n else m"])
def test_other_expressions_are_refused(expression):
    with pytest.raises((TypeMismatch, KeyError)):
        evaluate(expression, {"n": 3, "m": 5})


def test_bare_symbols_come_first_and_expressions_must_agree():
    net = interface(("2 * n", "m"), ("n", 4), outputs=(("n + m",), ("n", "m", 2)))
    bound = bind(net, arrays((6, 7), (3, 4)))
    assert (bound.dims, bound.output_shapes, bound.output_bytes) == ((3, 7), ((10,), (3, 7, 2)), (20, 84))
    with pytest.raises(TypeMismatch) as error:
        bind(net, arrays((5, 7), (3, 4)))
    assert str(error.value) == "input 'x0' has shape [5, 7], expected [6, 7]\n  declared as [2 * n, m] with n = 3, m = 7"


def test_an_expression_alone_settles_its_symbol():
    assert bind(interface(("2 * n + 1", "n * m")), arrays((7, 12))).dims == (3, 4)


def test_expressions_that_divide_settle_it_together():
    net = interface(("n / 2", "n + 2"), dims=(("n", 0, 8),))
    assert [bind(net, arrays((1, rows))).dims for rows in (4, 5)] == [(2,), (3,)]
    with pytest.raises(TypeMismatch, match=r"no n from 0 to 8 makes n \+ 2 equal to 7"):
        bind(net, arrays((1, 7)))


def test_an_expression_without_a_solution():
    with pytest.raises(TypeMismatch, match=r"no n from 0 to 8 makes 2 \* n equal to 7"):
        bind(interface(("2 * n", "m")), arrays((7, 1)))


def test_an_undetermined_dimension():
    with pytest.raises(TypeMismatch, match="do not determine dimension m"):
        bind(interface(("n",)), arrays((1,)))


def test_scalars_keep_their_shape():
    assert bind(interface((), dims=()), {"x0": np.float32(3)}).inputs[0].shape == ()
