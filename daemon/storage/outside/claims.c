/* SPDX-License-Identifier: MIT */
#include "daemon/storage/outside/claims.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/storage/outside/outside.h"
#include "daemon/storage/outside/sysfs.h"

enum {
    CLAIMS_WAIT_MS = 250,
    CLAIMS_STEP_MS = 10,
    CLAIMS_DISKS = 64, /* askers of so many disks do not wait for each other */
};

/* One claim of this process. */
struct claims_own {
    dev_t device;
    dev_t disk;
    LIST_ENTRY(claims_own) link;
};

LIST_HEAD(claims_list, claims_own);

static struct claims {
    pthread_mutex_t mutex;
    struct claims_list own; /* under it */
    pthread_mutex_t
        asking[CLAIMS_DISKS]; /* held while a disk or a partition of it is asked after */
} claims = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .asking = {[0 ... CLAIMS_DISKS - 1] = PTHREAD_MUTEX_INITIALIZER},
};

static dev_t claims_disk(dev_t device)
{
    dev_t disk = device;
    return sysfs_find_disk(device, &disk) ? disk : device;
}

static pthread_mutex_t *claims_asking(dev_t disk)
{
    return &claims.asking[(disk ^ (disk >> 8)) % CLAIMS_DISKS];
}

/* Whether a claim of this process would stand against one of the device. */
static bool claims_are_own(dev_t device, dev_t disk)
{
    bool found = false;
    const struct claims_own *own = NULL;
    (void)pthread_mutex_lock(&claims.mutex);
    LIST_FOREACH (own, &claims.own, link)
        found = found || own->device == device || own->device == disk ||
                (device == disk && own->disk == disk);
    (void)pthread_mutex_unlock(&claims.mutex);
    return found;
}

int outside_claim_begin(dev_t device)
{
    struct claims_own *own = malloc(sizeof(*own));
    if (own == NULL)
        return -ENOMEM;
    *own = (struct claims_own){.device = device, .disk = claims_disk(device)};
    pthread_mutex_t *asking = claims_asking(own->disk);
    (void)pthread_mutex_lock(&claims.mutex);
    LIST_INSERT_HEAD(&claims.own, own, link);
    (void)pthread_mutex_unlock(&claims.mutex);
    /* Who asks from now on sees it; whoever asks already is waited for. */
    (void)pthread_mutex_lock(asking);
    (void)pthread_mutex_unlock(asking);
    return 0;
}

void outside_claim_end(dev_t device)
{
    struct claims_own *own = NULL;
    (void)pthread_mutex_lock(&claims.mutex);
    LIST_FOREACH (own, &claims.own, link) {
        if (own->device == device)
            break;
    }
    if (own != NULL)
        LIST_REMOVE(own, link);
    (void)pthread_mutex_unlock(&claims.mutex);
    free(own);
}

/* Whether the kernel refuses a claim of the device to this process. */
static bool claims_are_refused(dev_t device, const char *name)
{
    struct stat status;
    CLEANUP_CLOSE int looked = open(name, O_PATH | O_CLOEXEC);
    if (looked < 0 || fstat(looked, &status) < 0 || !S_ISBLK(status.st_mode) ||
        status.st_rdev != device)
        return false;
    CLEANUP_CLOSE int fd = open(name, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 && errno == EBUSY;
}

static bool claims_ask_once(const struct outside_member *member)
{
    const dev_t device = member->identity.dev;
    const dev_t disk = claims_disk(device);
    pthread_mutex_t *asking = claims_asking(disk);
    (void)pthread_mutex_lock(asking);
    bool refused = !claims_are_own(device, disk) && claims_are_refused(device, member->name);
    (void)pthread_mutex_unlock(asking);
    return refused;
}

static bool claims_ask(const struct outside_member *member)
{
    const struct timespec step = {.tv_nsec = CLAIMS_STEP_MS * 1000000L};
    for (int waited_ms = 0; claims_ask_once(member); waited_ms += CLAIMS_STEP_MS) {
        if (waited_ms >= CLAIMS_WAIT_MS)
            return true;
        (void)nanosleep(&step, NULL); /* a claim ends without a word */
    }
    return false;
}

/* Of a disk's partitions and a partition's disk it is asked by asking after the one itself; of what
 * is built on it, too, for that has claimed it. What it is made of is claimed by it. */
static bool claims_count(const struct outside_member *member)
{
    return member->identity.kind == DEVICE_BLOCK &&
           (member->relation == OUTSIDE_SELF || member->relation == OUTSIDE_BACKING ||
            member->relation == OUTSIDE_LOOP_ON || member->relation == OUTSIDE_LOOP_SIBLING);
}

const struct outside_member *claims_find(const struct outside_family *family)
{
    for (unsigned int i = 0; i < family->count; i++) {
        const struct outside_member *member = &family->members[i];
        if (claims_count(member) && claims_ask(member))
            return member;
    }
    return NULL;
}
