# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Everything that a deployment does on a server, each step repeatable: fetch the commit, build the environment, launch
# the runs. Uses lib.sh.

# agile_deploy PATH URL COMMIT BRANCH ENVIRONMENT MANAGER PYTHON LAUNCHER SETTINGS RUNNER FILES FILE... RUNS (ID JSON
# COMMAND VARIABLES SETUP LIMIT DATA)...: SETTINGS are those of the queue, empty where runs need no slot; FILES is the
# number of requirement files, the first of which is installed; RUNS the number of runs.
agile_deploy() {
	enter_base "$1" || mkdir -p "$base" || fail folder "cannot make the folder $base"
	url=$2 commit=$3 branch=$4 environment=$5 manager=$6 python=$7 launcher=$8 settings=$9
	shift 9
	runner=$1
	shift
	cd "$base" && mkdir -p runs envs data queue locks || fail folder "cannot write in $base"
	has_room || fail disk "cannot write in $base: no space, or no permission"
	command -v git >/dev/null 2>&1 || fail git "there is no git on the server"
	case $launcher in screen | tmux)
		command -v "$launcher" >/dev/null 2>&1 || fail launcher "there is no $launcher on the server" ;;
	esac
	identify
	files=$1
	shift
	requirements=
	while [ "$files" -gt 0 ]; do
		requirements=$requirements$1$newline
		files=$((files - 1))
		shift
	done
	configure_queue
	runs=$1
	shift
	fetched=
	launched=
	while [ "$runs" -gt 0 ]; do
		deploy_run "$@"
		runs=$((runs - 1))
		shift 7
	done
	dispatch
	deadline=$(($(now) + 10))
	for id in $launched; do
		answer_launch "$id"
	done
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
	if [ -d "$run/started" ]; then
		answer_run "$id" exists
		return
	fi
	if [ -z "$fetched" ]; then
		fetch_commit
		build_environment
		fetched=1
	fi
	mkdir "$run" 2>/dev/null || [ -d "$run" ] || fail disk "cannot make the folder $run"
	lock "$run/lock"
	if [ -d "$run/started" ]; then
		answer_run "$id" exists
	elif prepare_run "$@"; then
		if [ -n "$settings" ]; then
			if enqueue "$id"; then
				launched="$launched $id"
			else
				answer_line failed "$id" disk "cannot write in $base/queue"
			fi
		elif launch; then
			launched="$launched $id"
		else
			answer_line failed "$id" launch "cannot start $launcher on the server"
			answer_tail "$(tail -n 15 "$run/launch.log" 2>/dev/null)"
		fi
	fi
	unlock "$run/lock"
}

# answer_launch ID: whether the run that was launched, or put into the queue, has started.
answer_launch() {
	run=$base/runs/$1
	if in_queue "$1"; then
		answer_run "$1" queued
	elif await_start "$run" "$deadline"; then
		answer_run "$1" started
	else
		blame launch
		answer_line failed "$1" "$step" "the session did not start within 10 seconds"
		answer_tail "$(tail -n 15 "$run/launch.log" 2>/dev/null)"
	fi
}

# answer_run ID WHAT: WHAT happened to the run, and what its folder says now.
answer_run() {
	run_facts "$1"
	answer_line run "$1" "$2" "$facts"
}

prepare_run() {
	progress "preparing $id"
	if [ "$(cat "$run/commit" 2>/dev/null)" != "$commit" ]; then
		# Left half-made by a script that was killed: nothing has started here.
		rm -rf "$run/code"
		# Twice --force: one that was killed has left its folder registered and locked.
		if ! said=$(agile_git worktree add --force --force --detach "$run/code" "$commit" 2>&1); then
			blame checkout
			answer_line failed "$id" "$step" "cannot check out $commit"
			answer_tail "$said"
			rm -rf "$run/code"
			return 1
		fi
		checked=$(git -C "$run/code" rev-parse HEAD 2>/dev/null)
		if [ "$checked" != "$commit" ]; then
			answer_line failed "$id" checkout "the checkout is at ${checked:-nothing} and not at $commit"
			return 1
		fi
	fi
	{
		printf '%s\n' "$2" | publish "$run/run.json" &&
			printf '%s\n' "$3" | publish "$run/command" &&
			printf '%s\n' "$5" | publish "$run/setup" &&
			printf '%s\n' "$6" | publish "$run/limit" &&
			run_variables "$4" | publish "$run/environment" &&
			printf '%s\n' "$runner" | publish "$run/runner" &&
			true >>"$run/log" &&
			printf '%s\n' "$commit" | publish "$run/commit" &&
			has_room
	} || {
		answer_line failed "$id" disk "cannot write in $run: no space"
		return 1
	}
	[ -z "$7" ] || link_data "$7"
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
	printf 'VIRTUAL_ENV=%s\nexport VIRTUAL_ENV\n' "$(word "$env")"
	# shellcheck disable=SC2016 # expanded when it is sourced
	printf 'PATH="$VIRTUAL_ENV/bin:$PATH"\nexport PATH\n'
	printf 'export PYTHONUNBUFFERED=1 AGILE_RUN=%s AGILE_RUN_DIR=%s\n' "$id" "$(word "$run")"
	printf '%s\n' "$1"
}

# word TEXT: TEXT as one word of the shell.
word() {
	printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# --- the commit -----------------------------------------------------------------------------------------------------

# git on the bare repository, whatever the server's own configuration or the repository's content would make it run.
agile_git() {
	git --git-dir="$base/repo.git" -c core.hooksPath=/dev/null -c gc.auto=0 -c protocol.ext.allow=never \
		-c fetch.fsckObjects=true -c fetch.fsck.zeroPaddedFilemode=ignore -c fetch.fsck.badTimezone=ignore \
		-c fetch.fsck.missingSpaceBeforeDate=ignore -c advice.detachedHead=false "$@" </dev/null
}

# fetch_commit: the commit is in the repository, under a ref of its own that keeps it there.
fetch_commit() {
	kept=refs/agile/commits/$commit
	if ! has_commit; then
		lock "$base/locks/repo"
		said=
		has_commit || make_repository && fetch_missing
		has_commit || blame fetch
		unlock "$base/locks/repo"
		if ! has_commit; then
			answer_tail "$said"
			[ -d repo.git/objects ] || fail "$step" "cannot make $base/repo.git"
			fail "$step" "cannot fetch $commit${branch:+ of $branch}"
		fi
	fi
	answer_line commit "$commit"
}

has_commit() { [ "$(agile_git rev-parse -q --verify "$kept^{commit}" 2>/dev/null)" = "$commit" ]; }

make_repository() {
	[ ! -d repo.git/objects ] || return 0
	rm -rf repo.git.new
	said=$(git init -q --bare --template= repo.git.new 2>&1 && mv repo.git.new repo.git 2>&1) || {
		rm -rf repo.git.new
		return 1
	}
}

# fetch_missing: under the lock, so what a fetch that was killed or had no room has left is nobody's.
fetch_missing() {
	progress "fetching $(printf %.7s "$commit")"
	rm -f "repo.git/$kept.lock" repo.git/objects/pack/tmp_*
	# The commit itself, which also finds one that its branch has left behind; a git host that answers for branches
	# only is asked for those.
	said=$(git_fetch "+$commit:$kept" 2>&1) || {
		said=$said$newline$(git_fetch "+refs/heads/*:refs/agile/heads/*" 2>&1) &&
			agile_git cat-file -e "$commit^{commit}" 2>/dev/null &&
			agile_git update-ref "$kept" "$commit"
	}
	rm -f repo.git/objects/pack/tmp_*
}

# git_fetch REFSPEC: without a question, which nobody would answer. In a subshell: an experiment is to inherit none of it.
git_fetch() (
	GIT_TERMINAL_PROMPT=0
	export GIT_TERMINAL_PROMPT
	if [ -z "${GIT_SSH-}${GIT_SSH_COMMAND-}" ] && ! git config core.sshCommand >/dev/null 2>&1; then
		GIT_SSH_COMMAND='ssh -o BatchMode=yes'
		export GIT_SSH_COMMAND
	fi
	agile_git fetch -q --no-tags --no-write-fetch-head -- "$url" "$1"
)

# --- the environment ------------------------------------------------------------------------------------------------

# find_python: `interpreter`, the one asked for, and `version`, what it says of itself.
find_python() {
	for interpreter in ${python:+"python$python"} python3 python; do
		version=$("$interpreter" -c 'import sys; print("%d.%d.%d %s" % (sys.version_info[:3] + (sys.platform,)))' 2>/dev/null) || continue
		case $version in
		"$python" | "$python."* | "$python "*) return 0 ;;
		[3-9]*) [ -n "$python" ] || return 0 ;;
		esac
	done
	if command -v python3 >/dev/null 2>&1; then
		fail python "there is no Python ${python:-3} on the server (python3 is $(python3 -V 2>&1))"
	fi
	fail python "there is no python3 on the server"
}

# build_environment: `env`, a complete environment for these requirements, this Python and this kind of machine.
build_environment() {
	find_python
	if [ "$manager" = auto ]; then
		if command -v uv >/dev/null 2>&1; then manager=uv; else manager=venv; fi
	elif [ "$manager" = uv ] && ! command -v uv >/dev/null 2>&1; then
		fail uv "there is no uv on the server"
	fi
	name=$(printf '%s\n%s\n%s\n%s\n' "$environment" "$manager" "$version" "$(uname -sm)" | git hash-object --stdin | cut -c 1-16)
	# An empty name would be the folder of all environments.
	[ "${#name}" -eq 16 ] || fail environment "git cannot hash on the server"
	env=$base/envs/$name
	if [ -s "$env/ok" ] && [ -x "$env/bin/python" ]; then
		answer_line environment "$name" ready
		return
	fi
	lock "$base/locks/env-$name"
	if [ ! -s "$env/ok" ] || [ ! -x "$env/bin/python" ]; then
		progress "building the environment (Python ${version%% *})"
		rm -rf "$env"
		mkdir "$env" && build_venv >"$env/build.log" 2>&1 &&
			printf '%s %s\n' "$version" "$(now)" | publish "$env/ok" || {
			answer_line hint "$(build_hint)"
			answer_tail "$(tail -n 15 "$env/build.log" 2>/dev/null)"
			has_room || rm -rf "$env"
			unlock "$base/locks/env-$name"
			fail environment "cannot build the Python environment${first:+ from $first}"
		}
		answer_line environment "$name" built
	else
		answer_line environment "$name" ready
	fi
	unlock "$base/locks/env-$name"
}

# build_venv: the environment at its final path, since a virtual environment cannot be moved.
build_venv() {
	first=${requirements%%"$newline"*}
	if [ -z "$first" ]; then
		"$interpreter" -m venv --without-pip "$env"
		return
	fi
	if [ "$manager" = uv ]; then
		uv venv -q --allow-existing --python "$interpreter" "$env" || return 1
	else
		"$interpreter" -m venv "$env" || return 1
	fi
	mkdir "$env/declared" || return 1
	printf '%s' "$requirements" | while IFS= read -r file; do
		case $file in */*) mkdir -p "$env/declared/${file%/*}" ;; esac
		agile_git show "$commit:$file" >"$env/declared/$file" || exit 1
	done || return 1
	(
		cd "$env/declared/$(dirname "$first")" || exit 1
		if [ "$manager" = uv ]; then
			uv pip install --no-progress --python "$env/bin/python" -r "$(basename "$first")" </dev/null
		else
			"$env/bin/python" -m pip --no-input --disable-pip-version-check install -r "$(basename "$first")" </dev/null
		fi
	)
}

build_hint() {
	if grep -q 'ensurepip' "$env/build.log" 2>/dev/null; then
		echo "install the venv module on the server (Debian, Ubuntu: sudo apt install python3-venv)"
	elif ! has_room || grep -qiE 'no space left|disk quota' "$env/build.log" 2>/dev/null; then
		echo "free some space on the server's disk"
	elif [ -n "${first-}" ] && [ "$manager" = uv ]; then
		echo "mend $first and push again; on the server, try: uv pip install --python $env/bin/python -r $env/declared/$first"
	elif [ -n "${first-}" ]; then
		echo "mend $first and push again; on the server, try: $env/bin/python -m pip install -r $env/declared/$first"
	else
		echo "on the server, try: $interpreter -m venv /some/folder"
	fi
}
