# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Starting a run's session. Uses lib.sh and status.sh.

# launch: starts the runner in the first of the launchers that works. None of them says whether it did: screen and
# tmux end with 0 for programs that do not exist. The runner's own mark does, which await_start waits for.
launch() {
	progress "launching $id"
	case $launcher in
	auto) launchers='screen tmux nohup' ;;
	*) launchers=$launcher ;;
	esac
	for with in $launchers; do
		case $with in
		screen | tmux)
			command -v "$with" >/dev/null 2>&1 || continue
			"launch_$with" && return 0
			;;
		nohup) launch_nohup && return 0 ;;
		esac
	done
	return 1
}

# It detaches at once; where it hangs, nothing must wait for it for ever.
launch_screen() (
	: "${TERM:=screen}"
	export TERM
	at_most 30 screen -c /dev/null -dmS "$id" sh "$run/runner" screen >"$run/launch.log" 2>&1 </dev/null
)

# A server of its own for each run: one that runs already would give the run its old environment.
launch_tmux() {
	at_most 30 tmux -L "agile-$id" -f /dev/null new-session -d -s "$id" sh "$run/runner" tmux >"$run/launch.log" 2>&1 </dev/null
}

launch_nohup() {
	if command -v setsid >/dev/null 2>&1; then
		# The subshell ends at once, so that the runner is nobody's child.
		(setsid sh "$run/runner" nohup >"$run/launch.log" 2>&1 </dev/null &)
	else
		python3 -c 'import os, sys; os.fork() and os._exit(0); os.setsid(); os.execvp("sh", sys.argv[1:])' \
			sh "$run/runner" nohup >"$run/launch.log" 2>&1 </dev/null
	fi
}

# await_start RUN: until the runner says that it has started, or `deadline` is over: ten seconds from when it was empty.
await_start() {
	agile_naps=0
	until [ -s "$1/process" ]; do
		agile_naps=$((agile_naps + 1))
		# Most have started before a clock is looked at.
		if [ $((agile_naps % 10)) -eq 0 ]; then
			: "${deadline:=$(($(steady) + 10))}"
			[ "$(steady)" -le "$deadline" ] || return 1
		fi
		nap
	done
}
