# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What the server knows of runs. A look changes no run, and starts no program to look; but who comes by starts a waiting
# run that has a free slot, for after a reboot nobody else would. Uses lib.sh, launch.sh and queue.sh.

# run_facts ID: sets `facts`, tab-separated: state, since, exit, what was seen of the process, and when it began.
run_facts() {
	agile_run=$base/runs/$1
	agile_state='-' agile_since='-' agile_began='-' agile_exit='-' seen='-'
	agile_runner='' agile_program='' agile_boot='' agile_host=''
	if [ ! -d "$agile_run" ]; then
		facts=absent
		return
	fi
	# The runner writes the state before the exit status: who reads them the other way round never takes an old one.
	if [ -s "$agile_run/exit" ]; then
		read -r agile_exit <"$agile_run/exit"
	fi
	if [ -s "$agile_run/state" ]; then
		read -r agile_state agile_since <"$agile_run/state"
	fi
	read_process "$agile_run/process"
	if [ "$agile_exit" != '-' ]; then
		:
	elif [ -d "$agile_run/started" ]; then
		process_facts "$agile_run"
	elif [ -d "$agile_run/stop" ]; then
		seen=refused
	fi
	facts=$agile_state$tab$agile_since$tab$agile_exit$tab$seen$tab$agile_began
}

# process_facts RUN: whether the program, or the runner before it, is alive. Read twice where it seems gone: the
# runner may have written `exit` between the first look and the second.
process_facts() {
	read_process "$1/program"
	if [ -z "$agile_runner" ]; then
		claim_facts "$1"
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

# claim_facts RUN: the run is claimed, and who did it has not been made public. One of these files names them.
claim_facts() {
	for agile_file in "$1"/claim.*; do
		[ -f "$agile_file" ] || continue
		read_process "$agile_file"
		look "${agile_runner%% *}" "${agile_runner##* }" "$agile_boot" "$agile_host"
		case $seen in alive | elsewhere) break ;; esac
	done
	case $seen in
	gone | rebooted) [ ! -s "$1/process" ] || seen=claimed ;;
	*) seen=claimed ;;
	esac
}

# read_process FILE: adds what a runner or a program wrote about itself.
read_process() {
	[ -f "$1" ] || return 0
	while read -r agile_key agile_value agile_ticks; do
		case $agile_key in
		runner) agile_runner="$agile_value $agile_ticks" ;;
		program) agile_program="$agile_value $agile_ticks" ;;
		boot) agile_boot=$agile_value ;;
		host) agile_host=$agile_value ;;
		began) agile_began=$agile_value ;;
		esac
	done <"$1"
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
	dispatch try
	while [ $# -gt 1 ]; do
		run_facts "$1"
		answer_line run "$1" look "$facts"
		shift
	done
}
