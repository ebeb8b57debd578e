#!/bin/sh
# Ends every process of a directory, and removes the directory on request.
#
# Standard input: the directory's absolute path on the first line, `remove` or `keep` on the second, then nothing until
# the end of the input, which is the signal to start. A lab holds the other end of that pipe, so its processes end with
# it even when the test is killed.
#
# A process belongs to the directory when its environment, its command line or its current folder names it: what
# screen, tmux and `setsid nohup` detach has no parent left that could be asked. The path never stands in our own
# command line or environment, or we would find ourselves.
set -u
trap '' INT HUP TERM PIPE

IFS= read -r dir && IFS= read -r after || exit 1
cat >/dev/null

case $dir in
    /*/*[!/]) ;;
    *) exit 1 ;; # never anything as wide as / or /tmp
esac

# The same path as a pattern whose own text does not contain the path.
head=${dir%?}
pattern="${head}[${dir#"$head"}]"

# The sshd processes of sessions keep neither environment nor command line; each session noted its own with its
# start time, so that a number that was used again is not mistaken for it.
sessions() {
    cat "$dir"/sessions "$dir"/*/sessions 2>/dev/null | while read -r pid ticks; do
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086 # the fields after the name in parentheses
        set -- ${stat##*) }
        [ "${20}" = "$ticks" ] && [ "$1" != Z ] && echo "$pid"
    done
}

belonging() {
    {
        LC_ALL=C grep -lsa -e "${pattern}\$" -e "${pattern}[^A-Za-z0-9_-]" /proc/[0-9]*/environ /proc/[0-9]*/cmdline
        find /proc -maxdepth 2 -name cwd \( -lname "$pattern" -o -lname "$pattern/*" \) 2>/dev/null
    } | sed -n 's|^/proc/\([0-9]*\)/.*|\1|p'
    sessions
}

round=0
while [ "$round" -lt 500 ]; do
    pids=$(belonging | sort -u | grep -vx "$$")
    [ -n "$pids" ] || break
    # shellcheck disable=SC2086 # one word per process
    kill -KILL $pids 2>/dev/null
    round=$((round + 1))
done
[ -z "$pids" ] || exit 2

if [ "$after" = remove ]; then
    rm -rf -- "$dir" 2>/dev/null && exit 0
    chmod -R u+rwX -- "$dir" 2>/dev/null # a test took its own rights away
    rm -rf -- "$dir"
fi
