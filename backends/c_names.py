"""C identifiers for whatever names a model has: unique, readable, and neither keywords nor macros of C or C++.

Macros are upper-case versions of these names, so two names never differ in case alone.

    >>> identifiers(["input:0", "int", "Input_0"])
    ('input_0', 'int_', 'Input_0_2')
"""
import re
from collections.abc import Collection, Sequence

KEYWORDS = frozenset("""
    auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short
    signed sizeof static struct switch typedef union unsigned void volatile while alignas alignof and and_eq asm bitand bitor bool catch
    char8_t char16_t char32_t class compl concept consteval constexpr constinit const_cast co_await co_return co_yield decltype delete
    dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
    reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid typename typeof typeof_unqual using
    virtual wchar_t xor xor_eq
    """.split())
MACROS = frozenset("linux unix i386 arm errno assert offsetof NULL EOF I stdin stdout stderr complex imaginary min max".split())
STDINT = re.compile(r"u?int\w*_t|U?INT\w*|(SIZE|PTRDIFF|WCHAR|WINT|SIG_ATOMIC)_\w+", re.ASCII)

# A model's prefix is also a function's name, so the functions that compilers and C libraries know are not free for it.
FUNCTIONS = frozenset("""
    main abort abs acos asin atan atan2 atof atoi calloc ceil clock cos cosh div erf exit exp exp2 expm1 fabs fdim floor fma fmax fmin fmod
    free frexp gamma getc index isnan j0 j1 jn labs ldexp lgamma log log10 log1p log2 logb lrint lround malloc memchr memcmp memcpy memmove
    memset modf pow printf putc puts qsort raise rand read realloc remove rename rint rindex round scanf select send signal sin sinh sleep
    sqrt srand strcat strchr strcmp strcpy strlen strncpy system tan tanh tgamma time trunc write y0 y1 yn
    """.split())


def identifiers(names: Sequence[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """One identifier per name, in order, all different from each other and from `taken`, also when case is ignored."""
    used, result = {name.lower() for name in taken}, []
    for name in names:
        plain = identifier(name)
        candidate, number = plain, 2
        while candidate.lower() in used:
            candidate, number = f"{plain.rstrip('_')}_{number}", number + 1
        used.add(candidate.lower())
        result.append(candidate)
    return tuple(result)


def identifier(name: str) -> str:
    """`name` as one C identifier: letters, digits and single underscores, none at the start (those names belong to the compiler)."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "unnamed"
    plain = "t" + plain if plain[0].isdigit() else plain
    reserved = plain in KEYWORDS or plain in MACROS or STDINT.fullmatch(plain)
    return plain + "_" if reserved else plain


def prefix(name: str) -> str:
    """The prefix of everything a model's header declares, from a file or model name."""
    plain = identifier(name).rstrip("_")
    return plain + "_model" if plain in FUNCTIONS or plain != identifier(name) else plain
