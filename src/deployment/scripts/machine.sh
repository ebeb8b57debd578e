# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What a machine is, and what a process tree takes of it. Uses lib.sh.

# limited SECONDS COMMAND...: runs it for so long at most; its status is 124 when the time was over.
limited() {
	if command -v timeout >/dev/null 2>&1; then
		timeout "$@"
		return
	fi
	agile_seconds=$1
	shift
	"$@" &
	agile_limited=$!
	(
		trap 'kill $agile_alarm 2>/dev/null; exit' TERM
		sleep "$agile_seconds" &
		agile_alarm=$!
		wait "$agile_alarm"
		kill "$agile_limited" 2>/dev/null
	) >/dev/null 2>&1 &
	agile_alarm=$!
	wait "$agile_limited"
	agile_status=$?
	kill "$agile_alarm" 2>/dev/null || agile_status=124
	return "$agile_status"
}

# machine_facts: lines of a word and its value; sizes in KiB.
machine_facts() {
	read_host
	printf 'host %s\nsystem %s\n' "$here" "$(uname -srm)"
	read_cpu
	[ -n "$agile_fact" ] || agile_fact=$(sysctl -n machdep.cpu.brand_string 2>/dev/null)
	[ -z "$agile_fact" ] || printf 'cpu %s\n' "$agile_fact"
	agile_fact=$(getconf _NPROCESSORS_ONLN 2>/dev/null) && printf 'cores %s\n' "$agile_fact"
	if { read -r agile_key agile_fact agile_rest </proc/meminfo; } 2>/dev/null && [ "$agile_key" = MemTotal: ]; then
		printf 'memory %s\n' "$agile_fact"
	elif agile_fact=$(sysctl -n hw.memsize 2>/dev/null); then
		printf 'memory %s\n' $((agile_fact / 1024))
	fi
}

# read_cpu: `agile_fact`, the name of the first processor (proc(5), cpuinfo), which not every architecture has.
read_cpu() {
	agile_fact=
	while IFS= read -r agile_fact; do
		case $agile_fact in 'model name'*:*) break ;; esac
	done 2>/dev/null </proc/cpuinfo
	agile_fact=${agile_fact#*: }
}

# gpu_facts [VISIBLE]: a line `gpu NAME, driver VERSION` for each GPU, or for those in VISIBLE: numbers or beginnings of
# UUIDs, as CUDA_VISIBLE_DEVICES has them. A driver that hangs is left after ten seconds.
gpu_facts() {
	command -v nvidia-smi >/dev/null 2>&1 || return 0
	[ $# -eq 0 ] || [ -n "$1" ] || return 0
	limited 10 nvidia-smi --query-gpu=index,uuid,name,driver_version --format=csv,noheader </dev/null 2>/dev/null |
		awk -F ', *' -v all="${1-all}" '
			BEGIN { count = split(all, visible, ",") }
			NF < 4 { next }
			{
				for (i = 1; i <= count; i++)
					if (all == "all" || visible[i] == $1 || (length(visible[i]) > 4 && index($2, visible[i]) == 1)) {
						print "gpu " $3 ", driver " $4
						next
					}
			}'
}

# sample PID: raises `peak`, in KiB, to what the process and its descendants hold in memory together now, or to the
# most that one of them alone has held.
sample() {
	agile_total=0
	if [ -r /proc/self/status ]; then
		agile_waiting=$1
		while [ -n "$agile_waiting" ]; do
			# shellcheck disable=SC2086 # pids, to be words
			set -- $agile_waiting
			agile_waiting=
			for agile_pid; do sample_one; done
		done
	else
		agile_total=$(ps -A -o pid= -o ppid= -o rss= | awk -v root="$1" '
			{ parent[$1] = $2; size[$1] = $3 }
			END {
				inside[root] = 1
				do {
					grew = 0
					for (pid in parent)
						if (!(pid in inside) && (parent[pid] in inside)) { inside[pid] = 1; grew = 1 }
				} while (grew)
				for (pid in inside) total += size[pid]
				print total + 0
			}')
	fi
	[ "$agile_total" -le "$peak" ] || peak=$agile_total
}

# sample_one: counts `agile_pid` (proc(5), status), and adds its children to `agile_waiting`.
sample_one() {
	{
		while read -r agile_key agile_value agile_rest; do
			case $agile_key in
			VmHWM:) [ "$agile_value" -le "$peak" ] || peak=$agile_value ;;
			VmRSS:)
				agile_total=$((agile_total + agile_value))
				break
				;;
			esac
		done <"/proc/$agile_pid/status"
	} 2>/dev/null
	for agile_file in "/proc/$agile_pid"/task/*/children; do
		agile_children=
		{ IFS= read -r agile_children <"$agile_file"; } 2>/dev/null
		agile_waiting="$agile_waiting $agile_children"
	done
	case $agile_waiting in *[0-9]*) ;; *) agile_waiting= ;; esac
}
