"""The C header of a compiled model: C99 and C++11, nothing included but <stdint.h>.

One context struct that can grow (its `size` member says how much of it the caller knows), one function, and everything a
program needs to know at compile time as constants. Sizes of the structs are asserted, so a compiler that lays them out in
another way than `interface.layout` refuses to compile.

    header(interface)  ->  #ifndef NET_H ... int32_t net_run(const net_context *context); ... #endif
"""
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from edgec.backends.binding import evaluate
from edgec.backends.interface import C_TYPES, Interface, Port, layout

EXECUTOR = """\
#ifndef EDGEC_EXECUTOR
#define EDGEC_EXECUTOR
/* Threads, lent by the caller: parallel_for calls body(argument, index, slot) for every index below count and returns when all calls have
   returned; calls that overlap in time get different slots below `slots`. together calls body(argument, 0, count) once in the calling
   thread, with a count of its own choice, at most `slots`, and meanwhile body(argument, index, count) in other threads for indices below
   count, none twice at a time, as often as they like or never; it returns when all calls have. rest is called by who has waited long. */
typedef struct edgec_executor {
    uint32_t size;                      /* sizeof(edgec_executor) */
    void *context;                      /* handed to parallel_for, otherwise untouched */
    uint32_t slots;
    void (*parallel_for)(void *context, void (*body)(void *argument, uint32_t index, uint32_t slot), void *argument, uint32_t count);
    void (*together)(void *context, void (*body)(void *argument, uint32_t index, uint32_t count), void *argument);     /* or NULL */
    void (*rest)(void *context);                                                                                      /* or NULL */
} edgec_executor;
#endif
"""

CONTEXT = """\
/* One call. Members after `arena` may be zero; a caller that does not know them at all sets `size` accordingly. */
typedef struct {prefix}_context {{
    uint32_t size;                      /* sizeof({prefix}_context) */
    {prefix}_inputs in;
    {prefix}_outputs out;
    void *arena;                        /* {macro}_ARENA_BYTES(slots) bytes at a multiple of {macro}_ARENA_ALIGN, scratch */
    const void *weights;                /* NULL: the weights in the object file */
    void *state;                        /* {state} */
    const edgec_executor *executor;     /* NULL: everything runs in the calling thread */
    uint32_t isa;                       /* {isa} */
}} {prefix}_context;

{init}/* Returns 0, or: -1 the context is too small, -2 a dimension is out of range, -3 the arena is missing or not aligned{refusal},
   -5 the executor is incomplete or has no slots{refused_state}.
   Reentrant: calls may overlap in time when each has its own arena{own} and outputs. */
int32_t {prefix}_run({const}{prefix}_context *context);

static inline int32_t {prefix}(const {prefix}_inputs *in, {const}{prefix}_outputs *out, void *arena{parameter}) {{
    {prefix}_context context;
    context.size = (uint32_t)sizeof context;
    context.in = *in;
    context.out = *out;
    context.arena = arena;
    context.weights = 0;
    context.state = {argument};
    context.executor = 0;
    context.isa = 0;
{call}}}
"""

CALL = "    return {prefix}_run(&context);\n"
TELLING = """\
    const int32_t status = {prefix}_run(&context);
    *out = context.out;     /* the sizes */
    return status;
"""

INIT = """\
/* Asks the processor and the system, and stores the widest level that both support in context->isa; every other member may be unset but
   `size`. Once is enough: the number may be copied into other contexts. Returns 0, or: -1 the context is too small, -4 the processor is
   below the first level. */
int32_t {prefix}_init({prefix}_context *context);

"""


def header(interface: Interface) -> str:
    """The whole header as text; the same interface gives the same text."""
    guard = f"{interface.prefix.upper()}_H"
    sections = [f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n",
                EXECUTOR, _memory(interface), _ports(interface), _functions(interface), _structs(interface),
                _context(interface), _asserts(interface),
                "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"]
    return "\n".join(section for section in sections if section)


def _functions(interface: Interface) -> str:
    """The C functions that a call needs."""
    if not interface.functions:
        return ""
    name = interface.prefix.upper()
    lines = [f"/* Functions of yours that {interface.run_symbol} calls, with dense row-major arrays; what they take of the stack is not in",
             f"   {name}_STACK_BYTES. */", *(prototype for _, prototype in interface.functions)]
    return "\n".join(lines) + "\n"


def _context(interface: Interface) -> str:
    """The context, and the functions that take one."""
    name, several = interface.prefix, bool(interface.levels)
    isa = f"0, or what {name}_init stores: {name.upper()}_ISA_..." if several else "0: the instruction set the object was compiled for"
    keeps = bool(interface.states)
    state = f"{name.upper()}_STATE_BYTES bytes at a multiple of {name.upper()}_ARENA_ALIGN, what is kept between calls" if keeps else \
        "NULL: the model keeps nothing between calls"
    return CONTEXT.format(prefix=name, macro=name.upper(), isa=isa, init=INIT.format(prefix=name) if several else "", state=state,
                          parameter=", void *state" if keeps else "", argument="state" if keeps else "0",
                          refused_state=", -6 the state is missing or not aligned" if keeps else "", own=", state" if keeps else "",
                          refusal=", -4 `isa` is unknown" if several else "", const="" if interface.sizes else "const ",
                          call=(TELLING if interface.sizes else CALL).format(prefix=name))


def largest_shape(port: Port, interface: Interface) -> tuple[int, ...]:
    """The port's extents at the largest values they take over all corners of the dimensions' ranges."""
    both = (*interface.dims, *interface.sizes)
    names, ranges = [name for name, _, _ in both], [(low, high) for _, low, high in both]
    corners = [dict(zip(names, values)) for values in product(*ranges)]
    return tuple(max(evaluate(extent, corner) for corner in corners) for extent in port.shape)


def _memory(interface: Interface) -> str:
    name = interface.prefix.upper()
    per_slot = f" + ((slots) - 1u) * {_unsigned(interface.slot_bytes)}" if interface.slot_bytes else " + 0 * (slots)"
    lines = ["/* slots: 1, or the executor's */",
             f"#define {name}_ARENA_BYTES(slots) ({_unsigned(max(interface.arena_bytes, 1))}{per_slot})",
             f"#define {name}_ARENA_ALIGN {interface.arena_align}",
             f"#define {name}_STACK_BYTES {_unsigned(interface.stack_bytes)}",
             f"#define {name}_FLASH_BYTES {_unsigned(interface.flash_bytes)}"]
    if interface.states:
        lines += ["/* Zeros at first, or what is put at PREFIX_STATE_NAME_AT; one for each stream of calls. */",
                  f"#define {name}_STATE_BYTES {_unsigned(interface.state_bytes)}"]
    if interface.decoded_at is not None:
        lines += ["/* Every call whose context has no weights decodes them to this place in the arena, where they stay: later calls with",
                  "   the same arena may be given them, context.weights = (char *)arena + this. */",
                  f"#define {name}_DECODED_AT {_unsigned(interface.decoded_at)}"]
    lines += [f"#define {name}_ISA_{level} {number}u" for number, level in enumerate(interface.levels)]
    for dim, low, high in (*interface.dims, *interface.sizes):
        lines += [f"#define {name}_{dim.upper()}_MIN {low}", f"#define {name}_{dim.upper()}_MAX {high}"]
    names = ", ".join(f"in.{name}" for name, _, _ in interface.dims)
    listed = ", ".join("(" + ", ".join(map(str, sizes)) + ")" for sizes in interface.variants)
    lines += [f"/* {names} is one of {listed}; anything else is refused with -2. */"] if interface.variants else []
    minmax = "#ifndef EDGEC_MIN\n#define EDGEC_MIN(a, b) ((a) < (b) ? (a) : (b))\n#define EDGEC_MAX(a, b) ((a) > (b) ? (a) : (b))\n#endif\n"
    return "\n".join(lines) + "\n" + (minmax if interface.dims or interface.sizes else "")


def _ports(interface: Interface) -> str:
    """Constants of each port. SIZE counts elements, at the most; SHAPE is an initialiser."""
    both = [("IN", port) for port in interface.inputs] + [("OUT", port) for port in interface.outputs]
    both += [("STATE", replace(each.port, extra=(("AT", f"{each.offset}u"),))) for each in interface.states]
    return "\n".join(line for side, port in both for line in _port(interface, side, port)) + "\n" if both else ""


def _port(interface: Interface, side: str, port: Port) -> Iterator[str]:
    name, size = f"{interface.prefix.upper()}_{side}_{port.c_name.upper()}", 1
    for extent in largest_shape(port, interface):
        size *= extent
    symbolic = any(isinstance(extent, str) for extent in port.shape)
    parameters = f"({', '.join(dim for dim, _, _ in (*interface.dims, *interface.sizes))})" if symbolic else ""
    yield f"/* {_comment(port.name)}: {port.dtype}[{', '.join(map(str, port.shape))}] */"
    if port.text:
        yield f"/* strings: slots of {port.shape[-1]} bytes, UTF-8, zeros behind the end; a string that fills its slot has no zero */"
        yield f"#define {name}_STRING_BYTES {port.shape[-1]}"
    yield f"#define {name}_SIZE {_unsigned(size)}"
    yield f"#define {name}_RANK {len(port.shape)}"
    if port.shape:
        yield f"#define {name}_SHAPE{parameters} {{{', '.join(map(str, port.shape))}}}"
    yield f"#define {name}_DTYPE \"{port.dtype}\""
    yield from (f"#define {name}_{key} {_constant(value)}" for key, value in port.extra)


def _structs(interface: Interface) -> str:
    dims, sizes = ([f"    int32_t {name};" for name, _, _ in both] for both in (interface.dims, interface.sizes))
    sizes = [f"{line}  /* computed */" for line in sizes]
    parts = []
    for side, ports, const, more in (("inputs", interface.inputs, "const ", dims), ("outputs", interface.outputs, "", sizes)):
        members = [f"    {const}{C_TYPES[port.dtype][0]} *{port.c_name};" for port in ports] or [f"    {const}void *nothing;"]
        name = f"{interface.prefix}_{side}"
        parts.append("\n".join([f"typedef struct {name} {{", *members, *more, f"}} {name};\n"]))
    return "/* Dense row-major arrays, aligned for their element type. Inputs and outputs must not overlap. */\n" + "\n".join(parts)


def _asserts(interface: Interface) -> str:
    narrow, wide = layout(interface, 32).size, layout(interface, 64).size
    prefix, size = interface.prefix, f"(sizeof(void *) == 8 ? {wide}u : {narrow}u)"
    return f"typedef char {prefix}_assert_context_size[sizeof({prefix}_context) == {size} ? 1 : -1];\n"


def _unsigned(value: int) -> str:
    return f"{value}u" if value < 1 << 32 else f"{value}ull"


def _constant(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value!r}f" if isinstance(value, float) else str(value)


def _comment(text: str) -> str:
    """Any text, safe inside a C comment."""
    return text.encode("ascii", "backslashreplace").decode().replace("*/", "* /").replace("/*", "/ *").replace("\n", "\\n")
