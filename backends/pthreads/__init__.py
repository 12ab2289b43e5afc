"""An executor for C programs, as source: `edgec compile --emit executor` writes the two files beside the object.

It is the pool of `edgec.backends.pool` over again, in C99 with POSIX threads and the atomic operations of GCC and Clang.

    files()["edgec_pthreads.h"]     # b'#ifndef EDGEC_PTHREADS_H ...'
"""
from pathlib import Path

FOLDER = Path(__file__).parent


def files() -> dict[str, bytes]:
    """The header and the source by file name."""
    return {name: (FOLDER / name).read_bytes() for name in ("edgec_pthreads.h", "edgec_pthreads.c")}
