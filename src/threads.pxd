# cython: language_level=3
"""Threads that a region will need, made before it begins, and none left when the process forks.

OpenMP's runtime keeps a caller's helpers for its next region. It ends the process where it cannot make one, and
a child that was forked while they were there would wait for them for ever.
"""
cdef extern from *:
    """
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
    """
    int OPENMP "FASTNN_OPENMP"
    int MOST_THREADS "FASTNN_MOST_THREADS"
    int team_size "fastnn_team_size" () noexcept nogil
    int make_team "fastnn_team" (int threads) noexcept      # under the GIL: callers take turns
    void start_threads "fastnn_start_threads" () noexcept
