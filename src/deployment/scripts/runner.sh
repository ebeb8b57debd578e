# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What runs inside screen, tmux or a session of its own. It alone claims that a run has started, and writes the truth
# about it: `process`, `state`, `machine`, `packages`, `log`, `resources`, `rule`, `exit` in the run's folder. At its end it
# starts the next run that waits for its slot. Uses lib.sh, status.sh, stop.sh, launch.sh, queue.sh, machine.sh and
# slurm.sh, of which the run has a copy, with `metric_program` where a metric may end the run.

# agile_runner FILE [program]: FILE is this script in the run's folder. With `program`, becomes the experiment.
agile_runner() {
	set -u
	run=$(cd "${1%/*}" && pwd -P) || exit 97
	base=${run%/runs/*} id=${run##*/} nonce=git-agile tab='	'
	TIMED_OUT=3 RULED_OUT=4
	# In bytes.
	LOG_LIMIT=1073741824
	# The version of Python, then `name==version` lines. Before 3.8 there is no importlib.metadata.
	PACKAGES='
import sys
try:
    from importlib.metadata import distributions
    found = [(d.metadata["Name"], d.version) for d in distributions()]
except ImportError:
    import pkg_resources
    found = [(d.project_name, d.version) for d in pkg_resources.working_set]
print("%d.%d.%d" % sys.version_info[:3])
for name in sorted({"".join("%s==%s" % pair).split()[0] for pair in found if all(pair)}, key=str.lower):
    print(name.encode("ascii", "replace").decode())
'
	case ${2-} in
	program) run_program ;;
	*)
		within=$id
		run_all "${2:-}"
		# For Slurm's own books.
		[ "${2:-}" != slurm ] || exit "${code:-0}"
		;;
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
	claim=$run/claim.$$ began=$(now)
	if ! printf 'runner %s %s\nboot %s\nhost %s\nlauncher %s\nsession %s\nbegan %s\n' "$$" "$ticks" "$boot" "$here" "$1" \
		"${STY:-${SLURM_JOB_ID:-}}" "$began" >"$claim"; then
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
	[ "$1" != slurm ] || claim_job
	if [ -d "$run/stop" ]; then
		finish stopped 143
		return
	fi
	put "$run/state" running "$began"
	viewer=
	if [ -t 1 ]; then
		tail -n +1 -f "$run/log" 2>/dev/null &
		viewer=$!
	fi
	keep_watch </dev/null >/dev/null 2>&1 &
	watcher=$!
	await_watcher
	read_uptime
	begun=$uptime
	sh "$run/runner" program </dev/null >>"$run/log" 2>&1
	code=$?
	# In a subshell, the children would be others.
	{ times; } >"$run/times"
	read_uptime
	ended=$uptime
	end_container "$id"
	# One that is ending the run takes no notice: what is left of it goes first.
	kill "$watcher" 2>/dev/null
	while :; do
		wait "$watcher"
		verdict=$?
		[ "$verdict" -gt 128 ] && kill -0 "$watcher" 2>/dev/null || break
	done
	await_machine
	resources | publish "$run/resources"
	rm -f "$run/times" "$run/peak" "$run/rule.log" "$run/log.new"
	rmdir "$run/watching" 2>/dev/null
	if [ -d "$run/stop" ]; then
		finish stopped "$code"
	# A program that ends in good order when it is asked to has not done what it was to do.
	elif [ "$verdict" -eq "$TIMED_OUT" ]; then
		finish timed-out "$code"
	elif [ "$1" = slurm ] && ended_by_slurm; then
		finish "$end" "$code"
	elif [ "$code" -eq 0 ]; then
		finish succeeded 0
	elif [ "$verdict" -eq "$RULED_OUT" ]; then
		finish stopped "$code"
	else
		finish failed "$code"
	fi
	# The next run in Slurm's queue is Slurm's to start.
	[ "$1" != slurm ] || return 0
	# With the environment that this run was given, and none of its session.
	unset STY TMUX WINDOW
	(dispatch) </dev/null >/dev/null 2>&1
	if [ -n "$viewer" ]; then
		# Let the window show the last lines before it closes.
		sleep 0.2 2>/dev/null || sleep 1
		kill "$viewer" 2>/dev/null
	fi
}

# keep_watch: beside the program, notes how much memory it takes, and ends the run when its time is over or its metric says
# so; its status tells which. It outlives a runner that is killed for as long as there is a program.
keep_watch() {
	pause='' metric='' peak=0 tick=1 agile_program=''
	trap : HUP INT QUIT PIPE
	trap 'kill $pause $metric 2>/dev/null; exit 143' TERM
	limit='' rule=''
	[ ! -s "$run/limit" ] || { read -r limit && IFS= read -r rule; } <"$run/limit"
	# The time is the program's own: over before it begins, it would find nobody to end. One that nobody sees has a minute more.
	[ -z "$limit" ] || over=$(($(steady) + limit + 60))
	[ -z "$rule" ] || watch_metric
	short=1
	! sleep 0.01 2>/dev/null || short=0.2
	while :; do
		if [ -z "$agile_program" ]; then
			read_process "$run/program"
			[ -z "$agile_program" ] || [ -z "$limit" ] || over=$(($(steady) + limit))
		fi
		look_at_program || exit 0
		turn_log
		if [ -s "$run/rule" ]; then
			end_run "$RULED_OUT"
		elif [ -n "$limit" ] && [ "$(steady)" -ge "$over" ]; then
			put "$run/rule" "its time was over"
			end_run "$TIMED_OUT"
		fi
		if [ -n "$metric" ]; then
			ticks_of "$metric"
			[ -n "$ticks" ] || [ -s "$run/rule" ] || lose_metric
		fi
		sleep "$(next_pause)" &
		pause=$!
		tick=$((tick + 1))
		wait "$pause"
	done
}

# next_pause: short ones first, so that a short run is seen too, then up to five seconds, and not beyond the limit.
next_pause() {
	if [ "$tick" -le 10 ]; then
		echo "$short"
		return
	fi
	agile_pause=$((tick / 10 < 5 ? tick / 10 : 5))
	if [ -n "$limit" ]; then
		agile_left=$((over - $(steady)))
		[ "$agile_left" -ge "$agile_pause" ] || agile_pause=$((agile_left > 1 ? agile_left : 1))
	fi
	echo "$agile_pause"
}

# look_at_program: samples the program's memory; fails when neither it nor the runner is there any more.
look_at_program() {
	seen=gone
	[ -z "$agile_program" ] || look "${agile_program%% *}" "${agile_program##* }" "$boot" "$here"
	if [ "$seen" != alive ]; then
		# A signal that comes before a subshell has set its traps is lost: the end of the program is seen here too.
		[ ! -e "$run/times" ] || return 1
		look $$ "${me##*,}" "$boot" "$here"
		[ "$seen" = alive ]
		return
	fi
	agile_before=$peak
	sample "${agile_program%% *}"
	[ "$peak" = "$agile_before" ] || echo "$peak" >"$run/peak"
}

# turn_log: a log that has grown too large begins anew, with what it had in `log.1`: a program that prints without end must
# not fill the disk. All that write into it append, so it can be emptied beneath them.
turn_log() {
	agile_size=$(wc -c <"$run/log") 2>/dev/null
	[ "${agile_size:-0}" -gt "$LOG_LIMIT" ] || return 0
	# Where there is no room for all of it, there may be for its end.
	cp "$run/log" "$run/log.new" || tail -c 16777216 "$run/log" >"$run/log.new"
	mv -f "$run/log.new" "$run/log.1"
	: >"$run/log"
	echo "git-agile: the log had grown beyond $LOG_LIMIT bytes; what came before is in log.1" >>"$run/log"
}

# watch_metric: starts the program that reads what the run writes, with the run's Python or any other.
watch_metric() {
	# shellcheck source=/dev/null
	agile_own=$(. "$run/environment" >/dev/null 2>&1 && command -v python)
	for agile_python in "$agile_own" python3 python; do
		"$agile_python" -I -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null || continue
		"$agile_python" -I -c "$(metric_program)" "$run" "$rule" 2>"$run/rule.log" &
		metric=$!
		return
	done
	echo "git-agile: there is no Python that could watch the metric" >>"$run/log"
}

# await_watcher: until the metric is watched, for a few seconds: what there is by then is not the run's.
await_watcher() {
	rule=
	[ ! -s "$run/limit" ] || { read -r agile_limit && IFS= read -r rule; } <"$run/limit"
	[ -n "$rule" ] || return 0
	agile_deadline=$(($(steady) + 5))
	until [ -d "$run/watching" ] || [ -d "$run/stop" ] || [ "$(steady)" -ge "$agile_deadline" ]; do nap; done
}

lose_metric() {
	echo "git-agile: the metric is not watched any more: $(tail -n 1 "$run/rule.log" 2>/dev/null)" >>"$run/log"
	metric=
}

# end_run STATUS: TERM to the whole tree, a grace of ten seconds, KILL; then ends the watcher with STATUS.
end_run() {
	trap '' TERM
	# shellcheck disable=SC2016 # for the shell that it starts, whose parent this is
	watcher_pid=$(exec sh -c 'echo "$PPID"')
	find_processes "$id"
	signal TERM
	deadline=$(($(steady) + 10))
	while any_alive && [ "$(steady)" -lt "$deadline" ]; do nap; done
	for agile_try in 1 2 3; do
		find_processes "$id"
		[ -n "$processes" ] || break
		signal KILL
		nap
	done
	exit "$1"
}

# resources: lines of a word and its value: seconds, of processor time and by the clock; memory in KiB; the rule that has
# ended the run. Processor time is that of the program and all that was waited for.
resources() {
	agile_contained=0
	[ ! -s "$run/container" ] || agile_contained=1
	awk -v begun="$begun" -v ended="$ended" -v contained="$agile_contained" '
		NR == 2 {
			# A container is not ours: what is counted is the program that has started it.
			for (i = 1; i <= 2 && !contained; i++) {
				split($i, part, /[ms]/)
				printf "%s %.2f\n", i == 1 ? "user" : "system-time", part[1] * 60 + part[2]
			}
		}
		END { printf "wall %.2f\n", ended - begun }' "$run/times"
	[ ! -s "$run/peak" ] || [ -s "$run/container" ] || echo "peak $(cat "$run/peak")"
	case $verdict in
	"$RULED_OUT" | "$TIMED_OUT") echo "rule $(cat "$run/rule" 2>/dev/null)" ;;
	esac
}

# note_machine: what the program runs on and with: the machine, its GPUs, its Python and the packages installed there.
note_machine() {
	# The window may close before.
	trap '' HUP INT QUIT
	cd / || return
	agile_python=$(command -v python || command -v python3)
	# The tools are the system's, not what the environment or the person puts before them.
	PATH=$agile_path
	# That of a container is not to be seen from here.
	[ -z "$agile_python" ] || [ -s "$run/container" ] || note_packages
	{
		machine_facts
		gpu_facts ${CUDA_VISIBLE_DEVICES+"$CUDA_VISIBLE_DEVICES"}
		if [ -s "$run/container" ] && read -r agile_fact <"$run/env" && read -r agile_fact <"$base/envs/$agile_fact/image"; then
			echo "image $agile_fact"
		fi
		if [ -s "$run/packages" ]; then
			read -r agile_fact <"$run/packages"
			echo "python $agile_fact"
			# shellcheck disable=SC2046 # two numbers, to be two words
			set -- $(cksum <"$run/packages")
			echo "packages $1-$2"
		fi
	} | publish "$run/machine"
}

# note_packages: what `agile_python` has. To find that out takes longer than many a program, so an environment's own list is kept in
# it, until something else is installed there by hand.
note_packages() {
	agile_env=
	[ ! -s "$run/env" ] || read -r agile_env <"$run/env"
	agile_env=$base/envs/$agile_env
	[ "$agile_python" = "$agile_env/bin/python" ] && [ -z "${PYTHONPATH-}" ] || agile_env=
	if [ -n "$agile_env" ] && [ -s "$agile_env/packages" ] &&
		agile_newer=$(find "$agile_env"/lib/python*/site-packages -prune -newer "$agile_env/packages") &&
		[ -z "$agile_newer" ] && ln "$agile_env/packages" "$run/packages"; then
		return
	fi
	agile_packages=$(limited 30 nice "$agile_python" -c "$PACKAGES" 2>/dev/null) || return
	printf '%s\n' "$agile_packages" | publish "$run/packages" && [ -n "$agile_env" ] &&
		ln -f "$run/packages" "$agile_env/packages"
}

# await_machine: until that is noted, for a few seconds: a run may be shorter. Then nobody may write any more.
await_machine() {
	[ -s "$run/collector" ] && read -r agile_collector <"$run/collector" || return 0
	agile_deadline=$(($(steady) + 5))
	ticks=
	while [ ! -d "$run/stop" ] && [ "$(steady)" -lt "$agile_deadline" ]; do
		ticks_of "$agile_collector"
		[ -n "$ticks" ] || break
		nap
	done
	[ -z "$ticks" ] || kill "$agile_collector" 2>/dev/null
	rm -f "$run/collector" "$run/packages.tmp" "$run/machine.tmp"
}

# finish STATE CODE: the end, the state before the mark that it is one, written until the disk has room for it, for two hours at most.
finish() {
	agile_tries=0
	until put "$run/state" "$1" "$(now)" && put "$run/exit" "$2"; do
		agile_tries=$((agile_tries + 1))
		[ "$agile_tries" -lt 720 ] || return 1
		sleep 10
	done
}

run_program() {
	identify
	put "$run/program" program "$$" "$ticks"
	# Who stops the run either finds this process or is found here.
	[ ! -d "$run/stop" ] || exit 143
	if [ -s "$run/slot" ]; then
		read -r AGILE_SLOT agile_gpus <"$run/slot"
		export AGILE_SLOT
		[ -z "$agile_gpus" ] || export CUDA_VISIBLE_DEVICES="$agile_gpus"
	fi
	agile_path=$PATH
	# What a person wrote is not written for `set -u`.
	set +u
	# shellcheck source=/dev/null
	. "$run/environment"
	cd "$run/code" || exit 97
	if [ -s "$run/setup" ]; then
		define_module
		# shellcheck source=/dev/null
		. "$run/setup" || {
			echo "git-agile: the server's \`setup\` failed, so the experiment was not started"
			exit 97
		}
	fi
	# Nobody's child: the program is not to wait for it.
	(note_machine </dev/null >/dev/null 2>&1 & echo "$!" >"$run/collector")
	# An environment may want the command in a shell, or a container, of its own.
	[ ! -s "$run/within" ] || exec sh "$run/within"
	# A program that ends in good order when it is asked to gives its own status: the shell waits for it, and goes no further.
	# shellcheck disable=SC2016 # for the shell that it starts
	exec sh -c 'trap exit TERM; . "$0"' "$run/command"
}

# define_module: `module` and `ml` of Lmod and Environment Modules are functions, which the system gives to login shells only;
# a `setup` that uses them has them too.
define_module() {
	grep -qwE 'module|ml' "$run/setup" || return 0
	for agile_file in /etc/profile.d/*mod*.sh; do
		! command -v module >/dev/null || return 0
		# What a package has left behind, or is written for another shell, would end this one.
		# shellcheck source=/dev/null
		(. "$agile_file" && command -v module) >/dev/null 2>&1 && . "$agile_file"
	done
}
