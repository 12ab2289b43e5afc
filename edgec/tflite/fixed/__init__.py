"""The arithmetic of TFLite's reference kernels, bit for bit (`--requant=tflite`): one module a family, as in `converters`.

    FIXED["CONV_2D"](node)         # integers in, integers out
"""
