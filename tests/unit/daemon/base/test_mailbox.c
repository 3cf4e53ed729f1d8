/* SPDX-License-Identifier: MIT */
#include "daemon/base/mailbox.h"

#include <check.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>

#include "tests/unit/suite.h"

struct note {
    struct letter letter;
    struct mailbox *again; /* where it is posted when it is delivered, or NULL */
    unsigned int number;
};

static unsigned int delivered[16];
static unsigned int delivered_count;

static struct note *note_of(struct letter *letter)
{
    return (struct note *)(void *)((char *)letter - offsetof(struct note, letter));
}

static void on_note(struct letter *letter)
{
    struct note *note = note_of(letter);

    delivered[delivered_count++] = note->number;
    if (note->again)
        mailbox_post(note->again, letter);
}

static void on_note_free(struct letter *letter)
{
    delivered_count++;
    free(note_of(letter));
}

static bool is_readable(const struct mailbox *box)
{
    struct pollfd poll_fd = {.fd = mailbox_fd(box), .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

START_TEST(letters_come_in_the_order_of_posting)
{
    struct note notes[3] = {{{.deliver = on_note}, NULL, 1},
                            {{.deliver = on_note}, NULL, 2},
                            {{.deliver = on_note}, NULL, 3}};
    struct mailbox box;

    ck_assert_int_eq(mailbox_init(&box), 0);
    for (int i = 0; i < 3; i++)
        mailbox_post(&box, &notes[i].letter);
    ck_assert_uint_eq(mailbox_drain(&box), 3);
    ck_assert_uint_eq(delivered_count, 3);
    for (unsigned int i = 0; i < 3; i++)
        ck_assert_uint_eq(delivered[i], i + 1);
    mailbox_deinit(&box);
}
END_TEST

START_TEST(the_descriptor_is_readable_exactly_while_letters_wait)
{
    struct note notes[2] = {{{.deliver = on_note}, NULL, 1}, {{.deliver = on_note}, NULL, 2}};
    struct mailbox box;

    ck_assert_int_eq(mailbox_init(&box), 0);
    for (int round = 0; round < 3; round++) {
        ck_assert(!is_readable(&box) && !mailbox_ready(&box));
        mailbox_post(&box, &notes[0].letter);
        ck_assert(is_readable(&box) && mailbox_ready(&box));
        mailbox_post(&box, &notes[1].letter);
        ck_assert(is_readable(&box));
        ck_assert_uint_eq(mailbox_drain(&box), 2);
    }
    ck_assert(!is_readable(&box));
    ck_assert_uint_eq(mailbox_drain(&box), 0);
    mailbox_deinit(&box);
}
END_TEST

START_TEST(what_is_posted_during_a_drain_waits_for_the_next)
{
    struct mailbox box;
    struct note note = {{.deliver = on_note}, &box, 1};

    ck_assert_int_eq(mailbox_init(&box), 0);
    mailbox_post(&box, &note.letter);
    ck_assert_uint_eq(mailbox_drain(&box), 1);
    ck_assert(is_readable(&box));
    note.again = NULL;
    ck_assert_uint_eq(mailbox_drain(&box), 1);
    ck_assert_uint_eq(mailbox_drain(&box), 0);
    mailbox_deinit(&box);
}
END_TEST

START_TEST(a_letter_may_be_freed_by_its_delivery)
{
    struct mailbox box;

    ck_assert_int_eq(mailbox_init(&box), 0);
    for (int i = 0; i < 100; i++) {
        struct note *note = calloc(1, sizeof(*note));
        ck_assert_ptr_nonnull(note);
        note->letter.deliver = on_note_free;
        mailbox_post(&box, &note->letter);
    }
    ck_assert_uint_eq(mailbox_drain(&box), 100);
    ck_assert_uint_eq(delivered_count, 100);
    mailbox_deinit(&box);
}
END_TEST

enum { POSTERS = 4, NOTES_EACH = 20000 };

struct poster {
    pthread_t thread;
    struct mailbox *box;
    struct note *notes;
    unsigned int seen; /* by the owner */
};

static struct poster posters[POSTERS];

static void *poster_main(void *argument)
{
    struct poster *poster = argument;

    for (unsigned int i = 0; i < NOTES_EACH; i++)
        mailbox_post(poster->box, &poster->notes[i].letter);
    return NULL;
}

static void on_posted(struct letter *letter)
{
    struct note *note = note_of(letter);
    struct poster *poster = &posters[note->number / NOTES_EACH];

    ck_assert_uint_eq(note->number % NOTES_EACH, poster->seen);
    poster->seen++;
}

static void poster_start(struct poster *poster, struct mailbox *box)
{
    unsigned int first = (unsigned int)(poster - posters) * NOTES_EACH;

    poster->box = box;
    poster->notes = calloc(NOTES_EACH, sizeof(*poster->notes));
    ck_assert_ptr_nonnull(poster->notes);
    for (unsigned int i = 0; i < NOTES_EACH; i++) {
        poster->notes[i].letter.deliver = on_posted;
        poster->notes[i].number = first + i;
    }
    ck_assert_int_eq(pthread_create(&poster->thread, NULL, poster_main, poster), 0);
}

START_TEST(no_letter_is_lost_among_many_posters)
{
    struct mailbox box;
    unsigned int count = 0;

    ck_assert_int_eq(mailbox_init(&box), 0);
    for (int i = 0; i < POSTERS; i++)
        poster_start(&posters[i], &box);
    while (count < POSTERS * NOTES_EACH) {
        struct pollfd poll_fd = {.fd = mailbox_fd(&box), .events = POLLIN};

        ck_assert_msg(poll(&poll_fd, 1, 10000) == 1, "%u letters came", count);
        unsigned int drained = mailbox_drain(&box);
        ck_assert_uint_gt(drained, 0);
        count += drained;
    }
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        free(posters[i].notes);
    }
    ck_assert(!is_readable(&box));
    mailbox_deinit(&box);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tests = tcase_create("mailbox");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, letters_come_in_the_order_of_posting);
    tcase_add_test(tests, the_descriptor_is_readable_exactly_while_letters_wait);
    tcase_add_test(tests, what_is_posted_during_a_drain_waits_for_the_next);
    tcase_add_test(tests, a_letter_may_be_freed_by_its_delivery);
    tcase_add_test(tests, no_letter_is_lost_among_many_posters);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
