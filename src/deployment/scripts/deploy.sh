# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Everything that a deployment does on a server, each step repeatable: fetch the commit, build the environment, launch
# the runs. Uses lib.sh.

# agile_deploy PATH URL COMMIT BRANCH ENVIRONMENT PYTHON LAUNCHER RUNNER FILES FILE... RUNS (ID JSON COMMAND VARIABLES
# SETUP)...: FILES is the number of requirement files, the first of which is installed; RUNS the number of runs.
agile_deploy() {
	enter_base "$1" || mkdir -p "$base" || fail folder "cannot make the folder $base"
	url=$2 commit=$3 branch=$4 environment=$5 python=$6 launcher=$7 runner=$8
	shift 8
	cd "$base" && mkdir -p runs envs data queue locks || fail folder "cannot write in $base"
	has_room || fail disk "cannot write in $base: no space, or no permission"
	command -v git >/dev/null 2>&1 || fail git "there is no git on the server"
	identify
	files=$1
	shift
	requirements=
	while [ "$files" -gt 0 ]; do
		requirements=$requirements$1$newline
		files=$((files - 1))
		shift
	done
	runs=$1
	shift
	fetched=
	launched=
	while [ "$runs" -gt 0 ]; do
		deploy_run "$@"
		runs=$((runs - 1))
		shift 5
	done
	for id in $launched; do
		await_start "$id"
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

# deploy_run ID JSON COMMAND VARIABLES SETUP: the run is launched, or was.
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
	elif prepare_run "$@" && launch; then
		launched="$launched $id"
	fi
	unlock "$run/lock"
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
			run_variables "$4" | publish "$run/environment" &&
			printf '%s\n' "$runner" | publish "$run/runner" &&
			true >>"$run/log" &&
			printf '%s\n' "$commit" | publish "$run/commit" &&
			has_room
	} || {
		answer_line failed "$id" disk "cannot write in $run: no space"
		return 1
	}
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
	git -C "$base/repo.git" -c core.hooksPath=/dev/null -c gc.auto=0 -c protocol.ext.allow=never \
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
	GIT_TERMINAL_PROMPT=0
	export GIT_TERMINAL_PROMPT
	if [ -z "${GIT_SSH-}${GIT_SSH_COMMAND-}" ] && ! git config core.sshCommand >/dev/null 2>&1; then
		GIT_SSH_COMMAND='ssh -o BatchMode=yes'
		export GIT_SSH_COMMAND
	fi
	rm -f "repo.git/$kept.lock" repo.git/objects/pack/tmp_*
	# The commit itself, which also finds one that its branch has left behind; a git host that answers for branches
	# only is asked for those.
	said=$(agile_git fetch -q --no-tags --no-write-fetch-head -- "$url" "+$commit:$kept" 2>&1) || {
		said=$said$newline$(
			agile_git fetch -q --no-tags --no-write-fetch-head -- "$url" "+refs/heads/*:refs/agile/heads/*" 2>&1
		) &&
			agile_git cat-file -e "$commit^{commit}" 2>/dev/null &&
			agile_git update-ref "$kept" "$commit"
	}
	rm -f repo.git/objects/pack/tmp_*
}

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
	name=$(printf '%s\n%s\n%s\n' "$environment" "$version" "$(uname -sm)" | git hash-object --stdin | cut -c 1-16)
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
	"$interpreter" -m venv "$env" || return 1
	mkdir "$env/declared" || return 1
	printf '%s' "$requirements" | while IFS= read -r file; do
		case $file in */*) mkdir -p "$env/declared/${file%/*}" ;; esac
		agile_git show "$commit:$file" >"$env/declared/$file" || exit 1
	done || return 1
	(
		cd "$env/declared/$(dirname "$first")" || exit 1
		"$env/bin/python" -m pip --no-input --disable-pip-version-check install -r "$(basename "$first")" </dev/null
	)
}

build_hint() {
	if grep -q 'ensurepip' "$env/build.log" 2>/dev/null; then
		echo "install the venv module on the server (Debian, Ubuntu: sudo apt install python3-venv)"
	elif ! has_room || grep -qiE 'no space left|disk quota' "$env/build.log" 2>/dev/null; then
		echo "free some space on the server's disk"
	elif [ -n "${first-}" ]; then
		echo "mend $first and push again; on the server, try: $env/bin/python -m pip install -r $env/declared/$first"
	else
		echo "on the server, try: $interpreter -m venv /some/folder"
	fi
}

# --- the launch -----------------------------------------------------------------------------------------------------

# launch: starts the runner in the first of the launchers that works. None of them says whether it did: screen and
# tmux end with 0 for programs that do not exist. The runner's own mark does, which await_start waits for.
launch() {
	progress "launching $id"
	case $launcher in
	auto) launchers='screen tmux nohup' ;;
	*) launchers=$launcher ;;
	esac
	for with in $launchers; do
		case $with in
		screen | tmux)
			command -v "$with" >/dev/null 2>&1 || continue
			"launch_$with" && return 0
			;;
		nohup) launch_nohup && return 0 ;;
		esac
	done
	answer_line failed "$id" launch "cannot start $launcher on the server"
	answer_tail "$(tail -n 15 "$run/launch.log" 2>/dev/null)"
	return 1
}

launch_screen() {
	TERM=${TERM:-screen} screen -c /dev/null -dmS "$id" sh "$run/runner" screen >"$run/launch.log" 2>&1 </dev/null
}

# A server of its own for each run: one that runs already would give the run its old environment.
launch_tmux() {
	tmux -L "agile-$id" -f /dev/null new-session -d -s "$id" sh "$run/runner" tmux >"$run/launch.log" 2>&1 </dev/null
}

launch_nohup() {
	if command -v setsid >/dev/null 2>&1; then
		setsid sh "$run/runner" nohup >"$run/launch.log" 2>&1 </dev/null &
	else
		"$interpreter" -c 'import os, sys; os.fork() and os._exit(0); os.setsid(); os.execvp("sh", sys.argv[1:])' \
			sh "$run/runner" nohup >"$run/launch.log" 2>&1 </dev/null
	fi
}

# await_start ID: at most ten seconds until the runner says that it has started.
await_start() {
	run=$base/runs/$1
	deadline=$(($(now) + 10))
	until [ -s "$run/process" ]; do
		if [ "$(now)" -gt "$deadline" ]; then
			blame launch
			answer_line failed "$1" "$step" "the session did not start within 10 seconds"
			answer_tail "$(tail -n 15 "$run/launch.log" 2>/dev/null)"
			return
		fi
		nap
	done
	answer_run "$1" started
}
