"""Trees, linear models, support vectors and features of ai.onnx.ml: interpreter and compiled code against onnxruntime, on drawn models."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

from edgec import interpret
from edgec.compiler import compile
from edgec.errors import CompileError
from edgec.onnx.reader import load

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def model_of(name, arrays, attributes, outputs, version):
    """A model of one node of ai.onnx.ml."""
    node = onnx.helper.make_node(name, list(arrays), outputs, domain="ai.onnx.ml")
    for key, value in attributes.items():
        given = onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        node.attribute.append(onnx.helper.make_attribute(key, given))
    inputs = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in arrays.items()]
    graph = onnx.helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=o) for o in outputs])
    imports = [onnx.helper.make_opsetid("ai.onnx.ml", version), onnx.helper.make_opsetid("", 21)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def check(name, arrays, outputs=("y",), version=3, bound=2e-5, native=True, **attributes):
    """Interpreter == onnxruntime, compiled == interpreter; what the interpreter gives."""
    model = model_of(name, arrays, attributes, list(outputs), version)
    expected = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, arrays)
    graph = load(model)
    found = interpret(graph, arrays)
    compiled = compile(graph, optimize="0", workers=0).run(arrays) if native else found
    for key, other in zip(outputs, expected):
        for result in (found[key], compiled[key]):
            assert result.dtype == other.dtype and result.shape == other.shape, (result.dtype, result.shape, other.dtype, other.shape)
            np.testing.assert_allclose(result, other, rtol=bound, atol=bound)
    return found


def drawn_trees(generator, trees, features, mode=None):
    """Lists of nodes of random binary trees, and (tree, leaf) pairs."""
    lists = {key: [] for key in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
                                 "missing_value_tracks_true")}
    leaves = []
    for tree in range(trees):
        pending, following = [0], 1
        while pending:
            node = pending.pop(0)
            is_leaf = following > 12 or node and generator.random() < 0.3
            kind = "LEAF" if is_leaf else mode or MODES[generator.integers(6)]
            values = (tree, node, int(generator.integers(features)), kind, float(np.float32(generator.integers(-4, 5) / 2)),
                      0 if is_leaf else following, 0 if is_leaf else following + 1, int(generator.integers(2)))
            for column, value in zip(lists.values(), values):
                column.append(value)
            if is_leaf:
                leaves.append((tree, node))
            else:
                pending += [following, following + 1]
                following += 2
    return {f"nodes_{key}": value for key, value in lists.items()}, leaves


def drawn_rows(generator, rows, features, nan=False):
    """Features that often equal a split."""
    x = (generator.integers(-5, 6, (rows, features)) / 2).astype(np.float32)
    return np.where(generator.random(x.shape) < 0.1, np.float32(np.nan), x) if nan else x


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**31), trees=st.integers(1, 4), targets=st.integers(1, 3), aggregate=st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
       mode=st.sampled_from([None, *MODES]))
def test_tree_regressors(seed, trees, targets, aggregate, mode):
    generator = np.random.default_rng(seed)
    nodes, leaves = drawn_trees(generator, trees, 3, mode)
    every = [(tree, leaf, target) for tree, leaf in leaves for target in range(targets)]
    check("TreeEnsembleRegressor", {"x": drawn_rows(generator, 5, 3)}, native=seed % 4 == 0, aggregate_function=aggregate, n_targets=targets,
          base_values=[0.5] * targets if seed % 2 else None or [0.25] * targets, target_treeids=[e[0] for e in every],
          target_nodeids=[e[1] for e in every], target_ids=[e[2] for e in every],
          target_weights=generator.standard_normal(len(every)).astype(np.float32).tolist(), **nodes)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**31), trees=st.integers(1, 4), classes=st.integers(3, 5), transform=st.sampled_from(TRANSFORMS))
def test_tree_classifiers(seed, trees, classes, transform):
    generator = np.random.default_rng(seed)
    nodes, leaves = drawn_trees(generator, trees, 3, "BRANCH_LEQ")
    every = [(tree, leaf, target) for tree, leaf in leaves for target in range(classes)]
    found = check("TreeEnsembleClassifier", {"x": drawn_rows(generator, 5, 3, nan=True)}, ("label", "scores"), native=seed % 4 == 0,
                  class_treeids=[e[0] for e in every], class_nodeids=[e[1] for e in every], class_ids=[e[2] for e in every],
                  class_weights=generator.standard_normal(len(every)).astype(np.float32).tolist(), post_transform=transform,
                  classlabels_int64s=list(range(7, 7 + classes)), **nodes)
    assert set(found["label"]) <= set(range(7, 7 + classes))


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("ids", [0, 1])
def test_two_classes_from_one_score(transform, positive, ids):
    generator = np.random.default_rng(3)
    nodes, leaves = drawn_trees(generator, 3, 3, "BRANCH_LEQ")
    weights = generator.random(len(leaves)) / 3 if positive else generator.standard_normal(len(leaves))
    check("TreeEnsembleClassifier", {"x": drawn_rows(generator, 9, 3)}, ("label", "scores"), class_treeids=[t for t, _ in leaves],
          class_nodeids=[n for _, n in leaves], class_ids=[ids] * len(leaves), class_weights=weights.astype(np.float32).tolist(),
          post_transform=transform, classlabels_int64s=[4, 9], **nodes)


TREE = {"nodes_featureids": [0, 1, 0], "nodes_truenodeids": [1, 0, 1], "nodes_falsenodeids": [2, 1, 2], "nodes_trueleafs": [0, 1, 1],
        "nodes_falseleafs": [0, 1, 1], "tree_roots": [0], "leaf_targetids": [0, 1, 0], "n_targets": 2}


@pytest.mark.parametrize("mode", range(6))
@pytest.mark.parametrize("tracks", [0, 1])
def test_the_newest_form_of_trees(mode, tracks):
    x = np.float32([[1, 5], [2, 5], [3, 7], [np.nan, 1]])
    check("TreeEnsemble", {"x": x}, version=5, leaf_weights=np.float32([1, 10, 100]), nodes_splits=np.float32([2, 5, 3]),
          nodes_modes=np.array([mode, 0, 1], np.uint8), nodes_missing_value_tracks_true=[tracks, 0, 0], **TREE)


def test_trees_of_sets():
    x = np.float32([[1, 5], [2, 5], [4, 5], [np.nan, 5]])
    check("TreeEnsemble", {"x": x}, version=5, leaf_weights=np.float32([1, 10, 100]), nodes_splits=np.float32([0, 5, 3]),
          nodes_modes=np.array([6, 0, 0], np.uint8), membership_values=np.float32([1, 4, np.nan]), **TREE)


X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
ROW = np.random.default_rng(1).standard_normal(32).astype(np.float32).tolist()


@pytest.mark.parametrize("transform", [*TRANSFORMS])
def test_linear_models(transform):
    check("LinearRegressor", {"x": X}, coefficients=ROW[:8], intercepts=ROW[8:10], targets=2, post_transform=transform)
    check("LinearClassifier", {"x": X}, ("label", "scores"), coefficients=ROW[:12], intercepts=ROW[12:15], classlabels_ints=[5, 3, 8],
          post_transform=transform, multi_class=1)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("one_class", [0, 1])
def test_support_vector_regressors(kernel, one_class):
    check("SVMRegressor", {"x": X}, kernel_type=kernel, kernel_params=[0.5, 0.25, 2.0], support_vectors=ROW[:12], n_supports=3,
          coefficients=ROW[12:15], rho=[0.125], one_class=one_class)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizers(norm):
    check("Normalizer", {"x": np.abs(X) if norm == "MAX" else X}, norm=norm)


def test_features():
    check("Scaler", {"x": X}, offset=[0.5, 1.0, -1.0, 2.0], scale=[2.0, 1.0, 0.5, 1.0])
    check("Scaler", {"x": np.arange(6).reshape(2, 3)}, offset=[0.5], scale=[2.0])
    check("Imputer", {"x": np.where(X > 0, X, np.float32(np.nan))}, imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=float("nan"))
    check("Imputer", {"x": np.array([[1, -1], [2, 3]])}, imputed_value_int64s=[7], replaced_value_int64=-1)
    check("OneHotEncoder", {"x": np.array([[3, 5], [9, 3]])}, cats_int64s=[3, 9], zeros=1)
    check("FeatureVectorizer", {"a": X, "b": X[:, :2]}, version=1, inputdimensions=[4, 2])


def test_label_encoders():
    check("LabelEncoder", {"x": np.array([3, 5, 9, 3])}, keys_int64s=[9, 3], values_int64s=[1, -4], default_int64=6)
    check("LabelEncoder", {"x": np.array([3, 5, 9, 3])}, keys_int64s=[9, 3], values_floats=[1.5, -4.0], default_float=0.5)
    check("LabelEncoder", {"x": np.float32([0.5, np.nan, 2.0])}, version=4, keys_tensor=np.float32([0.5, np.nan]),
          values_tensor=np.array([1, 2]), default_tensor=np.array([3]))


@pytest.mark.parametrize("name, attributes, message", [
    ("LabelEncoder", {"keys_strings": ["a"], "values_int64s": [1]}, "keys of string for f32"),
    ("Scaler", {"offset": [1.0, 2.0], "scale": [1.0]}, "2 elements of offset"),
    ("Normalizer", {"norm": "L3"}, "MAX, L1 or L2"),
    ("LinearRegressor", {"coefficients": [1.0, 2.0]}, "2 coefficients"),
    ("SVMRegressor", {"kernel_type": "WAVE", "rho": [0.0]}, "WAVE"),
])
def test_what_is_refused(name, attributes, message):
    with pytest.raises(CompileError, match=message):
        load(model_of(name, {"x": X}, attributes, ["y"], 3))


@pytest.mark.parametrize("name, attributes", [("ZipMap", {"classlabels_int64s": [1, 2]}), ("DictVectorizer", {"int64_vocabulary": [1]}),
                                              ("CastMap", {})])
def test_maps_are_refused_with_the_reason(name, attributes):
    with pytest.raises(CompileError, match=f"operator {name} .* is not supported: it works on maps(?s:.*)hint"):
        load(model_of(name, {"x": X}, attributes, ["y"], 1))


def drawn_svm(seed, classes, kernel, transform, probabilities, positive, linear, text):
    """Rows, and the attributes of a classifier."""
    generator = np.random.default_rng(seed)
    per = [2, 1, 3, 2][:classes]
    pairs, vectors = classes * (classes - 1) // 2, sum(per)

    def numbers(count, low=-1.0):
        return (generator.random(count) * (1 - low) + low).astype(np.float32).tolist()
    found = {"kernel_type": kernel, "kernel_params": [0.5, 0.25, 2.0], "post_transform": transform}
    least = 0.0 if positive else -1.0
    if linear:
        found |= {"kernel_type": "LINEAR", "coefficients": numbers(classes * 4, least), "rho": [0.125]}
    else:
        found |= {"coefficients": numbers(vectors * (classes - 1), least), "rho": numbers(pairs), "vectors_per_class": per,
                  "support_vectors": numbers(vectors * 4)}
        found |= {"prob_a": numbers(pairs), "prob_b": numbers(pairs)} if probabilities else {}
    labels = {"classlabels_strings": ["a", "bb", "c", "d"][:classes]} if text else {"classlabels_ints": [5, 3, 8, 2][:classes]}
    return generator.standard_normal((7, 4)).astype(np.float32), {**found, **labels}


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 4), kernel=st.sampled_from(["LINEAR", "POLY", "RBF", "SIGMOID"]),
       transform=st.sampled_from(TRANSFORMS), options=st.tuples(*[st.booleans()] * 4))
def test_support_vector_classifiers(seed, classes, kernel, transform, options):
    x, attributes = drawn_svm(seed, classes, kernel, transform, *options)
    model = model_of("SVMClassifier", {"x": x}, attributes, ["label", "scores"], 1)
    labels, scores = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    graph = load(model)
    found = [interpret(graph, {"x": x})] + ([compile(graph, optimize="0", workers=0).run({"x": x})] if seed % 8 == 0 else [])
    for each in found:
        assert each["label"].astype(str).tolist() == labels.astype(str).tolist()
        np.testing.assert_allclose(each["scores"], scores, rtol=1e-4, atol=1e-4)


def test_labels_of_text():
    trees, leaves = drawn_trees(np.random.default_rng(1), 2, 4, "BRANCH_LEQ")
    every = [(tree, leaf, target) for tree, leaf in leaves for target in range(3)]
    weights = {"class_treeids": [e[0] for e in every], "class_nodeids": [e[1] for e in every], "class_ids": [e[2] for e in every],
               "class_weights": (ROW * 9)[:len(every)]}
    for name, attributes in (("LinearClassifier", {"coefficients": ROW[:12], "intercepts": ROW[12:15]}),
                             ("LinearClassifier", {"coefficients": ROW[:4], "intercepts": ROW[12:13]}),
                             ("TreeEnsembleClassifier", {**trees, **weights})):
        words = ["one", "zwei", "trois"][:2 if attributes.get("coefficients") == ROW[:4] else 3]
        model = model_of(name, {"x": X}, {**attributes, "classlabels_strings": words}, ["label", "scores"], 3)
        wanted = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(["label"], {"x": X})[0].tolist()
        graph = load(model)
        assert interpret(graph, {"x": X})["label"].tolist() == wanted
        assert compile(graph, optimize="0", workers=0).run({"x": X})["label"].tolist() == wanted


def test_trees_that_lead_in_a_circle():
    circle = {**TREE, "nodes_falsenodeids": [0, 1, 2]}
    with pytest.raises(CompileError, match="circle"):
        graph = load(model_of("TreeEnsemble", {"x": X}, circle | {
            "leaf_weights": np.float32([1, 10, 100]), "nodes_splits": np.float32([2, 5, 3]), "nodes_modes": np.zeros(3, np.uint8)}, ["y"], 5))
        compile(graph, optimize="0", workers=0)
