# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Ends runs: the whole tree gets TERM, a grace, then KILL, and a look that nothing is left. Uses lib.sh, status.sh,
# queue.sh, slurm.sh and jobs.sh.

# agile_stop PATH GRACE gone|there ID...: GRACE in seconds. With `gone`, a run on another machine counts as ended.
agile_stop() {
	enter_base "$1" && [ -d "$base/runs" ] || {
		answer_line nothing
		return
	}
	grace=$2 elsewhere=$3
	shift 3
	identify
	answer_line clock "$(now)"
	stop_jobs "$@"
	# All of them first: where one ends, its slot would be the next one's.
	marked='' asked=''
	for agile_id; do
		[ "$agile_id" = "$nonce" ] || mark_to_end "$agile_id"
	done
	for agile_id in $marked; do
		[ ! -d "$base/runs/$agile_id/started" ] || ask_to_end "$agile_id"
	done
	grace_ends=$(($(steady) + grace))
	while [ $# -gt 1 ]; do
		stop_run "$1"
		shift
	done
	answer_unseen
}

stop_run() {
	run=$base/runs/$1
	processes=
	run_facts "$1"
	case " $cancelled " in *" $1 "*)
		answer_line run "$1" stopped "$facts"
		return
		;;
	esac
	# What was not marked was over, is Slurm's, or another machine's; what was marked may be over by now.
	case " $marked " in
	*" $1 "*) ;;
	*)
		agile_word=ended
		[ "$seen" != elsewhere ] || agile_word=elsewhere
		answer_line run "$1" "$agile_word" "$facts"
		answer_report "$1"
		return
		;;
	esac
	[ ! -d "$run/started" ] || stop_tree "$1"
	run_facts "$1"
	answer_line run "$1" "stopped${processes:+ $(printf '%s' "$processes" | wc -w | tr -d ' ') left}" "$facts"
	answer_report "$1"
}

# mark_to_end ID: a runner that has not begun yet finds `stop` and ends at once; also one that a deployment is still preparing.
mark_to_end() {
	run_facts "$1"
	[ "$agile_exit" = '-' ] && [ ! -e "$base/runs/$1/job" ] || return 0
	if [ "$seen" = elsewhere ]; then
		[ "$elsewhere" = gone ] || return 0
		mkdir -p "$base/runs/$1/stop" && put "$base/runs/$1/state" stopped "$(now)" && put "$base/runs/$1/exit" 143
	fi
	mkdir -p "$base/runs/$1/stop"
	leave_queue "$1"
	marked="$marked $1"
}

# ask_to_end ID: TERM to what there is of the run.
ask_to_end() {
	progress "stopping $1"
	find_processes "$1"
	signal TERM
	asked="$asked $1 "
}

# stop_tree ID: after TERM the grace, then KILL. Over when the runner has written the end, or is gone, and nothing is left.
stop_tree() {
	find_processes "$1"
	case $asked in *" $1 "*) ;; *) signal TERM ;; esac
	until is_over "$1" || [ "$(steady)" -ge "$grace_ends" ]; do nap; done
	# What was started meanwhile, and what took no notice.
	for agile_try in 1 2 3; do
		find_processes "$1"
		[ -n "$processes" ] || break
		signal KILL
		nap
	done
	end_container "$1"
	deadline=$(($(steady) + 5))
	until is_over "$1" || [ "$(steady)" -ge "$deadline" ]; do nap; done
	find_processes "$1"
}

# end_container ID: what the run's container still runs, whatever became of the program that started it.
end_container() {
	[ -s "$base/runs/$1/container" ] || return 0
	read -r agile_engine agile_container <"$base/runs/$1/container"
	"$agile_engine" kill "${agile_container:-$1}" >/dev/null 2>&1
	"$agile_engine" rm -f "${agile_container:-$1}" >/dev/null 2>&1
}

is_over() {
	run_facts "$1"
	case $agile_exit,$seen in -,alive | -,claimed) return 1 ;; esac
	! any_alive
}

signal() {
	for agile_pid in $processes; do
		kill "-$1" "$agile_pid" 2>/dev/null
	done
}

any_alive() {
	for agile_pid in $processes; do
		ticks_of "$agile_pid"
		[ -z "$ticks" ] || return 0
	done
	return 1
}

# find_processes ID: sets `processes`: all that descends from the program, and all that carries the run's id in its
# environment, wherever it has gone. A recorded process counts only when it is still the same one. Before there is a
# program, it is what descends from the runner; the runner itself is left to write the end.
find_processes() {
	run_facts "$1"
	agile_root=$agile_program
	[ "$agile_exit" != '-' ] || [ -n "$agile_program" ] || agile_root=$agile_runner
	roots=
	if [ -n "$agile_root" ]; then
		look "${agile_root%% *}" "${agile_root##* }" "$agile_boot" "$agile_host"
		[ "$seen" != alive ] || roots=${agile_root%% *}
	fi
	processes=$(
		{
			for pid in $roots; do echo "root $pid"; done
			for pid in $(named "$1"); do echo "named $pid"; done
			process_table
		} | awk -v runner="${agile_runner%% *}" -v self=$$ -v watcher="${watcher_pid-}" '
			$1 == "root" { inside[$2] = 1; next }
			$1 == "named" { inside[$2] = 1; next }
			{ parent[$1] = $2 }
			END {
				do {
					grew = 0
					for (pid in parent)
						if (!(pid in inside) && (parent[pid] in inside)) { inside[pid] = 1; grew = 1 }
				} while (grew)
				for (pid in inside) if (pid in parent && pid != runner && pid != self && pid != watcher) print pid
			}'
	)
}

# named ID: the processes of this person whose environment names the run's folder (Linux only). Another folder may have a
# run of the same id.
named() {
	[ -r /proc/self/environ ] && agile_own=$(cd "$base/runs/$1" 2>/dev/null && pwd -P) || return 0
	# shellcheck disable=SC2013 # file names without spaces
	for agile_file in $(grep -l "AGILE_RUN=$1" /proc/[0-9]*/environ 2>/dev/null); do
		agile_folder=$(tr '\0' '\n' <"$agile_file" 2>/dev/null | sed -n 's/^AGILE_RUN_DIR=//p')
		if [ -n "$agile_folder" ] && [ "$(cd "$agile_folder" 2>/dev/null && pwd -P)" = "$agile_own" ]; then
			agile_file=${agile_file#/proc/}
			echo "${agile_file%/environ}"
		fi
	done
}

# process_table: pid and parent of every process that is not a zombie.
process_table() {
	if [ -r /proc/self/stat ]; then
		for agile_file in /proc/[0-9]*/stat; do
			{ IFS= read -r agile_stat <"$agile_file"; } 2>/dev/null || continue
			agile_pid=${agile_stat%% *}
			agile_stat=${agile_stat##*') '}
			case $agile_stat in Z* | X*) continue ;; esac
			agile_stat=${agile_stat#? }
			echo "$agile_pid ${agile_stat%% *}"
		done
	else
		ps -A -o pid= -o ppid= -o stat= | awk '$3 !~ /^Z/ { print $1, $2 }'
	fi
}
