/* Threads of our own: helpers that are asked to take part in a call, and never waited for before they have begun.

   An OpenMP region ends when all of its threads have been through it, and its helpers spin for milliseconds after it:
   beside a busy neighbour a call of 10 us takes a time slice, and idle helpers are busy neighbours themselves. Here the
   caller asks, goes on, and withdraws what nobody has begun. Whoever waits spins for some microseconds, then sleeps. A
   helper that keeps callers waiting has no core: it is left out for a while.

   Callers hold the GIL when they make helpers or count themselves; all else is done by atomic operations. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#define FASTNN_PAUSE() __builtin_ia32_pause()
#else
#define FASTNN_PAUSE() ((void) 0)
#endif

#define FASTNN_MOST_THREADS 64
#define FASTNN_STACK (1 << 19)      /* bytes of a helper's stack: a few arrays of some KB lie there */
#define FASTNN_LOOKS 64             /* at a word before the clock is asked: some microseconds at most */
#define FASTNN_SPIN 20000           /* ns that a thread spins before it sleeps: about what waking it takes */
#define FASTNN_LATE 2000000         /* ns that callers may wait for a helper, but for once: less than a time slice, */
#define FASTNN_WINDOW 20000000      /* within some so many ns that it takes part in; if it is a third of them */
#define FASTNN_REST 4               /* it rests for so many times what it took, or twice as long as before, */
#define FASTNN_LONGEST 1000000000   /* but not longer */
#define FASTNN_MISSED 1000000       /* ns of calls that ask it in vain: waking an idle core takes less; that is as bad as a wait of SPIN */

static inline int64_t fastnn_now(void) {        /* ns */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}


/* A number that threads wait to see change. */
typedef struct {
    int value, sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char apart[128];                /* from the next: cores fetch lines by two */
} fastnn_word;

static void fastnn_begin_word(fastnn_word *word) {
    word->value = word->sleepers = 0;
    pthread_mutex_init(&word->mutex, NULL);
    pthread_cond_init(&word->changed, NULL);
}

static inline int fastnn_get(fastnn_word *word) { return __atomic_load_n(&word->value, __ATOMIC_SEQ_CST); }

static inline int fastnn_swap(fastnn_word *word, int expected, int value) {
    return __atomic_compare_exchange_n(&word->value, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Returns whether somebody slept, whom it has woken. */
static int fastnn_set(fastnn_word *word, int value) {
    __atomic_store_n(&word->value, value, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&word->sleepers, __ATOMIC_SEQ_CST)) return 0;
    pthread_mutex_lock(&word->mutex);
    __atomic_store_n(&word->sleepers, 0, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&word->changed);
    pthread_mutex_unlock(&word->mutex);
    return 1;
}

/* Waits while the word has this value; returns the ns that it took, 0 for some looks. */
static int64_t fastnn_leave(fastnn_word *word, int value) {
    int looks;
    int64_t start, now;
    for (looks = 0; looks < FASTNN_LOOKS; looks++) {
        if (fastnn_get(word) != value) return 0;
        FASTNN_PAUSE();
    }
    start = now = fastnn_now();
    while (fastnn_get(word) == value && now - start < FASTNN_SPIN) {
        for (looks = 0; looks < 8; looks++) FASTNN_PAUSE();
        now = fastnn_now();
    }
    if (fastnn_get(word) == value) {
        pthread_mutex_lock(&word->mutex);
        __atomic_store_n(&word->sleepers, 1, __ATOMIC_SEQ_CST);
        while (fastnn_get(word) == value) {
            pthread_cond_wait(&word->changed, &word->mutex);
            __atomic_store_n(&word->sleepers, 1, __ATOMIC_SEQ_CST);
        }
        pthread_mutex_unlock(&word->mutex);
    }
    return fastnn_now() - start;
}


/* A helper is idle; taken, then asked by a team, or called to begin at once; ready for work, and at it. */
enum { FASTNN_IDLE, FASTNN_TAKEN, FASTNN_ASKED, FASTNN_CALLED, FASTNN_READY, FASTNN_WORK };

typedef struct {
    fastnn_word state;
    pthread_t thread;
    int cpu;                        /* where it last went to sleep, or looked for work */
    struct fastnn_team *team;
    int number;                     /* of the thread in its team; 0 where it has no part */
    int64_t missed;                 /* ns of calls in a row that ended before it began */
    int64_t shared, lost, longest;  /* ns of calls that it took part in, of them those that it was waited for, at most at once */
    int64_t latest, asked;          /* up to when they are counted, and when it was asked last */
    int64_t rest, until;            /* how long it rests, 0 after it was of use for a while; and to what time */
} fastnn_helper;

typedef struct fastnn_team {
    void (*work)(void *, int);      /* what each thread does, with its number; the caller's is 0 */
    void *what;
    int threads;                    /* that a stretch of work is dealt out to */
    int asked, most;                /* helpers; threads that took part at once */
    fastnn_helper *helpers[FASTNN_MOST_THREADS];
    fastnn_word round[FASTNN_MOST_THREADS];     /* how often each thread has met the others */
} fastnn_team;

static fastnn_helper fastnn_helpers[FASTNN_MOST_THREADS];
static int fastnn_made;             /* helpers that there are */
static int fastnn_callers;          /* calls under way: they share the cores */
static int fastnn_took_part;        /* threads in the latest call that asked for some */
static int fastnn_patient;          /* in tests: all helpers are waited for, and none rests */
static int fastnn_restless;         /* in tests: stretches of two steps, by other threads each */

/* In benchmarks: what threads would take if each had a core. Of the phases between two meetings, the slowest thread's time
   on its core, summed; even and odd phases apart, since a thread may be one ahead. */
static int fastnn_timed;
static int64_t fastnn_work_time[FASTNN_MOST_THREADS], fastnn_phase[2][FASTNN_MOST_THREADS][16];
static int64_t fastnn_critical, fastnn_meetings;
static __thread int64_t fastnn_mark;

static int64_t fastnn_core_time(void) {         /* ns of this thread */
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fastnn_end_phase(int thread, int round) {
    int64_t time = fastnn_core_time() - fastnn_mark;
    fastnn_phase[round & 1][thread][0] = time;
    fastnn_work_time[thread] += time;
}

static void fastnn_begin_phase(int thread, int threads, int round) {
    int64_t slowest = 0;
    int other;
    for (other = 0; other < threads; other++)
        if (fastnn_phase[round & 1][other][0] > slowest) slowest = fastnn_phase[round & 1][other][0];
    if (thread == 0) {
        fastnn_critical += slowest;
        fastnn_meetings++;
    }
    fastnn_mark = fastnn_core_time();
}

static inline int fastnn_cpu(void) {
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

static void *fastnn_serve(void *argument) {
    fastnn_helper *me = argument;
    for (;;) {
        int state = fastnn_get(&me->state);
        if (state == FASTNN_ASKED) fastnn_swap(&me->state, state, FASTNN_READY);
        else if (state == FASTNN_CALLED) fastnn_swap(&me->state, state, FASTNN_WORK);
        else if (state == FASTNN_WORK) {
            if (fastnn_timed) fastnn_mark = fastnn_core_time();
            me->team->work(me->team->what, me->number);
            fastnn_set(&me->state, FASTNN_READY);
        } else {
            __atomic_store_n(&me->cpu, fastnn_cpu(), __ATOMIC_RELAXED);
            fastnn_leave(&me->state, state);
        }
    }
    return NULL;
}

/* Sends a helper away from the caller's CPU, where it would wait for the caller to rest: Linux wakes it there, or the caller
   where a helper has run, though other CPUs are idle (those of a virtual machine look taken as they sleep). */
static void fastnn_send_away(fastnn_helper *helper) {
#ifdef __linux__
    int cpu = fastnn_cpu();
    cpu_set_t allowed;
    if (__atomic_load_n(&helper->cpu, __ATOMIC_RELAXED) != cpu || sched_getaffinity(0, sizeof allowed, &allowed)
            || CPU_COUNT(&allowed) < 2) return;
    CPU_CLR(cpu, &allowed);
    __atomic_store_n(&helper->cpu, -1, __ATOMIC_RELAXED);       /* until it looks for work again */
    pthread_setaffinity_np(helper->thread, sizeof allowed, &allowed);
#else
    (void) helper;
#endif
}

/* Makes helpers until there are so many; returns how many there are, if the system gives no more. */
static int fastnn_make(int helpers) {
    sigset_t all, before;
    pthread_attr_t detached;
    int more;
    void *room = NULL;
    if (helpers > FASTNN_MOST_THREADS) helpers = FASTNN_MOST_THREADS;
    for (more = helpers - fastnn_made; more > 0; more /= 2)     /* their work needs memory as well */
        if ((room = malloc((size_t) 2 * FASTNN_STACK * more))) break;
    if (more <= 0) return helpers < fastnn_made ? helpers : fastnn_made;
    free(room);
    helpers = fastnn_made + more;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);  /* signals are the caller's */
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, FASTNN_STACK);
    for (; fastnn_made < helpers; fastnn_made++) {
        fastnn_helper *helper = &fastnn_helpers[fastnn_made];
        memset(helper, 0, sizeof *helper);
        fastnn_begin_word(&helper->state);
        helper->cpu = -1;
        if (pthread_create(&helper->thread, &detached, fastnn_serve, helper)) break;
    #ifdef __linux__
        pthread_setname_np(helper->thread, "fastnn");
    #endif
    }
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return fastnn_made;
}

static void fastnn_forget(void) { fastnn_made = fastnn_callers = 0; }      /* the child of a fork has no helpers */

static void fastnn_start_threads(void) { pthread_atfork(NULL, NULL, fastnn_forget); }

static void fastnn_begin_team(fastnn_team *team) {
    int i;
    for (i = 0; i < FASTNN_MOST_THREADS; i++) fastnn_begin_word(&team->round[i]);
}

static void fastnn_send_to_rest(fastnn_helper *helper, int64_t lost, int64_t now) {
    int64_t rest = FASTNN_REST * lost > 2 * helper->rest ? FASTNN_REST * lost : 2 * helper->rest;
    helper->rest = rest < FASTNN_LONGEST ? rest : FASTNN_LONGEST;
    __atomic_store_n(&helper->until, now + helper->rest, __ATOMIC_RELAXED);
    helper->shared = helper->lost = helper->longest = helper->missed = 0;
}

/* The caller has waited so many ns for a helper, up to now. Returns whether it does better without; then that one rests. */
static int fastnn_is_late(fastnn_helper *helper, int64_t waited, int64_t now) {
    if (helper->shared > FASTNN_WINDOW && 3 * helper->lost <= helper->shared)      /* all was well for a while */
        helper->shared = helper->lost = helper->longest = helper->rest = 0;
    helper->shared += now - (helper->latest > helper->asked ? helper->latest : helper->asked);
    helper->lost += waited;
    helper->latest = now;
    if (waited > helper->longest) helper->longest = waited;     /* once may be chance */
    if (helper->lost - helper->longest <= FASTNN_LATE || 3 * helper->lost <= helper->shared || fastnn_patient) return 0;
    fastnn_send_to_rest(helper, helper->lost, now);
    return 1;
}

/* Asks idle helpers to be ready, or calls them to begin at once. */
static void fastnn_ask(fastnn_team *team, int helpers, int state) {
    int64_t now = fastnn_now();
    int i;
    team->asked = 0;
    team->threads = team->most = 1;
    for (i = 0; i < fastnn_made && team->asked < helpers; i++) {
        fastnn_helper *helper = &fastnn_helpers[i];
        int rests = __atomic_load_n(&helper->until, __ATOMIC_RELAXED) > now && !fastnn_patient;
        if (!rests && fastnn_get(&helper->state) == FASTNN_IDLE && fastnn_swap(&helper->state, FASTNN_IDLE, FASTNN_TAKEN)) {
            helper->team = team;
            helper->asked = now;
            team->helpers[team->asked++] = helper;
            helper->number = team->asked;
            fastnn_send_away(helper);
            if (fastnn_set(&helper->state, state)) {    /* who is woken where the caller runs takes the core from it */
                now = fastnn_now();
                helper->lost += now - helper->asked;
            }
            while (fastnn_patient && fastnn_get(&helper->state) == state) sched_yield();
        }
    }
}

/* How many helpers are ready, and have no part yet. */
static int fastnn_ready(fastnn_team *team) {
    int i, ready = 0;
    for (i = 0; i < team->asked; i++) ready += fastnn_get(&team->helpers[i]->state) == FASTNN_READY;
    return ready;
}

/* Deals out a stretch of work to the caller and the helpers that are ready, but not to more than `most`; others are
   waited for so many ns. */
static void fastnn_form(fastnn_team *team, int most, int64_t patience) {
    int64_t start = fastnn_now();
    int i;
    while (fastnn_ready(team) < team->asked && fastnn_now() - start < patience) FASTNN_PAUSE();
    team->threads = 1;
    for (i = 0; i < team->asked; i++) {
        int takes_part = team->threads < most && fastnn_get(&team->helpers[i]->state) == FASTNN_READY;
        team->helpers[i]->number = takes_part ? team->threads++ : 0;
    }
    if (team->threads > team->most) team->most = team->threads;
    for (i = 0; i < team->threads; i++) team->round[i].value = 0;
    for (i = 0; i < team->asked; i++)
        if (team->helpers[i]->number) fastnn_set(&team->helpers[i]->state, FASTNN_WORK);
    if (fastnn_timed) fastnn_mark = fastnn_core_time();
}

/* The threads of a stretch meet. Returns whether the caller does better without one of them, who rests from its end on. */
static inline int fastnn_meet(fastnn_team *team, int thread) {
    int round = team->round[thread].value + 1, other, i, late = 0;
    if (fastnn_timed) fastnn_end_phase(thread, round);
    fastnn_set(&team->round[thread], round);
    for (other = 0; other < team->threads; other++) {
        int64_t waited = fastnn_leave(&team->round[other], round - 1);
        for (i = 0; i < (waited && thread == 0 ? team->asked : 0); i++)
            if (team->helpers[i]->number == other) late |= fastnn_is_late(team->helpers[i], waited, fastnn_now());
    }
    if (fastnn_timed) fastnn_begin_phase(thread, team->threads, round);
    return late;
}

/* The end of a stretch: waits until all are through, and dismisses who shall rest. */
static void fastnn_gather(fastnn_team *team) {
    int64_t now = fastnn_now();
    int i;
    for (i = team->asked - 1; i >= 0; i--) {
        fastnn_helper *helper = team->helpers[i];
        fastnn_leave(&helper->state, FASTNN_WORK);
        if (helper->until > now && fastnn_get(&helper->state) == FASTNN_READY) {
            fastnn_set(&helper->state, FASTNN_IDLE);
            team->helpers[i] = team->helpers[--team->asked];
        }
    }
}

/* The end of all: withdraws what no helper has begun, and waits for what they have. */
static void fastnn_finish(fastnn_team *team) {
    int i, begun = 0;
    int64_t now = team->asked ? fastnn_now() : 0;
    for (i = 0; i < team->asked; i++) {
        fastnn_helper *helper = team->helpers[i];
        if (fastnn_swap(&helper->state, FASTNN_ASKED, FASTNN_TAKEN) || fastnn_swap(&helper->state, FASTNN_CALLED, FASTNN_TAKEN)) {
            helper->missed += now - helper->asked;
            if (helper->missed > FASTNN_MISSED) fastnn_send_to_rest(helper, FASTNN_SPIN, now);
        } else {
            int64_t waited = fastnn_leave(&helper->state, FASTNN_WORK);
            now = fastnn_now();
            fastnn_is_late(helper, waited, now);
            helper->missed = 0;
            begun += helper->number != 0;
        }
        fastnn_set(&helper->state, FASTNN_IDLE);        /* from here on it is anybody's */
    }
    if (begun + 1 > team->most) team->most = begun + 1;
    __atomic_store_n(&fastnn_took_part, team->most, __ATOMIC_RELAXED);
    team->asked = 0;
}

/* For tests: how long, in ns, a helper rests at the end that callers have waited for so many ns, up to these times. */
static int64_t fastnn_rest_after(const int64_t *times, const int64_t *waits, int n) {
    fastnn_helper helper;
    int i;
    memset(&helper, 0, sizeof helper);
    for (i = 0; i < n; i++) fastnn_is_late(&helper, waits[i], times[i]);
    return n && helper.until > times[n - 1] ? helper.until - times[n - 1] : 0;
}
