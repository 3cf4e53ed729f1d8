/* SPDX-License-Identifier: MIT */
/* blkd-bench: how fast a device is through one way of reaching it. */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "tests/bench/calibrate.h"
#include "tests/bench/client.h"
#include "tests/bench/complaint.h"
#include "tests/bench/process.h"
#include "tests/bench/report.h"
#include "tests/bench/runner.h"

enum { EXIT_USAGE = 2 };

/* What was found out, for the report. */
struct findings {
    struct summary summary;
    struct run_cost cost;
    struct idle_cost idle;
};

/* One client goes through the whole device, writing the pattern or checking it. */
static int run_pass(const struct bench_options *options, enum workload_type workload)
{
    struct bench_options pass = *options;
    pass.workload = workload;
    pass.clients = 1;
    struct client_result result = {0};
    struct client *client;
    int r = client_new(&pass, 0, &result, &client);
    if (r < 0)
        return r;
    r = client_pass(client);
    client_free(client);
    return r;
}

static int run(const struct bench_options *options, struct client_result *results,
               struct findings *findings)
{
    struct idle *idle = NULL;
    int r = options->verify ? run_pass(options, WORKLOAD_WRITE) : 0;
    if (r == 0 && options->idle)
        r = idle_start(options, &findings->idle, &idle);
    if (r == 0)
        r = runners_run(options, results, &findings->cost);
    idle_stop(idle);
    if (r == 0 && options->verify)
        r = run_pass(options, WORKLOAD_READ);
    return r;
}

static void report(const struct bench_options *options, const struct findings *findings)
{
    const struct summary *summary = findings ? &findings->summary : NULL;
    const struct idle_cost *idle = findings && options->idle ? &findings->idle : NULL;

    struct calibration calibration;
    bool calibrated = false;
    if (options->calibrate || (options->json && !options->no_calibration)) {
        int r = calibrate(&calibration);
        if (r < 0)
            warnx("cannot measure the machine: %s", strerror(-r));
        calibrated = r == 0;
    }
    if (options->json) {
        report_json(options, summary, idle, calibrated ? &calibration : NULL);
        return;
    }
    if (summary)
        report_plain(options, summary);
    if (idle)
        report_idle(options, idle);
    if (calibrated)
        report_calibration(&calibration);
}

static int bench(const struct bench_options *options)
{
    size_t length = options->clients * sizeof(struct client_result);
    struct client_result *results =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CLEANUP_FREE struct findings *findings = calloc(1, sizeof(*findings));
    int r = results == MAP_FAILED || !findings ? -ENOMEM : run(options, results, findings);
    if (r == -ENOMEM)
        warnx("out of memory");
    if (results != MAP_FAILED && findings) {
        summary_make(options, results, &findings->cost, &findings->summary);
        if (r == 0 || findings->summary.failed_ops)
            report(options, findings);
    }
    if (results != MAP_FAILED)
        (void)munmap(results, length);
    return r;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    int r = options_parse(argc, argv, &options);
    if (r)
        return r == OPTIONS_EXIT ? EXIT_SUCCESS : EXIT_USAGE;
    if (options.tier)
        (void)unsetenv("BLKD_TIER"); /* libblkd would believe it more than the option */
    uint64_t cpu_ns;
    if (options.server_pid && process_read_cpu(options.server_pid, &cpu_ns) < 0) {
        warnx("--server-pid=%d: there is no such process", (int)options.server_pid);
        return EXIT_USAGE;
    }
    if (!options.target) {
        report(&options, NULL);
        return EXIT_SUCCESS;
    }
    r = complaint_init();
    if (r < 0)
        errx(EXIT_FAILURE, "no memory to share with clients: %s", strerror(-r));
    r = bench(&options);
    complaint_end();
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
