/* SPDX-License-Identifier: MIT */
/* Summing up and printing; see report.h. */
#include "tests/bench/report.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    double percent;
} percentiles[] = {
    {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99},
};
enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

void summary_make(const struct bench_options *options, const struct client_result *results,
                  const struct run_cost *cost, struct summary *ret_summary)
{
    struct summary *summary = ret_summary;
    *summary = (struct summary){.server_cpu_us_per_op = -1};
    for (unsigned int i = 0; i < options->clients; i++) {
        const struct client_result *result = &results[i];
        histogram_merge(&summary->latency_ns, &result->latency_ns);
        summary->failed_ops += result->failed_ops;
        if (i == 0)
            (void)snprintf(summary->tier, sizeof(summary->tier), "%s", result->tier);
        else if (strcmp(summary->tier, result->tier) != 0)
            (void)snprintf(summary->tier, sizeof(summary->tier), "%s", CLIENT_TIER_MIXED);
    }
    summary->iops = (double)summary->latency_ns.count / options->seconds;
    if (options->workload != WORKLOAD_FLUSH)
        summary->bytes_per_second = summary->iops * options->block_bytes;
    if (summary->latency_ns.count == 0)
        return;
    summary->cpu_us_per_op = cost->client_cpu_ns_per_second / 1000 / summary->iops;
    if (cost->server_cpu_ns_per_second >= 0)
        summary->server_cpu_us_per_op = cost->server_cpu_ns_per_second / 1000 / summary->iops;
}

static const char *buffers_name(const struct bench_options *options)
{
    return options->buffers == BUFFERS_ARENA ? "arena" : "foreign";
}

static double percentile_us(const struct summary *summary, double percent)
{
    return (double)histogram_percentile(&summary->latency_ns, percent) / 1000;
}

void report_plain(const struct bench_options *options, const struct summary *summary)
{
    printf("%s %s bs=%u depth=%u clients=%u", options->target_text,
           workload_name(options->workload), options->block_bytes, options->depth,
           options->clients);
    if (*summary->tier)
        printf(" tier=%s buffers=%s", summary->tier, buffers_name(options));
    printf(": %.0f op/s, %.1f MiB/s, CPU %.2f us/op", summary->iops,
           summary->bytes_per_second / (1024 * 1024), summary->cpu_us_per_op);
    if (summary->server_cpu_us_per_op >= 0)
        printf(" + %.2f us/op in the server", summary->server_cpu_us_per_op);
    if (summary->failed_ops)
        printf(", %llu FAILED", (unsigned long long)summary->failed_ops);
    printf("\nlatency us: mean %.2f", histogram_mean(&summary->latency_ns) / 1000);
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", %s %.2f", percentiles[i].name, percentile_us(summary, percentiles[i].percent));
    printf(", max %.2f\n", (double)summary->latency_ns.max / 1000);
}

void report_idle(const struct bench_options *options, const struct idle_cost *cost)
{
    unsigned int count = options->idle;
    printf("idle: %u connections%s", count,
           options->idle_open ? ", each with the device open" : "");
    if (cost->known) {
        printf("; the server has %.2f KiB (RSS",
               process_bytes_each(cost->before.rss_bytes, cost->after.rss_bytes, count) / 1024);
        if (cost->after.pss_bytes)
            printf("; PSS %.2f KiB",
                   process_bytes_each(cost->before.pss_bytes, cost->after.pss_bytes, count) / 1024);
        printf(") for each and uses %.2f %% of a CPU", cost->server_cpu_percent);
    }
    printf("\n");
}

void report_calibration(const struct calibration *calibration)
{
    printf("machine: %s %s, %u CPUs, governor %s; wake-up ", calibration->system.sysname,
           calibration->system.release, calibration->cpus, calibration->governor);
    if (calibration->wake_other_cpu_us >= 0)
        printf("%.1f us to another CPU, ", calibration->wake_other_cpu_us);
    printf("%.1f us on the same; a word in memory ", calibration->wake_same_cpu_us);
    if (calibration->spin_other_cpu_ns >= 0)
        printf("%.0f ns to a thread that spins, ", calibration->spin_other_cpu_ns);
    printf("%.0f ns to one that yields; cached 4 KiB pread %.0f ns\n",
           calibration->yield_same_cpu_ns, calibration->pread_4k_ns);
}

/* Strings of JSON (RFC 8259, section 7): quotes, backslashes and control characters are escaped. */
static void print_string(const char *text)
{
    putchar('"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            printf("\\u%04x", (unsigned int)*c);
        else
            putchar(*c);
    }
    putchar('"');
}

static void print_member(const char *name, const char *text)
{
    printf(", \"%s\": ", name);
    print_string(text);
}

static void print_summary(const struct bench_options *options, const struct summary *summary)
{
    printf("\"target\": ");
    print_string(options->target_text);
    print_member("rw", workload_name(options->workload));
    if (*summary->tier) {
        print_member("tier", summary->tier);
        print_member("buffers", buffers_name(options));
    }
    printf(", \"block_bytes\": %u, \"depth\": %u, \"clients\": %u, \"seconds\": %g",
           options->block_bytes, options->depth, options->clients, options->seconds);
    printf(", \"iops\": %.1f, \"bytes_per_second\": %.0f, \"errors\": %llu", summary->iops,
           summary->bytes_per_second, (unsigned long long)summary->failed_ops);
    printf(", \"latency_us\": {\"mean\": %.3f", histogram_mean(&summary->latency_ns) / 1000);
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", \"%s\": %.3f", percentiles[i].name,
               percentile_us(summary, percentiles[i].percent));
    printf(", \"max\": %.3f}", (double)summary->latency_ns.max / 1000);
    printf(", \"cpu_us_per_op\": {\"client\": %.3f", summary->cpu_us_per_op);
    if (summary->server_cpu_us_per_op >= 0)
        printf(", \"server\": %.3f", summary->server_cpu_us_per_op);
    putchar('}');
}

static void print_memory(const char *name, uint64_t before, uint64_t after, unsigned int count)
{
    printf(", \"server_%s_bytes\": [%llu, %llu], \"server_%s_bytes_each\": %.1f", name,
           (unsigned long long)before, (unsigned long long)after, name,
           process_bytes_each(before, after, count));
}

static void print_idle(const struct bench_options *options, const struct idle_cost *cost)
{
    printf(", \"idle\": {\"connections\": %u, \"open\": %s", options->idle,
           options->idle_open ? "true" : "false");
    if (cost->known) {
        print_memory("rss", cost->before.rss_bytes, cost->after.rss_bytes, options->idle);
        if (cost->after.pss_bytes)
            print_memory("pss", cost->before.pss_bytes, cost->after.pss_bytes, options->idle);
        printf(", \"server_cpu_percent\": %.3f", cost->server_cpu_percent);
    }
    putchar('}');
}

static void print_or_null(double value)
{
    if (value >= 0)
        printf("%.2f", value);
    else
        printf("null");
}

static void print_calibration(const struct calibration *calibration)
{
    printf("\"calibration\": {\"wake_other_cpu_us\": ");
    print_or_null(calibration->wake_other_cpu_us);
    printf(", \"wake_same_cpu_us\": %.2f, \"spin_other_cpu_ns\": ", calibration->wake_same_cpu_us);
    print_or_null(calibration->spin_other_cpu_ns);
    printf(", \"yield_same_cpu_ns\": %.1f, \"pread_4k_ns\": %.0f, \"nproc\": %u",
           calibration->yield_same_cpu_ns, calibration->pread_4k_ns, calibration->cpus);
    print_member("governor", calibration->governor);
    print_member("kernel", calibration->system.release);
    print_member("machine", calibration->system.machine);
    putchar('}');
}

void report_json(const struct bench_options *options, const struct summary *summary,
                 const struct idle_cost *idle, const struct calibration *calibration)
{
    putchar('{');
    if (summary)
        print_summary(options, summary);
    if (summary && idle)
        print_idle(options, idle);
    if (summary && calibration)
        printf(", ");
    if (calibration)
        print_calibration(calibration);
    puts("}");
}
