/* SPDX-License-Identifier: MIT */
/* Summing up and printing; see report.h. */
#include "tests/bench/report.h"

#include <stdio.h>

static const struct {
    const char *name;
    double percent;
} percentiles[] = {
    {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99},
};
enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

void summary_make(const struct bench_options *options, const struct client_result *results,
                  struct summary *ret_summary)
{
    struct summary *summary = ret_summary;
    *summary = (struct summary){.server_cpu_us_per_op = -1};
    uint64_t cpu_ns = 0;
    for (unsigned int i = 0; i < options->clients; i++) {
        const struct client_result *result = &results[i];
        histogram_merge(&summary->latency_ns, &result->latency_ns);
        summary->failed_ops += result->failed_ops;
        cpu_ns += result->cpu_ns;
        if (result->window_ns)
            summary->iops += (double)result->latency_ns.count * 1e9 / (double)result->window_ns;
    }
    if (options->workload != WORKLOAD_FLUSH)
        summary->bytes_per_second = summary->iops * options->block_bytes;
    uint64_t count = summary->latency_ns.count;
    if (count == 0)
        return;
    summary->cpu_us_per_op = (double)cpu_ns / 1000 / (double)count;
    if (options->server_pid)
        summary->server_cpu_us_per_op = (double)results[0].server_cpu_ns / 1000 / (double)count;
}

static double percentile_us(const struct summary *summary, double percent)
{
    return (double)histogram_percentile(&summary->latency_ns, percent) / 1000;
}

void report_plain(const struct bench_options *options, const struct summary *summary)
{
    printf("%s %s bs=%u depth=%u clients=%u: %.0f op/s, %.1f MiB/s, CPU %.2f us/op",
           options->target_text, workload_name(options->workload), options->block_bytes,
           options->depth, options->clients, summary->iops,
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

void report_calibration(const struct calibration *calibration)
{
    printf("machine: %s %s, %u CPUs, governor %s; wake-up ", calibration->system.sysname,
           calibration->system.release, calibration->cpus, calibration->governor);
    if (calibration->wake_other_cpu_us >= 0)
        printf("%.1f us to another CPU, ", calibration->wake_other_cpu_us);
    printf("%.1f us on the same; cached 4 KiB pread %.0f ns\n", calibration->wake_same_cpu_us,
           calibration->pread_4k_ns);
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
    if (options->tier)
        print_member("tier", options->tier);
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

static void print_calibration(const struct calibration *calibration)
{
    printf("\"calibration\": {\"wake_other_cpu_us\": ");
    if (calibration->wake_other_cpu_us >= 0)
        printf("%.2f", calibration->wake_other_cpu_us);
    else
        printf("null");
    printf(", \"wake_same_cpu_us\": %.2f, \"pread_4k_ns\": %.0f, \"nproc\": %u",
           calibration->wake_same_cpu_us, calibration->pread_4k_ns, calibration->cpus);
    print_member("governor", calibration->governor);
    print_member("kernel", calibration->system.release);
    print_member("machine", calibration->system.machine);
    putchar('}');
}

void report_json(const struct bench_options *options, const struct summary *summary,
                 const struct calibration *calibration)
{
    putchar('{');
    if (summary)
        print_summary(options, summary);
    if (summary && calibration)
        printf(", ");
    if (calibration)
        print_calibration(calibration);
    puts("}");
}
