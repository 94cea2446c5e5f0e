# cython: language_level=3
"""Threads that a region will need, made before it begins, and none left when the process forks.

OpenMP's runtime keeps a caller's helpers for its next region. It ends the process where it cannot make one, and
a child that was forked while they were there would wait for them for ever.
"""
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #define FASTNN_MOST_THREADS 64
    #ifdef _OPENMP
    #include <limits.h>
    #include <omp.h>
    #include <pthread.h>
    #include <sched.h>
    #include <stdlib.h>
    #ifdef __linux__
    #include <signal.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #endif

    #define FASTNN_OPENMP _OPENMP
    #define fastnn_team_size() omp_get_num_threads()

    static __thread int fastnn_made = 1;            /* threads of this thread's latest team, itself included, */
    static __thread int fastnn_most = INT_MAX;      /* and how many the system gives */
    static pthread_attr_t fastnn_attributes;

    typedef struct { pthread_t thread; pthread_mutex_t *gate; long number; } fastnn_trial;

    static void *fastnn_pass(void *argument) {
        fastnn_trial *trial = argument;
    #ifdef __linux__
        trial->number = syscall(SYS_gettid);
    #endif
        pthread_mutex_lock(trial->gate);
        pthread_mutex_unlock(trial->gate);
        return NULL;
    }

    /* How many of so many more threads the system gives at once. */
    static int fastnn_try(int threads) {
        fastnn_trial trials[FASTNN_MOST_THREADS];
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        int made = 0, i;
        pthread_mutex_lock(&gate);
        while (made < threads) {
            trials[made].gate = &gate;
            if (pthread_create(&trials[made].thread, &fastnn_attributes, fastnn_pass, &trials[made])) break;
            made++;
        }
        pthread_mutex_unlock(&gate);
        for (i = 0; i < made; i++) {
            pthread_join(trials[i].thread, NULL);
    #ifdef __linux__    /* a thread that has ended counts against the limits until the kernel has forgotten it */
            while (syscall(SYS_tgkill, getpid(), trials[i].number, 0) == 0) sched_yield();
    #endif
        }
        pthread_mutex_destroy(&gate);
        return made;
    }

    static int fastnn_team(int threads) {
        int made;
        if (threads > fastnn_most) threads = fastnn_most;
        if (threads > fastnn_made) {
            made = fastnn_made + fastnn_try(threads - fastnn_made);
            if (made < threads) threads = fastnn_most = (made + 1) / 2;     /* work needs memory as well */
            #pragma omp parallel num_threads(threads)
            __asm__ volatile("");
        }
        if (threads > 1) fastnn_made = threads;     /* helpers beyond a team's size end when it begins */
        return threads;
    }

    static void fastnn_release(void) {
        omp_pause_resource_all(omp_pause_soft);
        fastnn_made = 1;
        fastnn_most = INT_MAX;
    }

    /* The stacks are as large as the runtime's: "size" or "size B", K (the default), M or G. */
    static void fastnn_start_threads(void) {
        const char *text = getenv("OMP_STACKSIZE");
        char *end;
        size_t size;
        pthread_attr_init(&fastnn_attributes);
        if (text || (text = getenv("GOMP_STACKSIZE"))) {
            size = strtoul(text, &end, 10);
            while (*end == ' ') end++;
            size <<= *end == 'b' || *end == 'B' ? 0 : *end == 'm' || *end == 'M' ? 20
                     : *end == 'g' || *end == 'G' ? 30 : 10;
            pthread_attr_setstacksize(&fastnn_attributes, size);        /* refuses nonsense, as the runtime does */
        }
    #ifndef __clang__   /* Clang's runtime has handlers of its own */
        pthread_atfork(fastnn_release, NULL, NULL);
    #endif
    }
    #else
    #define FASTNN_OPENMP 0
    #define fastnn_team_size() 1
    #define fastnn_team(threads) 1
    #define fastnn_start_threads() ((void) 0)
    #endif

    #include <sched.h>
    #if defined(__x86_64__) || defined(__i386__)
    #define FASTNN_PAUSE() __builtin_ia32_pause()
    #else
    #define FASTNN_PAUSE() ((void) 0)
    #endif

    /* The threads of a team meet: OpenMP's own barrier burns a whole time slice wherever another process
       has taken the core of the thread that is waited for; this one steps aside after some microseconds.
       Each thread counts its meetings in cache lines of its own, which only it writes. */
    typedef struct { int round[FASTNN_MOST_THREADS][32]; } fastnn_meeting;

    static inline void fastnn_meet(fastnn_meeting *meeting, int thread, int threads) {
        int round = meeting->round[thread][0] + 1, other, spins = 0;
        __atomic_store_n(&meeting->round[thread][0], round, __ATOMIC_RELEASE);
        for (other = 0; other < threads; other++)
            while (__atomic_load_n(&meeting->round[other][0], __ATOMIC_ACQUIRE) - round < 0) {
                if (++spins > 2000) sched_yield();
                FASTNN_PAUSE();
            }
    }

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
    """
    int OPENMP "FASTNN_OPENMP"
    int MOST_THREADS "FASTNN_MOST_THREADS"
    int team_size "fastnn_team_size" () noexcept nogil
    int make_team "fastnn_team" (int threads) noexcept      # under the GIL: callers take turns
    void start_threads "fastnn_start_threads" () noexcept
    ctypedef struct Meeting "fastnn_meeting":
        pass
    void wait_for "fastnn_meet" (Meeting* meeting, Py_ssize_t thread, Py_ssize_t threads) noexcept nogil
    uint64_t enter_mode "fastnn_enter_mode" () noexcept nogil
    void leave_mode "fastnn_leave_mode" (uint64_t before) noexcept nogil
