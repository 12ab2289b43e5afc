"""TFLite models: the file (file), what its operators mean as operators of the graph (the modules of `converters`), and the front door.

    from edgec.tflite.reader import load;  graph = load("model.tflite")
"""
