# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What Slurm says of a run's job. It decides about a job that left no exit status; a squeue that fails says nothing. Uses
# lib.sh and status.sh.
#
# queue/slurm/NAME/  a job, named after its first run
#   runs             the ids of its runs, one a line
#   task             what Slurm starts for each of them
#   asked            when sbatch was called: without it nothing was sent, with it there may be a job
#   id               the job's number, from sbatch, from squeue, or from the job itself
#   out-N            what Slurm says to task N, which tells why it ended it
# runs/ID/job        the name of the run's job, its line there, and the job's number once the run has started in it

# read_job RUN: the run's job as `job`, its folder, `job_name`, `job_line` and, once it is known, `job_id`.
read_job() {
	job='' job_name='' job_line='' job_id=''
	{ read -r job_name job_line job_id <"$1/job"; } 2>/dev/null || return 1
	job=$base/queue/slurm/$job_name
	[ -n "$job_id" ] || [ ! -s "$job/id" ] || read -r job_id <"$job/id"
}

# claim_job: says that `run` has started in this job: should there ever be two for it, the other one is none of its.
claim_job() {
	read_job "$run" && put "$run/job" "$job_name" "$job_line" "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"
}

# slurm_variables: takes away what would make Slurm's commands do or show something else.
slurm_variables() {
	# shellcheck disable=SC2046 # one word per variable
	unset $(env | sed -n 's/^\(SQUEUE_[A-Z_]*\)=.*/\1/p') SACCT_FEDERATION SACCT_LOCAL SBATCH_ARRAY_INX SBATCH_ERROR \
		SBATCH_GET_USER_ENV SBATCH_INPUT SBATCH_SIGNAL SBATCH_WAIT STY TMUX WINDOW
}

# in_time COMMAND...: a command that asks Slurm, which may wait long for a controller that is gone.
in_time() {
	slurm_variables
	at_most 60 "$@"
}

# ask_slurm: all jobs of this folder that Slurm remembers as `picture`, by one squeue for all runs: lines NAME#LINE@ID STATE
# REASON. Fails, with `slurm_error`, when Slurm does not answer.
ask_slurm() {
	case ${pictured-} in
	yes) return 0 ;;
	no) return 1 ;;
	esac
	pictured=no picture=$newline slurm_error=''
	if ! agile_said=$(in_time squeue --noheader --array --states=all --user="$(id -u)" --format='%F_%K %T %r %Z' 2>&1); then
		slurm_error="squeue: $(printf '%s\n' "$agile_said" | tail -n 1 | tr '\t\r' '  ' | cut -c 1-300)"
		return 1
	fi
	picture=$newline$(printf '%s\n' "$agile_said" | jobs_here)$newline
	pictured=yes accounted=' '
}

# jobs_here: of lines NUMBER_INDEX STATE REASON FOLDER those about this folder's jobs. A job that was ended before its
# tasks began may have one line for all of them: NUMBER_[2-4,7%3].
jobs_here() {
	AGILE_JOBS=$base/queue/slurm/ awk '
		function line(index_) { print name "#" index_ "@" number, $2, reason }
		{
			at = index($0, " " ENVIRON["AGILE_JOBS"])
			if (!at) next
			name = substr($0, at + 1 + length(ENVIRON["AGILE_JOBS"]))
			reason = substr($0, 1, at - 1)
			sub(/^[^ ]* [^ ]* /, "", reason)
			number = $1
			sub(/_.*/, "", number)
			list = substr($1, length(number) + 2)
			gsub(/%.*|\[|\]/, "", list)
			parts = split(list, part, ",")
			for (i = 1; i <= parts; i++) {
				ends = split(part[i], end, "-")
				for (n = end[1] + 0; n && n <= end[ends] + 0; n++) line(n)
			}
		}'
}

# ask_accounting ID: adds what sacct knows of a job that squeue has forgotten, where there is accounting.
ask_accounting() {
	case $accounted in *" $1 "* | *' none '*) return 0 ;; esac
	accounted="$accounted$1 "
	agile_said=$(in_time sacct --allocations --noheader --parsable2 --delimiter=' ' --jobs="$1" \
		--format=JobID,State,ExitCode,WorkDir 2>/dev/null) || accounted="$accounted none "
	picture=$picture$(printf '%s\n' "$agile_said" | sed 's/ by [0-9]* / /' | jobs_here)$newline
}

# look_up NAME LINE ID: what `picture` has of a task as `word`, STATE REASON, empty when it has nothing; without ID,
# whichever job of that name, and its number as `job_id`.
look_up() {
	word=
	case $picture in *"$newline$1#$2@${3:+"$3 "}"*) ;; *) return 0 ;; esac
	word=${picture#*"$newline$1#$2@${3:+"$3 "}"}
	word=${word%%"$newline"*}
	[ -n "$3" ] || job_id=${word%% *} word=${word#* }
}

# job_facts RUN: the task of a run without exit status as `seen`: `job STATE REASON`, or `over STATE REASON` for one that is
# over. The states are Slurm's own, and UNSEEN (it did not answer), UNCONFIRMED (it may have taken the job), FORGOTTEN, and
# NEVER_BEGUN for one that it has forgotten before it began.
job_facts() {
	read_job "$1"
	if ! ask_slurm; then
		seen='job UNSEEN'
		return
	fi
	look_up "$job_name" "$job_line" "$job_id"
	if [ -z "$word" ] && [ -z "$job_id" ]; then
		# A task that begins after it was stopped ends at once.
		if [ -d "$1/stop" ]; then
			seen=refused
		elif [ -e "$job/asked" ]; then
			seen='job UNCONFIRMED'
		fi
		return
	fi
	[ -n "$word" ] || missing_word "$1"
	[ -n "$word" ] || [ -d "$1/started" ] || word=NEVER_BEGUN
	case ${word:=FORGOTTEN} in
	PENDING* | RUNNING* | COMPLETING* | CONFIGURING* | SUSPENDED* | STOPPED* | SIGNALING* | STAGE_OUT* | RESIZING* | \
		REQUEUE* | SPECIAL_EXIT* | RESV_DEL_HOLD*)
		seen="job $word"
		return
		;;
	esac
	seen="over $word"
	job_end "$1"
}

# missing_word RUN: `word` of a task that squeue does not have.
missing_word() {
	case $picture in
	*"@$job_id "*)
		# A task that is cancelled before it begins leaves no trace in its array.
		[ -d "$1/started" ] || word=CANCELLED
		;;
	*)
		if is_young; then
			word=PENDING
			[ ! -d "$1/started" ] || word=RUNNING
		fi
		;;
	esac
	[ -z "$word" ] || return 0
	ask_accounting "$job_id"
	look_up "$job_name" "$job_line" "$job_id"
}

# is_young: whether `job` was sent a moment ago, and so perhaps after squeue was asked.
is_young() {
	[ -s "$job/asked" ] && read -r agile_time <"$job/asked" && [ $(($(now) - agile_time)) -lt 60 ]
}

# job_end RUN: the task is over by what Slurm says. The runner may have written `exit` since, or on another machine whose
# files come here a moment later.
job_end() {
	for agile_try in 1 2; do
		if [ -s "$1/exit" ]; then
			read -r agile_exit <"$1/exit"
			[ ! -s "$1/state" ] || read -r agile_state agile_since <"$1/state"
			return
		fi
		# Reading a folder makes a shared file system look again.
		ls "$1" >/dev/null
		[ -d "$1/started" ] || break
		sleep 1
	done
	if [ -d "$1/stop" ]; then
		seen=killed
		return
	fi
	why_ended
	if [ -n "$why" ]; then
		seen="over $why"
	elif [ ! -d "$1/started" ] && [ -s "$job/out-$job_line" ]; then
		seen="over ${word%% *} $(tail -n 1 "$job/out-$job_line" | tr '\t\r' '  ' | cut -c 1-200)"
	fi
}

# why_ended: why Slurm ended the task of `job` as `why`, by what it told the task before its signals; empty when it did not.
why_ended() {
	why=$(grep -a -e '\*\*\* JOB .* CANCELLED AT ' -e 'oom.kill' -e ' memory limit' "$job/out-$job_line" 2>/dev/null)
	case $why in
	'') ;;
	*'TIME LIMIT'*) why=TIMEOUT ;;
	*PREEMPTION*) why=PREEMPTED ;;
	*'NODE FAIL'*) why=NODE_FAIL ;;
	*REQUEUE*) why=REQUEUED ;;
	*oom?kill* | *' memory limit'*) why=OUT_OF_MEMORY ;;
	*) why=CANCELLED ;;
	esac
}

# signal_facts RUN: whether it was Slurm that ended the run by a signal, as `seen`, and nobody here had asked for it.
signal_facts() {
	read_job "$1" && [ ! -d "$1/stop" ] || return 0
	why_ended
	[ -z "$why" ] || seen="over $why"
}

# ended_by_slurm: whether Slurm ended the program of `run`, which ended by a signal; `end` is the state that makes.
ended_by_slurm() {
	read_job "$run" || return 1
	why_ended
	case $why in
	'' | OUT_OF_MEMORY) return 1 ;;
	TIMEOUT) end=timed-out ;;
	CANCELLED) end=stopped ;;
	*) end=failed ;;
	esac
}
