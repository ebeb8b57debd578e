# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What the server knows of runs. A look changes no run, and starts no program to look; but who comes by starts a waiting
# run that has a free slot, for after a reboot nobody else would. Uses lib.sh, launch.sh and queue.sh.

# run_facts ID: sets `facts`, tab-separated: state, since, started, exit, and what was seen of the process.
run_facts() {
	agile_run=$base/runs/$1
	agile_state='-' agile_since='-' agile_started='-' agile_exit='-' seen='-'
	if [ ! -d "$agile_run" ]; then
		facts=absent
		return
	fi
	if [ -f "$agile_run/state" ]; then
		read -r agile_state agile_since <"$agile_run/state"
	fi
	if [ -f "$agile_run/exit" ]; then
		read -r agile_exit <"$agile_run/exit"
	elif [ -d "$agile_run/started" ]; then
		process_facts "$agile_run"
	elif [ -d "$agile_run/stop" ]; then
		seen=refused
	fi
	[ -z "$agile_exit" ] && agile_exit='-'
	facts=${agile_state:--}$tab${agile_since:--}$tab$agile_exit$tab$seen
}

# process_facts RUN: whether the program, or the runner before it, is alive. Read twice where it seems gone: the
# runner may have written `exit` between the first look and the second.
process_facts() {
	agile_runner='' agile_program='' agile_boot='' agile_host=''
	for agile_file in "$1/process" "$1/program"; do
		[ -f "$agile_file" ] || continue
		while read -r agile_key agile_value agile_ticks; do
			case $agile_key in
			runner) agile_runner="$agile_value $agile_ticks" ;;
			program) agile_program="$agile_value $agile_ticks" ;;
			boot) agile_boot=$agile_value ;;
			host) agile_host=$agile_value ;;
			esac
		done <"$agile_file"
	done
	if [ -z "$agile_runner" ]; then
		seen=claimed
		return
	fi
	for agile_process in "$agile_runner" "$agile_program"; do
		[ -n "$agile_process" ] || continue
		look "${agile_process%% *}" "${agile_process##* }" "$agile_boot" "$agile_host"
		[ "$seen" = gone ] || break
	done
	if [ "$seen" = gone ] && [ -s "$1/exit" ]; then
		read -r agile_exit <"$1/exit"
		[ ! -f "$1/state" ] || read -r agile_state agile_since <"$1/state"
	elif [ "$seen" = gone ] && [ -d "$1/stop" ]; then
		seen=killed
	fi
}

# agile_status PATH ID...: a line for each run.
agile_status() {
	enter_base "$1" || {
		answer_line nothing
		return
	}
	shift
	identify
	answer_line clock "$(now)"
	dispatch
	while [ $# -gt 1 ]; do
		run_facts "$1"
		answer_line run "$1" look "$facts"
		shift
	done
}
