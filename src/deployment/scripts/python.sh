# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Starts a Python program that was sent along. Uses lib.sh.

# agile_python PATH PROGRAM ARGUMENT...: becomes the program, with the runs' folder as its current folder; its output
# is the answer.
agile_python() {
	enter_base "$1" && cd "$base/runs" 2>/dev/null || fail absent "there are no runs in ${base:-$1}"
	program=$2
	shift 2
	for interpreter in python3 python "$base"/envs/*/bin/python; do
		if "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null; then
			begin_raw
			exec "$interpreter" -c "$program" "$@"
		fi
	done
	fail python "there is no python3 on the server"
}
