#!/bin/sh
# A rehearsal: starts the simulated CSM on a loopback port, runs the real program against it, and
# ends with the program's exit code. No storage is touched.
#
#   sh tests/rehearse.sh                            runs task 27, certificate pinned
#   sh tests/rehearse.sh --check                    the same task, with more options
#   sh tests/rehearse.sh --json -q
#   sh tests/rehearse.sh -S "SGC Payroll" -v        another target
#   sh tests/rehearse.sh --list                     no target
#
# Server, port, user and fingerprint are always given, the password in the environment; the task,
# unless -t, -S or --list is among your arguments. These come last, so that your -s, -P, -u or -p
# wins; and where you say how far the certificate is to be trusted (--fingerprint, --ca-file,
# --insecure), that is all that is said.
#
# PYTHON=...            the interpreter (default: python3; any from 3.6 on)
# REHEARSE_SERVER=...   more options for the simulated server, for instance
#                       REHEARSE_SERVER="--outcome 27=error" sh tests/rehearse.sh
#                       (REHEARSE_SERVER=--help shows them all)
set -u
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1

python=$(sh "$top/tests/venv.sh" rehearse -r requirements.txt trustme) || exit 1

temporary=$(mktemp -d) || exit 1
server=
clean_up() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null
    rm -rf "$temporary"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 143' TERM
# Ctrl-C is for the program to answer; its exit code still has to be told.
trap : INT

echo "Starting the simulated CSM"
set -f # the options are split at blanks, but a * in them is no pattern
# shellcheck disable=SC2086
PYTHONDONTWRITEBYTECODE=1 "$python" "$top/tests/csm" --port 0 \
    --announce "$temporary/announce" --backup-seconds 8 ${REHEARSE_SERVER:-} \
    </dev/null >"$temporary/log" 2>&1 &
server=$!
set +f

tries=0
until [ -s "$temporary/announce" ] &&
    read -r host port fingerprint user <"$temporary/announce"
do
    tries=$((tries + 1))
    if [ $tries -gt 50 ] || ! kill -0 "$server" 2>/dev/null; then
        if ! kill -0 "$server" 2>/dev/null && wait "$server"; then
            cat "$temporary/log" # it was asked for its --help
            exit 0
        fi
        cat "$temporary/log" >&2
        echo "error: the simulated CSM did not start; what it said is above." >&2
        exit 1
    fi
    sleep 0.2
done

target="-t ITSO_SGC_H3_LAH81"
trust=--fingerprint
for argument; do
    case $argument in
        --) break ;;
        --ca-file | --ca-file=* | --insecure | --fingerprint | --fingerprint=*) trust= ;;
        --list | -[tS]* | -[qv][tS]* | --csm_task | --csm_task=* | --csm_session | --csm_session=*)
            target= ;;
    esac
done
# shellcheck disable=SC2086
set -- $target "$@"
[ -z "$trust" ] || set -- --fingerprint "$fingerprint" "$@"
set -- -s "$host" -P "$port" -u "$user" "$@"

# The command as one could type it.
shown="run-cr-wflow-ds8k.py"
for argument; do
    case $argument in
        '' | *[!A-Za-z0-9_.,:/=@%+-]*)
            argument="'$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")'" ;;
    esac
    shown="$shown $argument"
done
printf '$ %s\n' "CSM_USER_PASSWD='s3cret pass' $shown"

CSM_USER_PASSWD='s3cret pass' "$python" "$top/run-cr-wflow-ds8k.py" "$@"
code=$?
echo "Exit code: $code"
exit $code
