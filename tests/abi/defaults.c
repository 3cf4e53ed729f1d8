/* SPDX-License-Identifier: MIT */
/* All zero is the default of every struct that a program fills in, and the deprecated initialisers
 * are all zero. */
#include <blkd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;

static void expect(bool true_now, const char *what)
{
    if (!true_now) {
        (void)printf("not so: %s\n", what);
        failed = 1;
    }
}

static void check_config(void)
{
    struct blkd_config config = {.path = "/disk.img"};
    struct blkd_config *parsed = NULL;
    char *text = NULL;

    expect(blkd_config_parse("file:///disk.img", &parsed) == 0, "a path alone is a config");
    expect(!parsed->direct && !parsed->lock && !parsed->strict && !parsed->discard &&
               parsed->sync == config.sync && parsed->access == config.access &&
               parsed->sector_size == 0,
           "a string with nothing but a path is a config with nothing but a path");
    blkd_config_free(parsed);
    expect(blkd_config_format(&config, &text) == 0, "it can be formatted");
    expect(strstr(text, "buffered=0") == NULL, "it uses the page cache");
    free(text);
}

static bool is_all_zero(const void *object, size_t size)
{
    const unsigned char *bytes = object;
    unsigned char any = 0;

    for (size_t i = 0; i < size; i++)
        any |= bytes[i];
    return any == 0;
}

static void check_initialisers(void)
{
    static const struct blkd_config config = BLKD_CONFIG_INIT;
    static const struct blkd_options options = BLKD_OPTIONS_INIT;
    static const struct blkd_lock_request request = BLKD_LOCK_REQUEST_INIT;

    expect(is_all_zero(&config, sizeof(config)), "BLKD_CONFIG_INIT is all zero");
    expect(is_all_zero(&options, sizeof(options)), "BLKD_OPTIONS_INIT is all zero");
    expect(is_all_zero(&request, sizeof(request)), "BLKD_LOCK_REQUEST_INIT is all zero");
    expect(BLKD_BUSY_POLL_DEFAULT == 0 && BLKD_BUSY_POLL_NEVER < 0, "0 is the default of polling");
}

int main(void)
{
    check_config();
    check_initialisers();
    return failed;
}
