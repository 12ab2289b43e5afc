"""placeholder until the portable arithmetic lands"""
def expand(root, native, fma):
    return root
