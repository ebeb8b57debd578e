# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Starts a Python program that was sent along. Uses lib.sh.

# agile_python PATH PROGRAM ARGUMENT...: runs the program, with the runs' folder as its current folder; its output is the
# answer. An interpreter is tried by starting it: looking first would take as long again.
agile_python() {
	enter_base "$1" && cd "$base/runs" 2>/dev/null || fail absent "there are no runs in ${base:-$1}"
	program=$2
	shift 2
	# Nothing else may be written between its bytes.
	kill "$beating" 2>/dev/null
	wait "$beating" 2>/dev/null
	# Becomes the program, and says that bytes follow; 90 where the interpreter is older than 3.6.
	python_begins='
import os, sys
if sys.version_info < (3, 6):
    sys.exit(90)
os.write(1, (sys.argv[1] + " raw\n").encode())
program = sys.argv[2]
del sys.argv[1:3]
exec(program)
'
	for interpreter in python3 python "$base"/envs/*/bin/python; do
		command -v "$interpreter" >/dev/null || continue
		"$interpreter" -I -S -c "$python_begins" "$nonce" "$program" "$@"
		# 2 is what an interpreter says that knows no -I.
		case $? in 90 | 2 | 126 | 127) ;; *) exit ;; esac
	done
	fail python "there is no python3 on the server"
}
