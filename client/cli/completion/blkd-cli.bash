# SPDX-License-Identifier: MIT
# bash completion for blkd-cli: commands, their options as --help tells them, files and open devices.

_blkd_cli_options() {
    # A command's name may be two words.
    # shellcheck disable=SC2086
    "${1}" ${2} --help 2>/dev/null | grep -o -E -- '^ +(-.,)? +--[a-z-]+' | grep -o -E -- '--[a-z-]+'
}

# First words; with a group as second argument, what may follow it.
_blkd_cli_commands() {
    "${1}" --help 2>/dev/null | sed -n "/^Commands:/,/^\$/s/^  ${2:+${2} }\([a-z]\+\).*/\1/p" | sort -u
}

_blkd_cli_open_devices() {
    "${1}" sessions --json 2>/dev/null | sed -n 's/^ *"path": "\([^"\\]*\)",\{0,1\}$/\1/p' | sort -u
}

_blkd_cli() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"
    local command="" behind=0 i

    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
        --socket) ((i++)) ;;
        -*) ;;
        lock | sync | session)
            command="${COMP_WORDS[i]}"
            behind=$((i + 1))
            if ((i + 1 < COMP_CWORD)); then
                command+=" ${COMP_WORDS[i + 1]}"
                ((behind++))
            fi
            break
            ;;
        *)
            command="${COMP_WORDS[i]}"
            behind=$((i + 1))
            break
            ;;
        esac
    done
    for ((i = behind; i > 0 && i < COMP_CWORD; i++)); do
        if [[ ${command} == "lock take" && ${COMP_WORDS[i]} == -- ]]; then
            mapfile -t COMPREPLY < <(compgen -c -f -- "${current}") # the command to run
            return
        fi
    done
    case "${previous}" in
    --sync)
        mapfile -t COMPREPLY < <(compgen -W "none os drive" -- "${current}")
        return
        ;;
    --socket | --input | --output | -i | -o)
        mapfile -t COMPREPLY < <(compgen -f -- "${current}")
        compopt -o filenames
        return
        ;;
    esac
    if [[ ${current} == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_blkd_cli_options "$1" "${command}")" -- "${current}")
    elif [[ -z ${command} || ${command} == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_blkd_cli_commands "$1") help" -- "${current}")
    elif [[ ${command} == lock || ${command} == sync || ${command} == session ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_blkd_cli_commands "$1" "${command}")" -- "${current}")
    elif [[ ${command} =~ ^(sessions|lock ls|lock break|sync status|recover)$ ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_blkd_cli_open_devices "$1")" -- "${current}")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "${current}")
        compopt -o filenames
    fi
}

complete -F _blkd_cli blkd-cli
