"""Every transformation, one file each; the pass, its file and its function have one name (`fold-constants`: fold_constants.py).

Installed as `edgec.passes`. `edgec.pipeline.registered()` finds the graph passes by looking at the modules of this folder.
"""
