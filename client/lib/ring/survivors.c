/* SPDX-License-Identifier: MIT */
/* See survivors.h. */
#include "client/lib/ring/survivors.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

#include "client/lib/base/forkguard.h"

static struct {
    pthread_mutex_t mutex;
    struct forkguard forkguard; /* once there is one: what is here is this process's */
    void *tree;
} survivors = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Not under the mutex, which the parent's other threads may have held. */
static bool survivors_inherited(void)
{
    const uint32_t *page = __atomic_load_n(&survivors.forkguard.page, __ATOMIC_ACQUIRE);

    return page != NULL && __atomic_load_n(page, __ATOMIC_RELAXED) == 0;
}

static bool survivors_guard(void)
{
    struct forkguard guard;

    if (survivors.forkguard.page != NULL)
        return true;
    if (forkguard_init(&guard) < 0)
        return false;
    __atomic_store_n(&survivors.forkguard.page, guard.page, __ATOMIC_RELEASE);
    return true;
}

/* A child begins with none, and with a mutex of its own. It does so before it has threads that
 * could disconnect: the first that comes here. */
static void survivors_begin(void)
{
    if (!survivors_inherited())
        return;
    (void)pthread_mutex_init(&survivors.mutex, NULL);
    survivors.tree = NULL;
    __atomic_store_n(survivors.forkguard.page, 1, __ATOMIC_RELEASE);
}

void survivors_adopt(void **tree)
{
    if (*tree == NULL)
        return;
    survivors_begin();
    pthread_mutex_lock(&survivors.mutex);
    while (*tree != NULL) {
        struct private_buffer *buffer = **(struct private_buffer ***)tree;

        (void)tdelete(buffer, tree, private_buffer_compare);
        if (!survivors_guard() || tsearch(buffer, &survivors.tree, private_buffer_compare) == NULL)
            free(buffer);
    }
    pthread_mutex_unlock(&survivors.mutex);
}

struct private_buffer *survivors_take(void *base)
{
    struct private_buffer *buffer;

    if (survivors_inherited())
        return NULL;
    pthread_mutex_lock(&survivors.mutex);
    buffer = private_buffer_take(&survivors.tree, base);
    pthread_mutex_unlock(&survivors.mutex);
    return buffer;
}
