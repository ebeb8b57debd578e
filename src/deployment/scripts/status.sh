# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What the server knows of runs. A look changes no run, and starts no program to look; but who comes by starts a waiting
# run that has a free slot, for after a reboot nobody else would. Uses lib.sh, launch.sh, queue.sh,
# and slurm.sh if it is there.

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
	if was_given_up "$agile_run"; then
		# That can be taken back, and is no end.
		agile_state='-' agile_since='-' agile_exit='-' seen=unbegun
	elif [ "$agile_exit" != '-' ]; then
		case $agile_exit,$agile_state in
		12[89],* | 1[3-9]?,* | 2??,* | 0,stopped | 0,failed | 0,timed-out) by_slurm signal_facts "$agile_run" ;;
		esac
	elif [ -e "$agile_run/job" ] && [ "${within-}" != "$1" ]; then
		by_slurm job_facts "$agile_run"
	elif [ -d "$agile_run/started" ]; then
		process_facts "$agile_run"
	elif [ -d "$agile_run/stop" ]; then
		seen=refused
	fi
	facts=$agile_state$tab$agile_since$tab$agile_exit$tab$seen$tab$agile_began
}

# was_given_up RUN: whether it was claimed so that it never begins. A runner that claims a run says at once who it is.
was_given_up() {
	[ -s "$1/exit" ] && [ ! -e "$1/process" ] && [ ! -e "$1/stop" ] && [ ! -e "$1/job" ]
}

# by_slurm FUNCTION RUN: calls a function of slurm.sh for a run that Slurm has. That text is only sent where it is needed:
# without it the answer says that it is.
by_slurm() {
	[ -e "$2/job" ] || return 0
	if command -v job_facts >/dev/null 2>&1; then
		"$@"
	else
		seen='job UNASKED'
	fi
}

# answer_unseen: says why Slurm did not answer, if it did not.
answer_unseen() {
	[ -z "${slurm_error-}" ] || answer_line unseen "$slurm_error"
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
	# A runner says who it is before it claims. What gave a run up instead of one needs a moment for it.
	-)
		seen=claimed
		[ -s "$1/process" ] || [ -z "$(find "$1/started" -prune -mmin +1 2>/dev/null)" ] || seen=gone
		;;
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

# answer_report ID: after run_facts, what the runner of a run that has ended says of its machine and of what it took. The
# packages of an environment are told once.
answer_report() {
	case $agile_exit,$seen in -,gone | -,killed | -,rebooted | [0-9]*) ;; *) return 0 ;; esac
	agile_report=
	for agile_file in "$agile_run/machine" "$agile_run/resources"; do
		[ -s "$agile_file" ] || continue
		while IFS= read -r agile_fact; do
			agile_report=$agile_report$tab$agile_fact
			case $agile_fact in packages\ *) answer_packages "${agile_fact#* }" ;; esac
		done <"$agile_file"
	done
	[ -z "$agile_report" ] || answer_line report "$1$agile_report"
}

answer_packages() {
	case " ${agile_told-} " in *" $1 "*) return 0 ;; esac
	agile_told="${agile_told-} $1"
	answer_line packages "$1" "$(sed 1d "$agile_run/packages" 2>/dev/null | tr '\n\t' '  ' | cut -c 1-60000)"
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
		answer_report "$1"
		shift
	done
	answer_unseen
}
