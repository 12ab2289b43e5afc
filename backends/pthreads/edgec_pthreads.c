/* C99 with POSIX threads and the atomic operations of GCC and Clang. Compile with -pthread.

   A job is `count` calls of a body. Every slot has a counter of its own, the job's number in its upper half and the next index in its
   lower one, and takes from its own share of the indices first, so that it finds in its cache what it left there, then from the others'
   shares. An index is taken by exchanging the whole counter, which fails when the job is over: a thread that comes late finds nothing, and
   nobody waits for it. A model that all threads run together is another kind of job: a word holds the job's number, whether it is open, and
   how many are in its body. Who comes enters by exchanging that word, may leave and enter again while the job is open, and never enters
   afterwards; the caller closes it when its own call has returned and waits for those who are inside, not for those who have not come.
   Between jobs a thread looks for the next one for a moment, and then sleeps. On Linux the others keep off the processor that the caller
   is on, as long as there are enough: a thread that is woken is often put there, and would wait for it while another one is idle. */
#if defined(__linux__) && !defined(__ANDROID__)
#define PROCESSORS              /* threads can be told where to run */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200112L
#endif
#include "edgec_pthreads.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define LINE 64                 /* bytes between words that different threads write */
#define LOOKS 100000u           /* a thread looks for work so often before it sleeps, about a tenth of a millisecond */
#define PATIENCE 20000u         /* the caller looks so often for the end of others' work before it yields its processor */
#define AGAIN 1000u             /* who has left a job looks so often whether it is closed before it yields its processor and enters again */
#define CLOSED 0xffffffffu      /* past the end of every share */
#define TEAM_CLOSED 0x80000000u /* nobody enters the job any more */

typedef void body_function(void *argument, uint32_t index, uint32_t slot);
typedef struct { uint64_t value; char rest[LINE - sizeof(uint64_t)]; } word;
typedef struct { edgec_pthreads *pool; uint32_t slot; pthread_t thread; } worker;

struct edgec_pthreads {
    edgec_executor executor;
    uint32_t slots, started;
    word generation;            /* of the last job; its members are written before it */
    word stop;
    word done;                  /* calls of this job that have returned in other threads than the one that has the pool */
    word busy;                  /* 1 while a thread has the pool */
    word sleepers;
    word team;                  /* of the last job that all run together: its number, TEAM_CLOSED, and how many are inside */
    body_function *body;
    void *argument;
    uint64_t count;
    body_function *team_body;
    void *team_argument;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    worker *workers;
    word *counters;             /* one for each slot */
#ifdef PROCESSORS
    cpu_set_t allowed;          /* where threads may run, when the pool was started */
    int caller;                 /* the processor that the others keep off, or -1 */
#endif
};

static uint64_t share(uint64_t slot, uint64_t count, uint64_t slots) { return slot * count / slots; }

/* Take indices of one job until there are none left; gives their number. */
static uint64_t work(edgec_pthreads *pool, uint64_t generation, uint32_t slot) {
    body_function *const body = __atomic_load_n(&pool->body, __ATOMIC_ACQUIRE);
    void *const argument = __atomic_load_n(&pool->argument, __ATOMIC_ACQUIRE);
    const uint64_t count = __atomic_load_n(&pool->count, __ATOMIC_ACQUIRE);
    uint64_t taken = 0;
    for (uint32_t k = 0; k < pool->slots; k++) {
        const uint32_t owner = (slot + k) % pool->slots;
        const uint64_t end = share(owner + 1u, count, pool->slots);
        uint64_t *const counter = &pool->counters[owner].value;
        uint64_t seen = __atomic_load_n(counter, __ATOMIC_ACQUIRE);
        for (;;) {
            if (seen >> 32 != (generation & 0xffffffffu)) return taken;
            const uint32_t index = (uint32_t)seen;
            if (index >= end) break;
            if (!__atomic_compare_exchange_n(counter, &seen, seen + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
            body(argument, index, slot);
            taken++;
            seen = __atomic_load_n(counter, __ATOMIC_ACQUIRE);
        }
    }
    return taken;
}

static void set_counters(edgec_pthreads *pool, uint64_t generation, uint64_t count, int closed) {
    for (uint32_t slot = 0; slot < pool->slots; slot++) {
        const uint64_t first = closed ? CLOSED : share(slot, count, pool->slots);
        __atomic_store_n(&pool->counters[slot].value, generation << 32 | first, __ATOMIC_RELEASE);
    }
}

static void wake(edgec_pthreads *pool) {
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->condition);
    pthread_mutex_unlock(&pool->mutex);
}

static void announce(edgec_pthreads *pool, uint64_t generation) {
    __atomic_store_n(&pool->generation.value, generation, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool->sleepers.value, __ATOMIC_SEQ_CST)) wake(pool);
}

/* Counters are closed before a job's members change and opened after: who takes an index has read the members of its job. */
static void publish(edgec_pthreads *pool, uint64_t generation, body_function *body, void *argument, uint32_t count) {
    set_counters(pool, generation, count, 1);
    __atomic_store_n(&pool->body, body, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->argument, argument, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->count, count, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->done.value, 0, __ATOMIC_RELEASE);
    set_counters(pool, generation, count, 0);
    announce(pool, generation);
}

#ifdef PROCESSORS
/* Whoever has claimed the pool calls this before a job: from another processor than last time, the others leave that one to it. */
static void keep_off(edgec_pthreads *pool) {
    const int here = sched_getcpu();
    if (here == pool->caller || here < 0 || here >= CPU_SETSIZE || (uint32_t)CPU_COUNT(&pool->allowed) < pool->slots) return;
    cpu_set_t others = pool->allowed;
    CPU_CLR(here, &others);
    pool->caller = here;
    for (uint32_t slot = 1; slot < pool->started; slot++)
        pthread_setaffinity_np(pool->workers[slot].thread, sizeof others, &others);
}

static void know_processors(edgec_pthreads *pool) {
    pool->caller = -1;
    if (pthread_getaffinity_np(pthread_self(), sizeof pool->allowed, &pool->allowed)) CPU_ZERO(&pool->allowed);
}
#else
static void keep_off(edgec_pthreads *pool) { (void)pool; }
static void know_processors(edgec_pthreads *pool) { (void)pool; }
#endif

static int claim(edgec_pthreads *pool) {
    uint64_t idle = 0;
    return __atomic_compare_exchange_n(&pool->busy.value, &idle, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* A job of whoever has claimed the pool, which is free afterwards. */
static void run(edgec_pthreads *pool, body_function *body, void *argument, uint32_t count) {
    const uint64_t generation = __atomic_load_n(&pool->generation.value, __ATOMIC_RELAXED) + 1;
    keep_off(pool);
    publish(pool, generation, body, argument, count);
    const uint64_t theirs = count - work(pool, generation, 0);
    for (uint32_t looks = 1; __atomic_load_n(&pool->done.value, __ATOMIC_ACQUIRE) != theirs; looks++)
        if (looks % PATIENCE == 0) sched_yield();
    __atomic_store_n(&pool->busy.value, 0, __ATOMIC_RELEASE);
}

static void parallel_for(void *context, body_function *body, void *argument, uint32_t count) {
    edgec_pthreads *const pool = context;
    if (claim(pool)) run(pool, body, argument, count);
    else for (uint32_t index = 0; index < count; index++) body(argument, index, 0);
}

/* Whether nobody may enter this job: its word is another's, or says so. */
static int team_over(uint64_t word, uint64_t generation) { return word - (generation << 32) >= TEAM_CLOSED; }

/* The caller runs the body once, the others as often as they come meanwhile: it claims within what nobody has begun. Nobody reads the
   members of a closed job, so they may change. */
static void together(void *context, body_function *body, void *argument) {
    edgec_pthreads *const pool = context;
    if (!claim(pool)) { body(argument, 0, 1); return; }
    const uint64_t generation = __atomic_load_n(&pool->generation.value, __ATOMIC_RELAXED) + 1;
    keep_off(pool);
    pool->team_body = body;
    pool->team_argument = argument;
    __atomic_store_n(&pool->team.value, generation << 32, __ATOMIC_RELEASE);
    announce(pool, generation);
    body(argument, 0, pool->slots);
    __atomic_fetch_or(&pool->team.value, TEAM_CLOSED, __ATOMIC_ACQ_REL);
    for (uint32_t looks = 1; (uint32_t)__atomic_load_n(&pool->team.value, __ATOMIC_ACQUIRE) != TEAM_CLOSED; looks++)
        if (looks % PATIENCE == 0) sched_yield();
    __atomic_store_n(&pool->busy.value, 0, __ATOMIC_RELEASE);
}

/* Run the body of a job of all, again and again while it is open. */
static void member(edgec_pthreads *pool, uint64_t generation, uint32_t slot) {
    uint64_t seen = __atomic_load_n(&pool->team.value, __ATOMIC_ACQUIRE);
    while (!team_over(seen, generation)) {
        if (!__atomic_compare_exchange_n(&pool->team.value, &seen, seen + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
        pool->team_body(pool->team_argument, slot, pool->slots);
        seen = __atomic_sub_fetch(&pool->team.value, 1, __ATOMIC_ACQ_REL);
        for (uint32_t looks = 0; looks < AGAIN && !team_over(seen, generation); looks++)
            seen = __atomic_load_n(&pool->team.value, __ATOMIC_ACQUIRE);
        if (!team_over(seen, generation)) sched_yield();
    }
}

static void rest(void *context) {
    (void)context;
    sched_yield();
}

/* Look for a job after `last` for a moment; its number, or `last` when none came. */
static uint64_t look(edgec_pthreads *pool, uint64_t last) {
    for (uint32_t looks = 0; looks < LOOKS; looks++) {
        const uint64_t generation = __atomic_load_n(&pool->generation.value, __ATOMIC_ACQUIRE);
        if (generation != last || __atomic_load_n(&pool->stop.value, __ATOMIC_RELAXED)) return generation;
    }
    return last;
}

/* Sleep until there is a job after `last`, or the pool ends. */
static void sleep_after(edgec_pthreads *pool, uint64_t last) {
    pthread_mutex_lock(&pool->mutex);
    __atomic_fetch_add(&pool->sleepers.value, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pool->generation.value, __ATOMIC_SEQ_CST) == last && !__atomic_load_n(&pool->stop.value, __ATOMIC_SEQ_CST))
        pthread_cond_wait(&pool->condition, &pool->mutex);
    __atomic_fetch_sub(&pool->sleepers.value, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument) {
    const worker *const self = argument;
    edgec_pthreads *const pool = self->pool;
    uint64_t last = 0;
    while (!__atomic_load_n(&pool->stop.value, __ATOMIC_ACQUIRE)) {
        const uint64_t generation = look(pool, last);
        if (generation == last) {
            sleep_after(pool, last);
            continue;
        }
        member(pool, generation, self->slot);
        const uint64_t taken = work(pool, generation, self->slot);
        if (taken) __atomic_fetch_add(&pool->done.value, taken, __ATOMIC_RELEASE);
        last = generation;
    }
    return NULL;
}

edgec_pthreads *edgec_pthreads_start(uint32_t slots) {
    edgec_pthreads *const pool = calloc(1, sizeof *pool);
    void *counters = NULL;
    if (!pool || !slots) { free(pool); return NULL; }
    pool->slots = slots;
    pool->workers = calloc(slots, sizeof *pool->workers);
    if (!pool->workers || posix_memalign(&counters, LINE, slots * sizeof *pool->counters)) { free(pool->workers); free(pool); return NULL; }
    pool->counters = counters;
    set_counters(pool, 0, 0, 1);
    pool->team.value = TEAM_CLOSED;
    know_processors(pool);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->condition, NULL);
    pool->executor = (edgec_executor){sizeof(edgec_executor), pool, slots, parallel_for, together, rest};
    for (pool->started = 1; pool->started < slots; pool->started++) {
        worker *const next = &pool->workers[pool->started];
        next->pool = pool;
        next->slot = pool->started;
        if (pthread_create(&next->thread, NULL, worker_main, next)) { edgec_pthreads_stop(pool); return NULL; }
    }
    return pool;
}

const edgec_executor *edgec_pthreads_executor(const edgec_pthreads *pool) { return &pool->executor; }

void edgec_pthreads_stop(edgec_pthreads *pool) {
    if (!pool) return;
    __atomic_store_n(&pool->stop.value, 1, __ATOMIC_SEQ_CST);
    wake(pool);
    for (uint32_t slot = 1; slot < pool->started; slot++) pthread_join(pool->workers[slot].thread, NULL);
    pthread_cond_destroy(&pool->condition);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->counters);
    free(pool->workers);
    free(pool);
}
