"""ONNX models: reader.py turns a file into a graph, writer.py a graph into a file; the rest is what one file of them needs each.

    from edgec.onnx.reader import load;  graph = load("model.onnx")
"""
