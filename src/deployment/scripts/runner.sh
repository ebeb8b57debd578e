# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What runs inside screen, tmux or a session of its own. It alone claims that a run has started, and writes the truth
# about it: `process`, `state`, `log`, `exit` in the run's folder. Uses lib.sh, of which the run has a copy.

# agile_runner FILE [program]: FILE is this script in the run's folder. With `program`, becomes the experiment.
agile_runner() {
	set -u
	run=$(cd "$(dirname "$1")" && pwd -P) || exit 97
	case ${2-} in
	program) run_program ;;
	*) run_all "${2:-}" ;;
	esac
}

run_all() {
	# An interrupt typed into the window, or the window's end, reaches the program too; the runner outlives both to
	# write how it ended.
	trap : HUP INT TERM PIPE
	umask 077
	cd / || exit 97
	# The one decision that this run starts. Another runner of the same run finds it taken.
	if ! mkdir "$run/started" 2>/dev/null; then
		echo "this run has been started already"
		exit 0
	fi
	identify
	printf 'runner %s %s\nboot %s\nhost %s\nlauncher %s\nsession %s\n' "$$" "$ticks" "$boot" "$here" "$1" \
		"${STY:-}" | publish "$run/process"
	if [ -d "$run/stop" ]; then
		finish stopped 143
		return
	fi
	printf 'running %s\n' "$(now)" | publish "$run/state"
	viewer=
	if [ -t 1 ]; then
		tail -n +1 -f "$run/log" 2>/dev/null &
		viewer=$!
	fi
	sh "$run/runner" program </dev/null >>"$run/log" 2>&1
	code=$?
	if [ "$code" -eq 0 ]; then
		finish succeeded 0
	elif [ -d "$run/stop" ]; then
		finish stopped "$code"
	else
		finish failed "$code"
	fi
	if [ -n "$viewer" ]; then
		# Let the window show the last lines before it closes.
		sleep 1
		kill "$viewer" 2>/dev/null
	fi
}

# finish STATE CODE: the end, written until the disk has room for it, for two hours at most.
finish() {
	agile_tries=0
	until printf '%s\n' "$2" | publish "$run/exit" && printf '%s %s\n' "$1" "$(now)" | publish "$run/state"; do
		agile_tries=$((agile_tries + 1))
		[ "$agile_tries" -lt 720 ] || return 1
		sleep 10
	done
}

run_program() {
	identify
	printf 'program %s %s\n' "$$" "$ticks" | publish "$run/program"
	# What a person wrote is not written for `set -u`.
	set +u
	# shellcheck source=/dev/null
	. "$run/environment"
	cd "$run/code" || exit 97
	if grep -q . "$run/setup" 2>/dev/null; then
		# shellcheck source=/dev/null
		. "$run/setup" || {
			echo "git-agile: the server's \`setup\` failed, so the experiment was not started"
			exit 97
		}
	fi
	exec sh "$run/command"
}
