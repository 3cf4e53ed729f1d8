/* SPDX-License-Identifier: MIT */
/* When libblkd uses rings, and when the socket. */
#include "tests/unit/client/lib/fake_ring_scene.h"
#include "tests/unit/suite.h"

START_TEST(auto_uses_the_socket_until_there_are_rings)
{
    begin(BLKD_TIER_AUTO);
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_SOCKET);
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_SOCKET);
    ck_assert_int_eq(read_sector(1), 0); /* asks for them */
    ck_assert_int_eq(blkd_ping(connection), 0);
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_RING);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(read_sector(2), 0);
    end();
    ck_assert_uint_eq(fake_rings.setups, 1);
    ck_assert_uint_eq(fake.reads, 1);
    ck_assert_uint_eq(fake_rings.logged, 3);
}
END_TEST

START_TEST(nothing_is_asked_for_by_a_client_that_transfers_nothing)
{
    begin(BLKD_TIER_AUTO);
    ck_assert_int_eq(blkd_ping(connection), 0);
    end();
    ck_assert_uint_eq(fake_rings.setups, 0);
}
END_TEST

START_TEST(tier_socket_asks_for_nothing)
{
    begin(BLKD_TIER_SOCKET);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(read_sector(2), 0);
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_SOCKET);
    pthread_mutex_lock(&connection->mutex);
    ck_assert_int_eq(memory_add_arena(connection, 4096), -EOPNOTSUPP);
    pthread_mutex_unlock(&connection->mutex);
    end();
    ck_assert_uint_eq(fake.client_features, 0);
    ck_assert_uint_eq(fake_rings.setups, 0);
    ck_assert_uint_eq(fake.reads, 3);
}
END_TEST

START_TEST(tier_ring_waits_for_the_rings)
{
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_RING);
    ck_assert_int_eq(read_sector(2), 0);
    ck_assert_int_eq(read_sector(3), 0);
    end();
    ck_assert_uint_eq(fake.reads, 0);
    ck_assert_uint_eq(fake_rings.logged, 2);
}
END_TEST

static void assert_refused_in_auto(void)
{
    begin(BLKD_TIER_AUTO);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(read_sector(4), 0);
        ck_assert_int_eq(blkd_ping(connection), 0);
        ck_assert_int_eq(fake_tier(connection), BLKD_TIER_SOCKET);
    }
    pthread_mutex_lock(&connection->mutex);
    ck_assert_int_eq(memory_add_arena(connection, 4096), -EOPNOTSUPP);
    pthread_mutex_unlock(&connection->mutex);
    end();
    ck_assert_uint_eq(fake.reads, 3);
    ck_assert_uint_eq(fake_rings.logged, 0);
}

static void assert_refused_in_ring(int error, const char *reason)
{
    begin(BLKD_TIER_RING);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(read_sector(4), error);
        ck_assert_msg(strstr(blkd_error_message(), reason) != NULL, "%s", blkd_error_message());
        ck_assert_msg(strstr(blkd_error_message(), "/srv/a.img") != NULL, "%s",
                      blkd_error_message());
    }
    ck_assert_int_eq(blkd_ping(connection), 0);
    end();
    ck_assert_uint_eq(fake.reads, 0);
}

START_TEST(refused_rings_in_auto)
{
    fake_rings.refuse_setup = fake_rings.refuse_arena = -EOPNOTSUPP;
    assert_refused_in_auto();
    ck_assert_uint_eq(fake_rings.setups, 1);
}
END_TEST

START_TEST(refused_rings_in_ring)
{
    fake_rings.refuse_setup = fake_rings.refuse_arena = -EPERM;
    assert_refused_in_ring(-EPERM, "no rings for you");
}
END_TEST

START_TEST(refused_bounce_arena_in_auto)
{
    fake_rings.refuse_arena = -EDQUOT;
    assert_refused_in_auto();
}
END_TEST

START_TEST(refused_bounce_arena_in_ring)
{
    fake_rings.refuse_arena = -EDQUOT;
    assert_refused_in_ring(-EDQUOT, "no memory for you");
}
END_TEST

START_TEST(daemon_without_rings_in_auto)
{
    fake.features = 0;
    assert_refused_in_auto();
    ck_assert_uint_eq(fake_rings.setups, 0);
}
END_TEST

START_TEST(daemon_without_rings_in_ring)
{
    fake.features = 0;
    assert_refused_in_ring(-EOPNOTSUPP, "does not offer rings");
}
END_TEST

START_TEST(environment_chooses_socket)
{
    (void)setenv("BLKD_TIER", "socket", 1);
    begin(BLKD_TIER_RING);
    ck_assert_int_eq(read_sector(2), 0);
    ck_assert_int_eq(fake_tier(connection), BLKD_TIER_SOCKET);
    end();
    ck_assert_uint_eq(fake.reads, 1);
}
END_TEST

START_TEST(environment_chooses_ring)
{
    (void)setenv("BLKD_TIER", "ring", 1);
    begin(BLKD_TIER_SOCKET);
    ck_assert_int_eq(read_sector(2), 0);
    end();
    ck_assert_uint_eq(fake_rings.logged, 1);
}
END_TEST

START_TEST(unknown_tiers_are_refused)
{
    struct blkd_options options = {0};

    options.socket_path = "/nowhere";
    (void)setenv("BLKD_TIER", "rings", 1);
    ck_assert_int_eq(blkd_connect(&options, &connection), -EINVAL);
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "\"rings\""));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "\"socket\""));
    ck_assert_ptr_nonnull(strstr(blkd_error_message(), "\"ring\""));
    (void)setenv("BLKD_TIER", "", 1);
    ck_assert_int_eq(blkd_connect(&options, &connection), -ENOENT);
    options.tier = (enum blkd_tier)3;
    ck_assert_int_eq(blkd_connect(&options, &connection), -EINVAL);
    ck_assert_int_eq(blkd_get_tier(NULL, &options.tier), -EINVAL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("client tiers");
    TCase *way = tcase_create("way");

    suite_add_tcase(s, way);
    tcase_add_checked_fixture(way, setup, NULL);
    tcase_set_timeout(way, 30);
    tcase_add_test(way, auto_uses_the_socket_until_there_are_rings);
    tcase_add_test(way, nothing_is_asked_for_by_a_client_that_transfers_nothing);
    tcase_add_test(way, tier_socket_asks_for_nothing);
    tcase_add_test(way, tier_ring_waits_for_the_rings);
    tcase_add_test(way, refused_rings_in_auto);
    tcase_add_test(way, refused_rings_in_ring);
    tcase_add_test(way, refused_bounce_arena_in_auto);
    tcase_add_test(way, refused_bounce_arena_in_ring);
    tcase_add_test(way, daemon_without_rings_in_auto);
    tcase_add_test(way, daemon_without_rings_in_ring);
    tcase_add_test(way, environment_chooses_socket);
    tcase_add_test(way, environment_chooses_ring);
    tcase_add_test(way, unknown_tiers_are_refused);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
