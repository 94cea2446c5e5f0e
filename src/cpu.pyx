# cython: language_level=3
"""What the chooser asks before it loads an engine: code of the baseline, which every CPU runs.

setup.py writes FASTNN_SETS from the table that it compiles the engines by.
"""
cdef extern from *:
    """
    /* GCC and Clang ask the CPU, and whether the system saves the registers (XGETBV). */
    #define HAS(feature) && __builtin_cpu_supports(feature)
    #define SET(name, features) {name, 1 features},

    typedef struct { const char *name; int runs; } fastnn_set;

    static int fastnn_list(fastnn_set *found) {
        const fastnn_set sets[] = {FASTNN_SETS};
        memcpy(found, sets, sizeof sets);
        return sizeof sets / sizeof *sets;
    }
    """
    ctypedef struct Set "fastnn_set":
        const char* name
        int runs
    int list_sets "fastnn_list" (Set* found)


def instruction_sets():
    """The engines that were built, best first, and whether this CPU runs each: {name: runs}."""
    cdef Set found[16]
    cdef int number = list_sets(found), i
    return {found[i].name.decode(): bool(found[i].runs) for i in range(number)}
