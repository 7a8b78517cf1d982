#include "os/own_thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define HAS_THREAD_SANITIZER 1
#elif defined(__has_feature)
#define HAS_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define HAS_THREAD_SANITIZER 0
#endif

typedef struct thread_start {
    own_thread_fn *fn;
    void *context;
} thread_start;

/* The thread sanitizer keeps nearly 1 MiB of its own on every stack. */
static uint64_t taken_bytes(uint64_t stack_bytes) { return stack_bytes + (HAS_THREAD_SANITIZER ? 2 << 20 : 0); }

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

uint64_t own_thread_bytes(uint64_t stack_bytes) { return mem_block_bytes(taken_bytes(stack_bytes), page_bytes()); }

/* What to do lies on the page above the guard, which the stack grows down to last. */
static thread_start *start_of(const own_thread *t) { return (thread_start *)((char *)t->stack + page_bytes()); }

static void *run(void *argument)
{
    const thread_start start = *(const thread_start *)argument;
    start.fn(start.context);
    return NULL;
}

static int create(own_thread *t, uint64_t stack_bytes)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed = pthread_attr_init(&attributes);

    if (failed) return failed;
    failed = pthread_attr_setstack(&attributes, t->stack, taken_bytes(stack_bytes));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    if (!failed) failed = pthread_create(&t->id, &attributes, run, start_of(t));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

static void give_stack_back(own_thread *t)
{
    mprotect(t->stack, page_bytes(), PROT_READ | PROT_WRITE); /* it may be heap memory, used again */
    mem_free(t->ledger, t->stack);
    *t = (own_thread){0};
}

leat_status own_thread_start(mem *ledger, mem_pool pool, const char *name, uint64_t stack_bytes, own_thread_fn *fn,
                             void *context, own_thread *out_thread, leat_error *error)
{
    own_thread *t = out_thread;
    int failed;

    *t = (own_thread){.ledger = ledger};
    TRY(mem_alloc(ledger, pool, 1, taken_bytes(stack_bytes), page_bytes(), "a thread's stack", &t->stack, error));
    *start_of(t) = (thread_start){fn, context};
    failed = mprotect(t->stack, page_bytes(), PROT_NONE) != 0 ? errno : create(t, stack_bytes);
    if (failed) {
        give_stack_back(t);
        return FAIL_OS(error, NO_MEMORY, failed, "the thread %s could not be started: %s", name, strerror(failed));
    }
    (void)pthread_setname_np(t->id, name);
    return LEAT_OK;
}

void own_thread_join(own_thread *t)
{
    if (!t->stack) return;
    pthread_join(t->id, NULL);
    give_stack_back(t);
}
