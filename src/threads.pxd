# cython: language_level=3
"""threads.h: the threads of a call."""
from libc.stdint cimport int64_t, uint64_t

ctypedef void (*Work)(void* what, int number) noexcept nogil

cdef extern from "threads.h":
    """
    /* Engines compute in one mode, whatever the caller's: to nearest, without traps, subnormal numbers as zero on
       the way in and out. Moments of dead neurons would stay subnormal for ever, at 30 times the time a step. */
    #if defined(__SSE2__)
    static inline uint64_t fastnn_enter_mode(void) {
        uint64_t before = __builtin_ia32_stmxcsr();
        __builtin_ia32_ldmxcsr(0x9fc0);
        return before;
    }
    static inline void fastnn_leave_mode(uint64_t before) { __builtin_ia32_ldmxcsr((unsigned) before); }
    #elif defined(__aarch64__)
    static inline void fastnn_leave_mode(uint64_t before) { __asm__ volatile("msr fpcr, %0" :: "r"(before) : "memory"); }
    static inline uint64_t fastnn_enter_mode(void) {
        uint64_t before;
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        fastnn_leave_mode((uint64_t) 1 << 24);
        return before;
    }
    #else
    static inline uint64_t fastnn_enter_mode(void) { return 0; }
    static inline void fastnn_leave_mode(uint64_t before) { (void) before; }
    #endif

    /* Numbers that several threads read and write. Adding returns what was there before. */
    static inline int64_t fastnn_add(int64_t *number, int64_t more) { return __atomic_fetch_add(number, more, __ATOMIC_SEQ_CST); }
    static inline int64_t fastnn_look(int64_t *number) { return __atomic_load_n(number, __ATOMIC_SEQ_CST); }
    static inline void fastnn_put(int64_t *number, int64_t value) { __atomic_store_n(number, value, __ATOMIC_SEQ_CST); }
    """
    int MOST_THREADS "FASTNN_MOST_THREADS"
    int ASKED "FASTNN_ASKED"
    int CALLED "FASTNN_CALLED"
    int callers "fastnn_callers"
    int took_part "fastnn_took_part"
    int patient "fastnn_patient"
    int restless "fastnn_restless"
    int timed "fastnn_timed"
    int64_t work_time "fastnn_work_time" [64]
    int64_t critical "fastnn_critical"
    int64_t meetings "fastnn_meetings"
    ctypedef struct Team "fastnn_team":
        Work work
        void* what
        int threads, asked
    void start_threads "fastnn_start_threads" () noexcept
    int make_helpers "fastnn_make" (int helpers) noexcept
    void begin_team "fastnn_begin_team" (Team* team) noexcept
    void ask "fastnn_ask" (Team* team, int helpers, int state) noexcept nogil
    int ready "fastnn_ready" (Team* team) noexcept nogil
    void form "fastnn_form" (Team* team, int most, int64_t patience) noexcept nogil
    bint meet_all "fastnn_meet" (Team* team, int thread) noexcept nogil
    void gather_all "fastnn_gather" (Team* team) noexcept nogil
    void finish "fastnn_finish" (Team* team) noexcept nogil
    int64_t rest_after "fastnn_rest_after" (const int64_t* times, const int64_t* waits, int n) noexcept nogil
    int64_t add_to "fastnn_add" (int64_t* number, int64_t more) noexcept nogil
    int64_t look_at "fastnn_look" (int64_t* number) noexcept nogil
    void put "fastnn_put" (int64_t* number, int64_t value) noexcept nogil
    uint64_t enter_mode "fastnn_enter_mode" () noexcept nogil
    void leave_mode "fastnn_leave_mode" (uint64_t before) noexcept nogil
