/* Threads for edgec's models: an executor over POSIX threads. One pool serves any number of models.

       edgec_pthreads *pool = edgec_pthreads_start(4);
       const net_context call = {.size = sizeof call, ..., .executor = edgec_pthreads_executor(pool)};
       net_run(&call);
       edgec_pthreads_stop(pool);
*/
#ifndef EDGEC_PTHREADS_H
#define EDGEC_PTHREADS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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

typedef struct edgec_pthreads edgec_pthreads;

/* A pool of `slots` threads, the calling one counted; NULL without memory or threads for it. All memory is taken here. */
edgec_pthreads *edgec_pthreads_start(uint32_t slots);

/* For the context of a model. When two threads call models with one pool at the same time, the second runs its model alone. */
const edgec_executor *edgec_pthreads_executor(const edgec_pthreads *pool);

/* Ends the threads and frees the memory; no call may be under way. NULL is allowed. */
void edgec_pthreads_stop(edgec_pthreads *pool);

#ifdef __cplusplus
}
#endif

#endif
