# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What runs inside screen, tmux or a session of its own. It alone claims that a run has started, and writes the truth
# about it: `process`, `state`, `log`, `exit` in the run's folder. At its end it starts the next run that waits for its
# slot. Uses lib.sh, status.sh, stop.sh, launch.sh and queue.sh, of which the run has a copy.

# agile_runner FILE [program]: FILE is this script in the run's folder. With `program`, becomes the experiment.
agile_runner() {
	set -u
	run=$(cd "$(dirname "$1")" && pwd -P) || exit 97
	base=${run%/runs/*} id=${run##*/} nonce=git-agile tab='	'
	case ${2-} in
	program) run_program ;;
	*) run_all "${2:-}" ;;
	esac
}

run_all() {
	# An interrupt typed into the window, or the window's end, reaches the program too; the runner outlives both to
	# write how it ended.
	trap : HUP INT QUIT TERM PIPE
	umask 077
	cd / || exit 97
	identify
	# Who we are is written before the claim: a runner that is killed right after it is known to be gone.
	claim=$run/claim.$$
	if ! printf 'runner %s %s\nboot %s\nhost %s\nlauncher %s\nsession %s\nbegan %s\n' "$$" "$ticks" "$boot" "$here" "$1" \
		"${STY:-}" "$(now)" >"$claim"; then
		echo "cannot write in $run"
		rm -f "$claim"
		exit 97
	fi
	# The one decision that this run starts. Another runner of the same run finds it taken.
	if ! mkdir "$run/started" 2>/dev/null; then
		[ -d "$run/started" ] && echo "this run has been started already" || echo "cannot write in $run"
		rm -f "$claim"
		exit 0
	fi
	mv -f "$claim" "$run/process"
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
	limit=
	[ ! -s "$run/limit" ] || read -r limit <"$run/limit"
	watcher=
	if [ -n "$limit" ]; then
		watch_time "$limit" >/dev/null 2>&1 &
		watcher=$!
	fi
	sh "$run/runner" program </dev/null >>"$run/log" 2>&1
	code=$?
	if [ -n "$watcher" ]; then
		# Once its time is over, what is left of the run is ended first.
		[ -d "$run/timeout" ] || kill "$watcher" 2>/dev/null
		wait "$watcher"
	fi
	if [ -d "$run/stop" ]; then
		finish stopped "$code"
	elif [ "$code" -eq 0 ]; then
		finish succeeded 0
	elif [ -d "$run/timeout" ]; then
		finish timed-out "$code"
	else
		finish failed "$code"
	fi
	# With the environment that this run was given, and none of its session.
	unset STY TMUX WINDOW
	(dispatch) </dev/null >/dev/null 2>&1
	if [ -n "$viewer" ]; then
		# Let the window show the last lines before it closes.
		sleep 0.2 2>/dev/null || sleep 1
		kill "$viewer" 2>/dev/null
	fi
}

# watch_time SECONDS: ends the run when its time is over.
watch_time() {
	agile_pause=
	trap 'kill $agile_pause 2>/dev/null; exit' TERM
	sleep "$1" &
	agile_pause=$!
	wait "$agile_pause"
	trap - TERM
	mkdir "$run/timeout"
	# shellcheck disable=SC2016 # for the shell that it starts, whose parent this is
	watcher_pid=$(exec sh -c 'echo "$PPID"')
	grace=10
	stop_tree "$id"
}

# finish STATE CODE: the end, the state before the mark that it is one, written until the disk has room for it, for two hours at most.
finish() {
	agile_tries=0
	until printf '%s %s\n' "$1" "$(now)" | publish "$run/state" && printf '%s\n' "$2" | publish "$run/exit"; do
		agile_tries=$((agile_tries + 1))
		[ "$agile_tries" -lt 720 ] || return 1
		sleep 10
	done
}

run_program() {
	identify
	printf 'program %s %s\n' "$$" "$ticks" | publish "$run/program"
	# Who stops the run either finds this process or is found here.
	[ ! -d "$run/stop" ] || exit 143
	if [ -s "$run/slot" ]; then
		read -r AGILE_SLOT agile_gpus <"$run/slot"
		export AGILE_SLOT
		[ -z "$agile_gpus" ] || export CUDA_VISIBLE_DEVICES="$agile_gpus"
	fi
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
