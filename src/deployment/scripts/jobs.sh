# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Submits and cancels jobs: the runs of a grid are one job array, whose task N runs what stands on line N of a list. Uses
# lib.sh, status.sh and slurm.sh.

# submit_runs ID...: a job for the prepared runs that have none. One that was asked for and not confirmed is looked up, and
# sent again only when Slurm answers that it is not there.
submit_runs() {
	lock "$base/locks/slurm"
	pictured='' fresh='' settled=' ' after='' submitting=$*
	for id; do
		run=$base/runs/$id
		if [ -d "$run/started" ]; then
			answer_run "$id" exists
			continue
		fi
		if ! read_job "$run"; then
			fresh="$fresh $id"
		elif [ ! -e "$job/asked" ]; then
			take_back
			fresh="$fresh $id"
		else
			case $settled in *" $job_name "*) continue ;; esac
			if [ -n "$job_id" ]; then
				answer_run "$id" exists
			else
				settled="$settled$job_name "
				settle_job
			fi
		fi
	done
	# shellcheck disable=SC2086 # ids, to be words
	submit_grids $fresh
	unlock "$base/locks/slurm"
}

# submit_grids ID...: a job for each experiment, or several where Slurm takes fewer tasks for one.
submit_grids() {
	last_grid='' members='' count=0 most=1 after=''
	[ $# -le 1 ] || ask_most_tasks
	for member; do
		grid_of "$member"
		if [ "$grid" != "$last_grid" ] || [ "$count" -ge "$most" ]; then
			# shellcheck disable=SC2086 # ids, to be words
			[ -z "$members" ] || submit_job $members
			after=
			# The next part of a grid waits for the one before, or more than `throttle` would run at once.
			[ -z "$throttle" ] || [ "$grid" != "$last_grid" ] || after=$job_id
			last_grid=$grid members='' count=0
		fi
		members="$members $member"
		count=$((count + 1))
	done
	# shellcheck disable=SC2086 # ids, to be words
	[ -z "$members" ] || submit_job $members
}

# ask_most_tasks: `most`, how many tasks a job may have: one less than MaxArraySize (slurm.conf(5)), which is 1001 unless it
# was set.
ask_most_tasks() {
	most=$(in_time scontrol show config 2>/dev/null | sed -n 's/^MaxArraySize *= *\([0-9]*\).*/\1/p')
	case $most in '' | *[!0-9]* | 0 | 1) most=1001 ;; esac
	most=$((most - 1))
}

# grid_of ID: the experiment and commit of a run as `grid`: its id without the ten digits, and -aN of another attempt.
grid_of() {
	case ${1##*-} in
	??????????) grid=${1%-*} ;;
	*) grid=${1%-*} grid=${grid%-*} ;;
	esac
}

# submit_job ID...: one job for these runs.
submit_job() {
	job_name=$1
	job=$base/queue/slurm/$job_name
	# Tasks of another job may still need what lies there, where its first run was removed and has come again.
	agile_try=1
	while [ -e "$job/asked" ]; do
		agile_try=$((agile_try + 1))
		job_name=$1.$agile_try
		job=$base/queue/slurm/$job_name
	done
	if make_job "$@"; then
		send_job
	else
		take_back
		for agile_id; do answer_line failed "$agile_id" disk "cannot write in $job"; done
	fi
}

make_job() {
	mkdir -p "$job" && printf '%s\n' "$@" | publish "$job/runs" && task_script | publish "$job/task" || return 1
	job_line=0
	for agile_id; do
		job_line=$((job_line + 1))
		put "$base/runs/$agile_id/state" queued "$(now)" && put "$base/runs/$agile_id/job" "$job_name" "$job_line" || return 1
	done
	has_room
}

# What Slurm starts. A task says the job's number itself, should the answer of sbatch have been lost.
task_script() {
	# shellcheck disable=SC2016 # expanded when it runs
	printf '%s\n' \
		'#!/bin/sh' \
		'if [ ! -s "$1/id" ]; then echo "$SLURM_ARRAY_JOB_ID" >"$1/id.$SLURM_JOB_ID" && mv -f "$1/id.$SLURM_JOB_ID" "$1/id"; fi' \
		'id=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$1/runs")' \
		'if [ -z "$id" ]; then echo "git-agile: $(uname -n) cannot read $1/runs"; exit 97; fi' \
		'exec sh "${1%/queue/slurm/*}/runs/$id/runner" slurm'
}

# take_back: there is no such job; its runs have none.
take_back() {
	while read -r agile_id; do
		{ read -r agile_name agile_rest <"$base/runs/$agile_id/job"; } 2>/dev/null || continue
		[ "$agile_name" != "$job_name" ] || rm -f "$base/runs/$agile_id/job" "$base/runs/$agile_id/state"
	done 2>/dev/null <"$job/runs"
	rm -rf "$job"
}

# send_job: hands `job` to Slurm, and says so of its runs. What sbatch says is not believed when it is bad news: the job
# may be there all the same.
send_job() {
	count=$(wc -l <"$job/runs" | tr -d ' ')
	progress "submitting $count runs to Slurm"
	job_id=$(call_sbatch 2>"$job/sbatch.log")
	agile_status=$?
	# What squeue has said is older than the job.
	pictured=''
	if [ ! -s "$job/asked" ]; then
		answer_job failed disk "cannot write in $job"
		take_back
		return
	fi
	job_id=${job_id%%;*}
	case $agile_status,$job_id in
	0,[0-9]*)
		put "$job/id" "$job_id"
		answer_job submitted
		return
		;;
	esac
	find_job
	case $?,$agile_status in
	0,*) answer_job submitted ;;
	1,[0-9] | 1,[0-9][0-9])
		if may_be_on_its_way; then
			answer_job unconfirmed
		else
			answer_job failed submit "Slurm did not take the job"
			answer_tail "$(cat "$job/sbatch.log")"
			take_back
			return
		fi
		;;
	*) answer_job unconfirmed ;;
	esac
	[ -s "$job/id" ] || answer_tail "$(cat "$job/sbatch.log")"
}

# call_sbatch: the last of equal options counts. A person's come after what they may change, and before what is ours. What
# sbatch would take for a path's pattern is not in `out-%a`.
call_sbatch() (
	read -r first <"$job/runs"
	grid_of "$first"
	[ "$count" -ne 1 ] || grid=$first
	limit=
	[ ! -s "$base/runs/$first/limit" ] || read -r limit <"$base/runs/$first/limit"
	comment="git-agile: $(tr '\n' ' ' <"$job/runs" | cut -c 1-800)"
	IFS=$newline
	set -f
	# shellcheck disable=SC2086 # an option a line
	set -- --no-requeue ${limit:+"--time=$(((limit + 119) / 60))"} ${after:+"--dependency=afterany:$after"} $sbatch \
		--parsable --job-name="$grid" --comment="$comment" --chdir="$job" --output=out-%a --open-mode=append \
		--export=ALL --array="1-$count${throttle:+%$throttle}"
	slurm_variables
	now | publish "$job/asked" || exit
	# Not in time: timeout would move it out of the process group by which a lock sees that it still goes on.
	sbatch "$@" "$job/task" "$job" </dev/null
)

# may_be_on_its_way: whether the last words of sbatch leave open what Slurm did.
may_be_on_its_way() {
	[ -s "$job/sbatch.log" ] || return 0
	grep -q -i -e 'timed out' -e 'time-out' -e 'contact' -e 'connect' -e 'zero bytes' -e 'transport' -e 'communication' \
		-e 'receive' -e 'send' -e 'temporarily' "$job/sbatch.log"
}

# find_job: whether Slurm has `job`, whose number is kept then. 1: it has not; 2: it does not answer.
find_job() {
	if [ ! -s "$job/id" ]; then
		ask_slurm || return 2
		look_up "$job_name" 1 ''
		if [ -z "$word" ]; then
			picture=$picture$(sacct_by_name)$newline
			look_up "$job_name" 1 ''
		fi
		[ -n "$word" ] || return 1
		put "$job/id" "$job_id"
	fi
}

# sacct_by_name: as lines of `picture` what accounting, where there is one, knows of this person's jobs since `job` was
# asked for.
sacct_by_name() {
	read -r agile_time <"$job/asked"
	agile_days=$((($(now) - agile_time) / 86400 + 1))
	in_time sacct --allocations --noheader --parsable2 --delimiter=' ' --user="$(id -u)" --starttime="now-${agile_days}days" \
		--format=JobID,State,ExitCode,WorkDir 2>/dev/null | sed 's/ by [0-9]* / /' | jobs_here
}

# settle_job: what became of `job`, which sbatch was called for and nobody heard of again. A message that was sent may
# still be on its way for as long as Slurm waits for one.
settle_job() {
	progress "asking Slurm for a job that was sent"
	while true; do
		find_job
		case $? in
		0)
			answer_job exists
			return
			;;
		2)
			answer_job unconfirmed
			return
			;;
		esac
		read -r agile_time <"$job/asked"
		[ "$(($(now) - agile_time))" -lt 10 ] || break
		sleep 2
		pictured=''
	done
	send_job
}

# answer_job WHAT [STEP TEXT]: what was done with each run of `job` that was asked for.
answer_job() {
	while read -r agile_id; do
		case " $submitting " in *" $agile_id "*) ;; *) continue ;; esac
		case $1 in
		failed) answer_line failed "$agile_id" "$2" "$3" ;;
		exists) answer_run "$agile_id" exists ;;
		unconfirmed) answer_line run "$agile_id" unconfirmed "-$tab-$tab-${tab}job UNCONFIRMED$tab-" ;;
		*) answer_line run "$agile_id" submitted "queued$tab$(now)$tab-${tab}job PENDING$tab-" ;;
		esac
	done <"$job/runs"
}

# stop_jobs ID... NONCE: cancels the tasks of those runs that have one, and waits for their end: Slurm sends TERM, and KILL
# after its own grace.
stop_jobs() {
	cancelled='' tasks='' sent=''
	while [ $# -gt 1 ]; do
		run=$base/runs/$1
		if read_job "$run"; then
			run_facts "$1"
			case $agile_exit,$seen in -,job* | -,-)
				mkdir -p "$run/stop"
				cancelled="$cancelled $1"
				[ -z "$job_id" ] || tasks="$tasks ${job_id}_$job_line" sent="$sent $1"
				;;
			esac
		fi
		shift
	done
	[ -n "$tasks" ] || return 0
	# shellcheck disable=SC2086 # tasks, to be counted
	progress "cancelling $(printf '%s\n' $tasks | wc -l | tr -d ' ') tasks in Slurm"
	# shellcheck disable=SC2086 # tasks, to be words
	if ! in_time scancel $tasks >/dev/null 2>&1 && pictured='' && ! ask_slurm; then
		# It has not heard of it: what goes on is not to be called stopped when it has ended.
		for agile_id in $sent; do rmdir "$base/runs/$agile_id/stop"; done
		cancelled=
		return
	fi
	deadline=$(($(steady) + grace + 40))
	pause=1
	until pictured='' && tasks_are_over || [ "$pictured" = no ] || [ "$(steady)" -ge "$deadline" ]; do
		sleep "$pause"
		[ "$pause" -ge 8 ] || pause=$((pause * 2))
	done
}

tasks_are_over() {
	for agile_id in $cancelled; do
		run_facts "$agile_id"
		case $agile_exit,$seen in -,job*) return 1 ;; esac
	done
}
