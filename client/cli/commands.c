/* SPDX-License-Identifier: MIT */
/*
 * The table of blkd-cli's commands. A name of two words is a command of a group.
 */
#include "client/cli/cli.h"

const struct command COMMANDS[] = {
    {
        .name = "info",
        .operands = "DEVICE",
        .summary = "what a session of the device gets: size, mode, caching, lock",
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
        .summary = "read a range, to stdout or a file",
        .details =
            "Reads from the start to the end of the device, or any range of bytes of it. On a\n"
            "terminal they are shown as a hexadecimal dump, whose addresses are offsets on the\n"
            "device.\n",
        .examples = "  blkd-cli read /dev/sdb --count 1\n"
                    "  blkd-cli read disk.img --offset 1M --length 64K --output part.bin\n"
                    "  blkd-cli read disk.img | sha256sum\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_READ,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_read,
    },
    {
        .name = "write",
        .operands = "DEVICE",
        .summary = "write stdin or a file to the device",
        .details =
            "Writes all of the input, or as much as --count or --length say, from the start of\n"
            "the device on unless --sector or --offset are given. Input that is not a whole\n"
            "number of sectors is refused unless --pad is given. A failure on the way says how\n"
            "much was written.\n",
        .examples = "  blkd-cli write /dev/sdb --input disk.img --flush\n"
                    "  printf hello | blkd-cli write disk.img --sector 7 --pad\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_FUA | OPTIONS_WRITE,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_write,
    },
    {
        .name = "flush",
        .operands = "DEVICE",
        .summary = "bring everything written so far to stable storage",
        .examples = "  blkd-cli flush /dev/sdb\n",
        .groups = OPTIONS_DEVICE,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_flush,
    },
    {
        .name = "resize",
        .operands = "DEVICE SIZE",
        .summary = "change the size of an image file",
        .details =
            "SIZE is in bytes, with a unit if you like, or with + or - what to add or take away.\n",
        .examples = "  blkd-cli resize disk.img 20G\n"
                    "  blkd-cli resize disk.img +512M\n"
                    "  blkd-cli resize --shrink disk.img -1G\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RESIZE,
        .operands_min = 2,
        .operands_max = 2,
        .run = cmd_resize,
    },
    {
        .name = "discard",
        .operands = "DEVICE",
        .summary = "give a range back: it reads as zeroes afterwards",
        .examples = "  blkd-cli discard disk.img --offset 1G --length 256M\n"
                    "  blkd-cli discard /dev/sdb --all\n",
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_ALL,
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
        .groups = OPTIONS_DEVICE | OPTIONS_RANGE | OPTIONS_ALL | OPTIONS_FUA,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_zero,
    },
    {
        .name = "map",
        .operands = "DEVICE",
        .summary = "which parts of the device are mapped, and which are holes",
        .details = "Holes are certain to read as zeroes. A block device is all mapped.\n",
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
        .summary = "the configuration string that a session effectively has",
        .details = "With --parse, explains a configuration string and asks no daemon.\n",
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
        .summary = "the devices that the daemon has open",
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
        .summary = "who has which device open",
        .details = "DEVICE is a number of 'blkd-cli ls' (DEV) or a path.\n",
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
        .summary = "which locks are held and waited for, and by whom",
        .details = "DEVICE is a path, or a number of 'blkd-cli ls' (DEV).\n",
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
            "Exits with the command's status, or 128 and the number of the signal that ended it.\n"
            "The command finds the lock's fencing token in BLKD_LOCK_TOKEN. A lock that is lost\n"
            "while the command runs is told on stderr. Signals go to the command, whose end is\n"
            "waited for. 4: the lock was not to be had. What the command itself writes through\n"
            "blkd is another session's, and refused as anybody's is.\n",
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
        .summary = "wait until nobody's lock is in the way",
        .details = "Takes the lock when its turn has come, and lets go of it at once.\n",
        .examples = "  blkd-cli lock wait /dev/sdb && echo free\n"
                    "  blkd-cli lock wait --shared --timeout 10 disk.img\n",
        .groups = OPTIONS_DEVICE | OPTIONS_LOCK | OPTIONS_WAIT,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_lock_wait,
    },
    {
        .name = "lock break",
        .operands = "DEVICE",
        .summary = "take the locks on a device away from those who hold them",
        .details =
            "Root only. What the holder writes from now on is refused; its I/O in flight is\n"
            "waited for. DEVICE is a path, or a number of 'blkd-cli ls' (DEV).\n",
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
        .summary = "who holds a device, inside blkd and outside, and is it safe",
        .details = "0: nobody is seen to hold it. 4: somebody does.\n",
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
        .summary = "what is on stable storage, since when it is not, and what syncing costs",
        .details = "DEVICE is a path, or a number of 'blkd-cli ls' (DEV).\n",
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
        .summary = "bring everything written so far to stable storage (as 'flush')",
        .examples = "  blkd-cli sync flush /dev/sdb\n",
        .groups = OPTIONS_DEVICE,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_flush,
    },
    {
        .name = "recover",
        .operands = "DEVICE",
        .summary = "make a device usable again that has FAILED",
        .details =
            "Root only. What the failed sync lost stays lost: check the contents before they\n"
            "are trusted. Nobody may have it open; 'blkd-cli session evict' throws out those\n"
            "that stay. DEVICE is a path, or a number of 'blkd-cli ls' (DEV).\n",
        .examples = "  blkd-cli recover /dev/sdb\n",
        .groups = OPTIONS_JSON | OPTIONS_ADMIN,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_recover,
    },
    {
        .name = "session evict",
        .operands = "SESSION",
        .summary = "throw a session out: its I/O ends, its locks fall",
        .details = "Root only. SESSION is a number of 'blkd-cli sessions'.\n",
        .examples = "  blkd-cli session evict 12\n",
        .groups = OPTIONS_ADMIN,
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_session_evict,
    },
    {
        .name = "watch",
        .operands = "",
        .summary = "print what happens to the devices, as it happens",
        .details = "A line each, until SIGINT or SIGTERM. With --json each line is an object.\n",
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
        .summary = "how long a round trip takes, and which daemon answers",
        .details =
            "With DEVICE, a round trip is a read of its first sector, which goes through shared\n"
            "memory (tier ring) where that is to be had; else it is a request that does\n"
            "nothing, through the socket. BLKD_TIER=socket shows what that makes of a read.\n",
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
