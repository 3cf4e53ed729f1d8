/* SPDX-License-Identifier: MIT */
/*
 * The table of blkd-cli's commands. A name of two words is a command of a group.
 */
#include "client/cli/cli.h"

const struct command COMMANDS[] = {
    {
        .name = "info",
        .operands = "DEVICE",
        .summary = "show size, mode, caching and lock of a device",
        .details = "Opens the device to find out. Where an effective setting differs from the\n"
                   "requested one, both are shown.\n",
        .examples = "  blkd-cli info /dev/sdb\n"
                    "  blkd-cli info --json 'file:///srv/disk.img?buffered=0'\n",
        .groups = OPTIONS_DEVICE | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_info,
    },
    {
        .name = "read",
        .operands = "DEVICE",
        .summary = "read a range of a device to stdout or a file",
        .details = "Reads the whole device, or the range that the options select. The range may\n"
                   "start and end at any byte. On a terminal, prints a hexadecimal dump with\n"
                   "offsets on the device. The device itself is refused as --output, and so is a\n"
                   "file that a session or another program holds.\n",
        .examples = "  blkd-cli read /dev/sdb --count 1\n"
                    "  blkd-cli read disk.img --offset 1M --length 64K --output part.bin\n"
                    "  blkd-cli read disk.img | sha256sum\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_READ | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_read,
    },
    {
        .name = "write",
        .operands = "DEVICE",
        .summary = "write stdin or a file to a device",
        .details =
            "Writes the whole input, or as much as --count or --length says, from the start\n"
            "of the device or from --sector or --offset. Input that is not a whole number\n"
            "of sectors is refused unless --pad is given. If a write fails, the message\n"
            "says how much was written. Images whose bytes are not those of the disk in\n"
            "them, such as qcow2, are refused unless --raw-anyway is given.\n",
        .examples = "  blkd-cli write /dev/sdb --input disk.img --flush\n"
                    "  printf hello | blkd-cli write disk.img --sector 7 --pad\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_FUA | OPTIONS_WRITE | OPTIONS_CHANGE |
                  OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_write,
    },
    {
        .name = "flush",
        .operands = "DEVICE",
        .summary = "bring all writes to a device to stable storage",
        .examples = "  blkd-cli flush /dev/sdb\n",
        .groups = OPTIONS_DEVICE | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_flush,
    },
    {
        .name = "resize",
        .operands = "DEVICE SIZE",
        .summary = "change the size of a disk image",
        .details = "SIZE is in bytes and may have a unit. +SIZE enlarges the image, -SIZE shrinks\n"
                   "it. Block devices cannot be resized.\n",
        .examples = "  blkd-cli resize disk.img 20G\n"
                    "  blkd-cli resize disk.img +512M\n"
                    "  blkd-cli resize --shrink disk.img -1G\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RESIZE | OPTIONS_CHANGE | OPTIONS_JSON,
        .operands_min = 2,
        .operands_max = 2,
        .run = cmd_resize,
    },
    {
        .name = "discard",
        .operands = "DEVICE",
        .summary = "discard a range; it reads as zeroes afterwards",
        .details = "Releases the space if the storage supports that.\n",
        .examples = "  blkd-cli discard disk.img --offset 1G --length 256M\n"
                    "  blkd-cli discard /dev/sdb --all\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_ALL | OPTIONS_CHANGE | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_discard,
    },
    {
        .name = "zero",
        .operands = "DEVICE",
        .summary = "write zeroes to a range",
        .examples = "  blkd-cli zero /dev/sdb --sector 0 --count 2048\n"
                    "  blkd-cli zero disk.img --all --fua\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_ALL | OPTIONS_FUA | OPTIONS_CHANGE |
                  OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_zero,
    },
    {
        .name = "map",
        .operands = "DEVICE",
        .summary = "show which parts of a device are allocated and which are holes",
        .details = "Holes read as zeroes. A block device counts as fully allocated.\n",
        .examples = "  blkd-cli map disk.img\n"
                    "  blkd-cli map --json --total disk.img\n",
        .groups = OPTIONS_DEVICE | OPTIONS_MAP | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_map,
    },
    {
        .name = "config",
        .operands = "[DEVICE]",
        .summary = "print the effective configuration string of a device",
        .details = "With --parse, explains the given string without connecting to the daemon.\n",
        .examples = "  blkd-cli config --direct disk.img\n"
                    "  blkd-cli config --parse 'file:///srv/disk.img?sync=none&lock=1'\n",
        .groups = OPTIONS_DEVICE | OPTIONS_CONFIG | OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_config,
    },
    {
        .name = "ls",
        .operands = "",
        .summary = "list the devices that the daemon has open",
        .examples = "  blkd-cli ls\n"
                    "  blkd-cli ls --json | jq -r '.devices[] | select(.unsynced) | .path'\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 0,
        .run = cmd_ls,
    },
    {
        .name = "sessions",
        .operands = "[DEVICE]",
        .summary = "list sessions: who has which device open",
        .details = "DEVICE is a path or a device number from 'blkd-cli ls' (column DEV).\n",
        .examples = "  blkd-cli sessions\n"
                    "  blkd-cli sessions /dev/sdb\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_sessions,
    },
    {
        .name = "lock ls",
        .operands = "[DEVICE]",
        .summary = "list locks, their holders and who waits for them",
        .details = "DEVICE is a path or a device number from 'blkd-cli ls' (column DEV).\n",
        .examples = "  blkd-cli lock ls\n"
                    "  blkd-cli lock ls --json /dev/sdb\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_lock_ls,
    },
    {
        .name = "lock take",
        .operands = "DEVICE -- COMMAND [ARGUMENT]...",
        .summary = "run a command while holding a lock",
        .details =
            "Exits with the command's exit code, with 128+N if signal N ended the command,\n"
            "or with 4 if the lock is not available. An exclusive lock has a fencing token,\n"
            "which the command finds in BLKD_LOCK_TOKEN. SIGINT, SIGTERM, SIGHUP and\n"
            "SIGQUIT are passed on to the command. If the lock is lost while the command\n"
            "runs, a warning is printed.\n"
            "\nThe lock belongs to blkd-cli's session. The command's own writes through blkd\n"
            "are made in another session and are refused while the lock is held.\n",
        .examples = "  blkd-cli lock take --shared --wait=60 disk.img -- ./backup.sh\n"
                    "  blkd-cli lock take --kill-on-loss disk.img -- sha256sum disk.img\n"
                    "  blkd-cli lock take --range 2048:4096 disk.img -- ./job\n",
        .groups = OPTIONS_DEVICE | OPTIONS_LOCK | OPTIONS_TAKE | OPTIONS_REST,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_lock_take,
    },
    {
        .name = "lock wait",
        .operands = "DEVICE",
        .summary = "wait until a lock is available",
        .details = "Queues for the lock and releases it as soon as it is granted.\n",
        .examples = "  blkd-cli lock wait /dev/sdb && echo free\n"
                    "  blkd-cli lock wait --shared --timeout 10 disk.img\n",
        .groups = OPTIONS_DEVICE | OPTIONS_LOCK | OPTIONS_WAIT | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_lock_wait,
    },
    {
        .name = "lock break",
        .operands = "DEVICE",
        .summary = "take locks away from their holders",
        .details = "For root and the daemon's own user. From then on the holders' writes are\n"
                   "refused. Waits for their I/O in flight. DEVICE is a path or a device number\n"
                   "from 'blkd-cli ls' (column DEV).\n",
        .examples = "  blkd-cli lock break disk.img\n"
                    "  blkd-cli lock break --session 12 --wait 60 /dev/sdb\n",
        .groups = OPTIONS_BREAK | OPTIONS_JSON | OPTIONS_ADMIN,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_lock_break,
    },
    {
        .name = "why",
        .operands = "PATH",
        .summary = "show who uses a device, in blkd and elsewhere, and whether it is flushed",
        .details = "Exits with 0 if the device is not in use, with 4 if it is.\n",
        .examples = "  blkd-cli why /dev/sdb\n"
                    "  blkd-cli why --json disk.img | jq .holders\n",
        .groups = OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_why,
    },
    {
        .name = "sync status",
        .operands = "[DEVICE]",
        .summary = "show unflushed writes, failed syncs and sync times",
        .details = "DEVICE is a path or a device number from 'blkd-cli ls' (column DEV).\n",
        .examples = "  blkd-cli sync status\n"
                    "  blkd-cli sync status --json | jq '.sync[] | select(.failed)'\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_sync_status,
    },
    {
        .name = "sync flush",
        .operands = "DEVICE",
        .summary = "same as 'flush'",
        .examples = "  blkd-cli sync flush /dev/sdb\n",
        .groups = OPTIONS_DEVICE | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_flush,
    },
    {
        .name = "recover",
        .operands = "DEVICE",
        .summary = "make a device usable again after a failed sync",
        .details =
            "For root and the daemon's own user. Writes lost in the failed sync stay lost;\n"
            "check the contents before you trust them. No session may have the device open;\n"
            "'blkd-cli session evict' ends sessions. DEVICE is a path or a device number\n"
            "from 'blkd-cli ls' (column DEV).\n",
        .examples = "  blkd-cli recover /dev/sdb\n",
        .groups = OPTIONS_JSON | OPTIONS_ADMIN,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_recover,
    },
    {
        .name = "session evict",
        .operands = "SESSION",
        .summary = "end a session: stop its I/O and release its locks",
        .details = "For root and the daemon's own user. SESSION is a number from 'blkd-cli\n"
                   "sessions'.\n",
        .examples = "  blkd-cli session evict 12\n",
        .groups = OPTIONS_ADMIN | OPTIONS_JSON,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_session_evict,
    },
    {
        .name = "watch",
        .operands = "",
        .summary = "print events on devices as they happen",
        .details = "Prints one line per event until SIGINT or SIGTERM. With --json, each line is\n"
                   "an object.\n",
        .examples =
            "  blkd-cli watch\n"
            "  blkd-cli watch --json | jq --unbuffered 'select(.event == \"sync-failed\")'\n",
        .groups = OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 0,
        .run = cmd_watch,
    },
    {
        .name = "ping",
        .operands = "[DEVICE]",
        .summary = "measure round trips and show which daemon answers",
        .details = "Without DEVICE, a round trip is an empty request through the socket. With\n"
                   "DEVICE, it reads the device's first sector, through rings in shared memory if\n"
                   "available. Set BLKD_TIER=socket or BLKD_TIER=ring to compare the two.\n",
        .examples = "  blkd-cli ping\n"
                    "  blkd-cli ping disk.img\n"
                    "  blkd-cli ping --count 1000 --interval 0 --json\n",
        .groups = OPTIONS_PING | OPTIONS_JSON,
        .operands_min = 0,
        .operands_max = 1,
        .run = cmd_ping,
    },
};

const size_t COMMAND_COUNT = sizeof(COMMANDS) / sizeof(COMMANDS[0]);
