# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Everything that a deployment does on a server, each step repeatable: fetch the commit, build the environment, launch
# the runs. Uses lib.sh, commit.sh, environment.sh, queue.sh, linger.sh and mark.sh; lfs.sh, data.sh and development.sh
# where there is a need.

# agile_deploy PATH (NAME VALUE)... runs COUNT (ID JSON COMMAND VARIABLES SETUP LIMIT DATA)...: the NAMEs are those below;
# `file`, `submodule` and `lfs-object` may be repeated; the first file is what is installed: a path and, after a tab, commands of sed that
# take lines out. `settings` are those of the queue, empty where runs need no slot; `sbatch`, options of sbatch, and
# `throttle`, how many tasks at once, are for Slurm. The variable `runner` holds the runner's text.
agile_deploy() {
	enter_base "$1" || mkdir -p "$base" || fail folder "cannot make the folder $base"
	shift
	url='' commit='' branch='' credential='' submodules='' lfs='' lfs_url='' environment='' manager=auto python=''
	launcher=auto settings='' requirements='' dependencies='' image='' pipfile='' imports='' project='' download=''
	unpack='' sbatch='' throttle='' watch='' objects=''
	while [ "$1" != runs ]; do
		case $1 in
		url) url=$2 ;;
		commit) commit=$2 ;;
		branch) branch=$2 ;;
		credential) credential=$2 ;;
		environment) environment=$2 ;;
		manager) manager=$2 ;;
		python) python=$2 ;;
		launcher) launcher=$2 ;;
		settings) settings=$2 ;;
		watch) watch=$2$newline ;;
		sbatch) sbatch=$sbatch$2$newline ;;
		throttle) throttle=$2 ;;
		submodule) submodules=$submodules$2$newline ;;
		lfs) lfs=$2 ;;
		lfs-url) lfs_url=$2 ;;
		lfs-object) objects=$objects$2$newline ;;
		dependencies) dependencies=$2 ;;
		image) image=$2 ;;
		pipfile) pipfile=$2 ;;
		import) imports=$imports$2$newline ;;
		project) project=$2 ;;
		download) download=$2 ;;
		unpack) unpack=$2 ;;
		file) requirements=$requirements$2$newline ;;
		*) fail internal "this script knows no $1" ;;
		esac
		shift 2
	done
	runs=$2
	shift 2
	cd "$base" && { [ -d runs ] && [ -d envs ] && [ -d data ] && [ -d queue ] && [ -d locks ] ||
		mkdir -p runs envs data queue locks; } || fail folder "cannot write in $base"
	has_room || fail disk "cannot write in $base: no space, or no permission"
	command -v git >/dev/null 2>&1 || fail git "there is no git on the server"
	case $launcher in screen | tmux)
		command -v "$launcher" >/dev/null 2>&1 || fail launcher "there is no $launcher on the server" ;;
	slurm) command -v sbatch >/dev/null 2>&1 || fail slurm "there is no sbatch on the server" ;;
	esac
	identify
	deploying
	launched=
	configure_queue
	note_host
	fetched=
	prepared=
	while [ "$runs" -gt 0 ]; do
		deploy_run "$@"
		runs=$((runs - 1))
		shift 7
	done
	leave_git_host
	# A run that has waited is started here too.
	forget_agent
	# shellcheck disable=SC2086 # ids, to be words
	[ -z "$prepared" ] || submit_runs $prepared
	dispatch
	agile_launched=$launched
	answer_launched
	answer_unseen
	case $agile_launched,$launcher in
	,* | *,slurm) ;;
	*) ! ends_sessions || answer_line ends-sessions "$person" ;;
	esac
	deployed
}

# has_room: whether a small file can be written.
has_room() {
	{ printf '%65536s' . >locks/probe; } 2>/dev/null
	agile_room=$?
	rm -f locks/probe
	return "$agile_room"
}

# blame STEP: sets `step` to what failed. Tools seldom say that the disk is full.
blame() {
	step=$1
	has_room || step=disk
}

# deploy_run ID JSON COMMAND VARIABLES SETUP LIMIT DATA: the run is launched, or was.
deploy_run() {
	id=$1
	run=$base/runs/$id
	if [ -d "$run/started" ] && ! was_given_up "$run"; then
		answer_run "$id" exists
		return
	fi
	if [ -e "$run/job" ]; then
		deploy_job "$id"
		return
	fi
	if [ -z "$fetched" ]; then
		fetch_commits
		build_environment
		forget_agent
		fetched=1
	fi
	# Makes the run's folder too.
	lock "$run/lock"
	! was_given_up "$run" || { forgive "$run" && leave_queue "$id"; }
	if [ -d "$run/started" ]; then
		answer_run "$id" exists
	elif in_queue "$id"; then
		launched="$launched $id"
	elif [ -e "$run/job" ]; then
		deploy_job "$id"
	elif prepare_run "$@"; then
		if [ "$launcher" = slurm ]; then
			prepared="$prepared $id"
		elif [ -n "$settings" ]; then
			if enqueue "$id"; then
				launched="$launched $id"
			else
				answer_line failed "$id" disk "cannot write in $base/queue"
			fi
		elif ! launch && give_up && was_given_up "$run"; then
			answer_line failed "$id" launch "cannot start $launcher on the server"
			answer_tail "$(tail -n 15 "$run/launch.log" 2>/dev/null)"
		else
			launched="$launched $id"
		fi
	fi
	unlock "$run/lock"
}

# deploy_job ID: the run has been given to Slurm; that is not undone by another launcher.
deploy_job() {
	if [ "$launcher" = slurm ]; then
		prepared="$prepared $1"
	else
		answer_run "$1" exists
	fi
}

# answer_launched: what became of the runs that were launched, also when a later one has failed.
answer_launched() {
	IFS=" $tab$newline"
	set +f
	agile_ids=$launched launched='' deadline=''
	for id in $agile_ids; do
		answer_launch "$id"
	done
}

# answer_launch ID: whether the run that was launched, or put into the queue, has started. One that has not is claimed, so
# that it never does; where that cannot be, nobody knows.
answer_launch() {
	run=$base/runs/$1
	if in_queue "$1"; then
		answer_run "$1" queued
	elif [ -d "$run/stop" ] && [ ! -d "$run/started" ]; then
		answer_run "$1" exists
	# One that was given up in its turn has been waited for.
	elif { [ -s "$run/process" ] || [ ! -s "$run/exit" ]; } && await_start "$run"; then
		answer_run "$1" started
	elif give_up; then
		if ! was_given_up "$run"; then
			agile_word=started
			[ ! -d "$run/stop" ] || agile_word=exists
			answer_run "$1" "$agile_word"
			return
		fi
		blame launch
		answer_line failed "$1" "$step" "the session did not start within 10 seconds"
		answer_tail "$(tail -n 15 "$run/launch.log" 2>/dev/null)"
	else
		answer_run "$1" exists
	fi
}

# answer_run ID WHAT: WHAT happened to the run, and what its folder says now.
answer_run() {
	run_facts "$1"
	answer_line run "$1" "$2" "$facts"
	answer_report "$1"
}

prepare_run() {
	progress "preparing $id"
	checked=
	[ ! -s "$run/commit" ] || read -r checked <"$run/commit"
	if [ "$checked" != "$commit" ]; then
		# Left half-made by a script that was killed: nothing has started here.
		[ ! -e "$run/code" ] || rm -rf "$run/code"
		if ! check_out "$run/code"; then
			blame checkout
			answer_line failed "$id" "$step" "cannot check out $commit"
			answer_tail "$said"
			rm -rf "$run/code"
			return 1
		fi
		read_head "$run/code"
		if [ "$checked" != "$commit" ]; then
			answer_line failed "$id" checkout "the checkout is at ${checked:-nothing} and not at $commit"
			return 1
		fi
	fi
	if ! write_files "$@"; then
		answer_line failed "$id" disk "cannot write in $run: no space"
		return 1
	fi
	[ -z "$7" ] || link_data "$7"
}

# write_files ID JSON COMMAND VARIABLES SETUP LIMIT: what the runner reads, and last the mark that all is there, before which
# there is no session. After it each file is replaced at once: a session that was late to begin may be reading it.
write_files() {
	agile_new=$run
	if [ -e "$run/commit" ]; then
		agile_new=$run/new
		rm -rf "$agile_new"
		mkdir "$agile_new" || return 1
	fi
	if write_new "$@" && { [ "$agile_new" = "$run" ] || { mv -f "$agile_new"/* "$run/" && rmdir "$agile_new"; }; } &&
		true >>"$run/log" && put "$run/commit" "$commit" && has_room; then
		return 0
	fi
	rm -rf "$run/new"
	[ -e "$run/commit" ] || for agile_file in "$run"/*; do
		[ ! -f "$agile_file" ] || rm -f "$agile_file"
	done
	return 1
}

write_new() {
	printf '%s\n' "$2" >"$agile_new/run.json" &&
		printf '%s\n' "$3" >"$agile_new/command" &&
		{ [ -z "$5" ] || printf '%s\n' "$5" >"$agile_new/setup"; } &&
		printf '%s\n' "$6" >"$agile_new/limit" &&
		run_variables "$4" >"$agile_new/environment" &&
		printf '%s%s\n' "$watch" "$runner" >"$agile_new/runner" &&
		printf '%s\n' "$name" >"$agile_new/env" &&
		within=$(run_within) && { [ -z "$within" ] || printf '%s\n' "$within" >"$agile_new/within"; } &&
		{ [ -z "$imports" ] || prepare_project; }
}

# run_variables VARIABLES: the environment as a file to be sourced: the person's own umask and locale, the
# environment's programs first, the run's own folder for what it wants to know of itself.
run_variables() {
	printf 'umask %s\n' "$login_umask"
	if [ -n "$login_lc_all" ]; then
		printf 'LC_ALL=%s\nexport LC_ALL\n' "$(word "$login_lc_all")"
	else
		# shellcheck disable=SC2016 # expanded when it is sourced
		printf 'unset LC_ALL\n: "${LANG:=C.UTF-8}"\nexport LANG\n'
	fi
	run_environment
	printf 'export PYTHONUNBUFFERED=1 AGILE_RUN=%s AGILE_RUN_DIR=%s\n' "$id" "$(word "$run")"
	printf '%s\n' "$1"
	[ -z "$imports" ] || project_variables
}

# word TEXT: TEXT as one word of the shell.
word() {
	case $1 in
	*\'*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
	*) printf "'%s'" "$1" ;;
	esac
}
