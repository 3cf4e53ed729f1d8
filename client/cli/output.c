/* SPDX-License-Identifier: MIT */
#include "client/cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/report.h"
#include "client/cli/words.h"
#include "common/cleanup.h"

enum {
    OUTPUT_MODE = 0666,
    OUTPUT_HOLDER_MAX = 256,
};

static int output_refuse_source(struct cli *cli, const struct target *source,
                                const struct stat *status, const char *name)
{
    if (!target_is_file(source, status))
        return CLI_OK;
    return report_failure(cli,
                          "%s: this is the device that is to be read, and writing to it would "
                          "destroy what is read; nothing was written; choose another output",
                          name);
}

static void output_describe(const struct blkd_holder *holder, char text[static OUTPUT_HOLDER_MAX])
{
    const char *command = holder->command ? holder->command : "";

    if (holder->kind == BLKD_HOLDER_SESSION)
        (void)snprintf(text, OUTPUT_HOLDER_MAX, "session %" PRIu64 " (pid %" PRIu32 " %s)",
                       holder->session_number, holder->pid, command);
    else if (holder->pid != 0)
        (void)snprintf(text, OUTPUT_HOLDER_MAX, "%s (pid %" PRIu32 " %s)",
                       words_holder(holder->kind), holder->pid, command);
    else
        (void)snprintf(text, OUTPUT_HOLDER_MAX, "%s%s%s", words_holder(holder->kind),
                       holder->detail && holder->detail[0] ? " " : "",
                       holder->detail ? holder->detail : "");
}

static int output_refuse_held(const struct cli *cli, const char *name, const char *holder)
{
    (void)report_failure(cli,
                         "%s: in use: %s; its contents are unchanged; choose another output, or "
                         "see 'blkd-cli why %s'",
                         name, holder, name);
    return CLI_BUSY;
}

/* The daemon knows its sessions, and sees locks, mounts and the like. If it does not tell, locks
 * that are tried later still keep us out. */
static int output_ask_holders(struct cli *cli, const char *path)
{
    CLEANUP_HOLDERS struct blkd_holders *holders = NULL;
    char text[OUTPUT_HOLDER_MAX];
    int error = blkd_who(cli->connection, path, &holders);

    if (error == -ENOTCONN || error == -ESHUTDOWN)
        return report_library(cli, error);
    for (size_t i = 0; !error && i < holders->count; i++) {
        if (holders->entries[i]->waiting)
            continue;
        output_describe(holders->entries[i], text);
        return output_refuse_held(cli, path, text);
    }
    return CLI_OK;
}

/* What is certain before it is opened. ENOENT: it will be created. */
static int output_check(struct cli *cli, const struct target *source, const char *path,
                        struct stat *ret_status)
{
    int code;

    *ret_status = (struct stat){0};
    if (stat(path, ret_status) != 0)
        return errno == ENOENT ? CLI_OK : report_output(cli, -errno, path);
    code = output_refuse_source(cli, source, ret_status, path);
    if (code == CLI_OK && (S_ISREG(ret_status->st_mode) || S_ISBLK(ret_status->st_mode)))
        code = output_ask_holders(cli, path);
    return code;
}

/* Another program's lock on the file keeps us out, and ours keeps others out. Where there are no
 * locks of this kind, nobody holds one. */
static int output_lock(struct cli *cli, int fd, const char *path)
{
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return output_refuse_held(cli, path, "another program has locked it (flock)");
    return CLI_OK;
}

/* Not truncated, and a block device only if nobody has it exclusively. */
static int output_open_file(struct cli *cli, const struct target *source, struct output *output)
{
    const char *path = output->name;
    struct stat before;
    struct stat status;
    CLEANUP_CLOSE int fd = -1;
    int code = output_check(cli, source, path, &before);

    if (code != CLI_OK)
        return code;
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | (S_ISBLK(before.st_mode) ? O_EXCL : O_CREAT),
              OUTPUT_MODE);
    if (fd < 0 && errno == EBUSY && S_ISBLK(before.st_mode))
        return output_refuse_held(cli, path, "mounted, or opened exclusively by another program");
    if (fd < 0 || fstat(fd, &status) != 0)
        return report_output(cli, -errno, path);
    if (before.st_mode != 0 && !target_same_file(&status, &before))
        return report_failure(cli, "%s: was replaced while it was opened; try again", path);
    output->replaces = S_ISREG(status.st_mode);
    output->is_device = S_ISBLK(status.st_mode);
    code = output->replaces ? output_lock(cli, fd, path) : CLI_OK;
    if (code != CLI_OK)
        return code;
    output->file = fdopen(fd, "w");
    if (!output->file)
        return report_output(cli, -errno, path);
    (void)TAKE_FD(fd);
    return CLI_OK;
}

/* /dev/stdout and the like: the open file that we have, with its place and its O_APPEND. */
static bool output_is_stdout(const char *path, const struct stat *stdout_status)
{
    struct stat status;

    return stat(path, &status) == 0 && target_same_file(&status, stdout_status);
}

int output_open(struct cli *cli, const struct target *source, struct output *output)
{
    const char *path = cli->options.output_path;
    struct stat status;
    bool open_stdout = fstat(STDOUT_FILENO, &status) == 0;

    if (path && !(open_stdout && output_is_stdout(path, &status))) {
        output->name = path;
        return output_open_file(cli, source, output);
    }
    output->name = path ? path : "stdout";
    output->file = stdout;
    return open_stdout ? output_refuse_source(cli, source, &status, output->name) : CLI_OK;
}

int output_begin(struct output *output)
{
    if (output->begun)
        return 0;
    output->begun = true;
    return output->replaces && ftruncate(fileno(output->file), 0) != 0 ? -errno : 0;
}

int output_finish(struct output *output)
{
    int error = fflush(output->file) != 0 ? -errno : 0;

    if (!error && output->is_device && fsync(fileno(output->file)) != 0)
        error = -errno;
    return error;
}

void output_deinit(struct output *output)
{
    if (output->file && output->file != stdout)
        (void)fclose(output->file);
    output->file = NULL;
}
