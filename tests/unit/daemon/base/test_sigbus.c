/* SPDX-License-Identifier: MIT */
/* Memory that goes away: here because its file is cut, which raises the same signal as memory that
 * cannot be had again. */
#include "daemon/base/sigbus.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"

/* The sanitizers end the process in their own way. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ENDS_BY_SIGNAL 0
#else
#define ENDS_BY_SIGNAL 1
#endif

enum { PAGES = 4 };

struct shared {
    int fd;
    size_t page_bytes;
    size_t size_bytes;
    _Atomic uint8_t *base;
    struct sigbus_area *area;
};

static struct shared shared_make(void)
{
    struct shared shared = {.fd = memfd_create("test", MFD_CLOEXEC)};
    shared.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    shared.size_bytes = PAGES * shared.page_bytes;
    ck_assert_int_ge(shared.fd, 0);
    ck_assert_int_eq(ftruncate(shared.fd, (off_t)shared.size_bytes), 0);
    void *base = mmap(NULL, shared.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    shared.base = base;
    shared.base[0] = 'a';
    shared.base[shared.size_bytes - 1] = 'z';
    shared.area = sigbus_watch(base, shared.size_bytes);
    ck_assert_ptr_nonnull(shared.area);
    return shared;
}

static void shared_cut(const struct shared *shared, size_t pages)
{
    ck_assert_int_eq(ftruncate(shared->fd, (off_t)(pages * shared->page_bytes)), 0);
}

static void shared_free(struct shared *shared)
{
    shared->area = sigbus_unwatch(shared->area);
    ck_assert_ptr_null(shared->area);
    ck_assert_int_eq(munmap((void *)(uintptr_t)shared->base, shared->size_bytes), 0);
    (void)close(TAKE_FD(shared->fd));
}

static void begin(void)
{
    ck_assert_int_eq(sigbus_init(), 0);
}

START_TEST(touch_of_lost_page_goes_on)
{
    struct shared one = shared_make();
    struct shared other = shared_make();
    unsigned int before = sigbus_losses();
    shared_cut(&one, 1);
    ck_assert(!sigbus_is_lost(one.area));
    ck_assert_uint_eq(one.base[0], 'a');
    ck_assert_uint_eq(sigbus_losses(), before);

    ck_assert_uint_eq(one.base[one.size_bytes - 1], 0);
    ck_assert(sigbus_is_lost(one.area));
    ck_assert(!sigbus_is_lost(other.area));
    ck_assert_uint_eq(sigbus_losses(), before + 1);

    one.base[one.page_bytes] = 'w'; /* another page, by a write */
    ck_assert_uint_eq(one.base[one.page_bytes], 'w');
    ck_assert_uint_eq(sigbus_losses(), before + 2);
    ck_assert_uint_eq(one.base[0], 'a');
    ck_assert_uint_eq(other.base[other.size_bytes - 1], 'z');
    shared_free(&one);
    shared_free(&other);
}
END_TEST

START_TEST(area_that_is_used_again_is_not_lost)
{
    struct shared one = shared_make();
    struct sigbus_area *area = one.area;
    shared_cut(&one, 0);
    one.base[0] = 'x';
    shared_free(&one);
    struct shared two = shared_make();
    ck_assert_ptr_eq(two.area, area);
    ck_assert(!sigbus_is_lost(two.area));
    shared_cut(&two, 0);
    two.base[0] = 'x';
    ck_assert(sigbus_is_lost(two.area));
    shared_free(&two);
    ck_assert_ptr_null(sigbus_unwatch(NULL));
}
END_TEST

#if ENDS_BY_SIGNAL
START_TEST(unwatched_memory_ends_the_process)
{
    struct shared one = shared_make();
    one.area = sigbus_unwatch(one.area);
    shared_cut(&one, 0);
    one.base[0] = 'x';
}
END_TEST

START_TEST(signal_that_no_touch_raised_ends_the_process)
{
    struct shared one = shared_make();
    (void)raise(SIGBUS); /* returns once, as a touch would */
    (void)raise(SIGBUS);
    shared_free(&one);
}
END_TEST
#endif

/* ---- threads, some of which come and go while others lose pages ---- */

enum { THREADS = 4, ROUNDS = 200 };

static void *lose_again_and_again(void *unused)
{
    (void)unused;
    for (unsigned int i = 0; i < ROUNDS; i++) {
        struct shared one = shared_make();
        shared_cut(&one, i % PAGES);
        for (unsigned int page = 0; page < PAGES; page++)
            one.base[page * one.page_bytes + i] = (uint8_t)i;
        ck_assert(sigbus_is_lost(one.area));
        shared_free(&one);
    }
    return NULL;
}

START_TEST(threads_lose_at_once)
{
    pthread_t threads[THREADS];
    unsigned int expected = sigbus_losses();
    for (unsigned int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, lose_again_and_again, NULL), 0);
    for (unsigned int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (unsigned int i = 0; i < ROUNDS; i++)
        expected += THREADS * (PAGES - i % PAGES);
    ck_assert_uint_eq(sigbus_losses(), expected);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/sigbus");
    TCase *tests = tcase_create("sigbus");
    SRunner *runner = srunner_create(suite);
    tcase_add_checked_fixture(tests, begin, NULL);
    tcase_add_test(tests, touch_of_lost_page_goes_on);
    tcase_add_test(tests, area_that_is_used_again_is_not_lost);
#if ENDS_BY_SIGNAL
    tcase_add_test_raise_signal(tests, unwatched_memory_ends_the_process, SIGBUS);
    tcase_add_test_raise_signal(tests, signal_that_no_touch_raised_ends_the_process, SIGBUS);
#endif
    tcase_add_test(tests, threads_lose_at_once);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
