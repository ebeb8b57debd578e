# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# A run's output, as it is. Uses lib.sh, status.sh and slurm.sh.

# agile_logs PATH ID LINES FOLLOW: the last LINES lines (`all`: everything) after a line that says so; with FOLLOW
# `follow`, more as it comes, until the run ends or nobody listens any more.
agile_logs() {
	id=$2
	if ! enter_base "$1" || [ ! -d "$base/runs/$id" ]; then
		fail absent "there is no run $id in ${base:-$1}"
	fi
	log=$base/runs/$id/log
	[ -f "$log" ] || fail absent "the run has not written a log"
	begin_raw
	case $3 in all) lines=+1 ;; *) lines=$3 ;; esac
	if [ "$4" != follow ]; then
		[ -f "$log.1" ] || exec tail -n "$lines" "$log"
		# What came before the log began anew.
		{ tail -n "$lines" "$log.1" && tail -n "$lines" "$log"; } | tail -n "$lines"
		exit
	fi
	identify
	tail -n "$lines" -f "$log" &
	tail=$!
	looks=0
	while kill -0 "$tail" 2>/dev/null && kill -0 "$PPID" 2>/dev/null; do
		run_facts "$id"
		case $seen in
		alive | claimed | elsewhere | job*) ;;
		over* | killed) break ;;
		*) [ "$agile_exit" = '-' ] && [ ! -d "$base/runs/$id/started" ] || break ;;
		esac
		sleep 1
		# Slurm is asked twice a minute.
		looks=$((looks + 1))
		[ $((looks % 30)) -ne 0 ] || pictured=''
	done
	# The last lines that were written before the end.
	sleep 1
	kill "$tail" 2>/dev/null
	exit 0
}
