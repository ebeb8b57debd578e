# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What lies on a server that nobody needs, and its removal. Uses lib.sh, status.sh, slurm.sh, commit.sh and
# mark.sh.

# agile_clean PATH list DAYS, or agile_clean PATH remove THING...: a THING is runs/ID, envs/NAME, data/SHA256 or left/NAME.
# With a folder of runs there is a line `runs`. The list has a line `item THING KIB old|young over|never|going FACTS...` for
# each, and `uses ID THING...` for each run.
agile_clean() {
	enter_base "$1" || {
		answer_line nothing
		return
	}
	agile_mode=$2
	shift 2
	cd "$base" || fail folder "cannot enter $base"
	identify
	[ -d runs ] || return 0
	answer_line runs
	case $agile_mode in
	list)
		days=$1
		list_all
		;;
	remove) remove_all "$@" ;;
	esac
}

# ---- what is there

list_all() {
	progress "measuring"
	agile_sizes=$(du -sk runs/* envs/* data/* locks/trash/* 2>/dev/null)
	for agile_path in runs/*; do
		[ -d "$agile_path" ] || continue
		agile_id=${agile_path#runs/}
		run_facts "$agile_id"
		if ! has_ended "$agile_id"; then
			agile_over=going
		elif [ -e "$agile_path/process" ]; then
			agile_over=over
		else
			agile_over=never
		fi
		list_one "$agile_path" "$agile_path" "$agile_over" "$facts"
		answer_line uses "$agile_id" "$(uses_of "$agile_path" | sort -u | tr '\n' ' ')"
	done
	for agile_path in envs/* data/*; do
		case $agile_path in data/part-* | data/seen | *'*') continue ;; esac
		list_one "$agile_path" "$agile_path" over
	done
	for agile_path in data/part-* locks/trash/*; do
		[ -e "$agile_path" ] || continue
		# An interrupted download can be continued.
		case $agile_path in data/*) [ -n "$(find "$agile_path" -prune -mtime +0)" ] || continue ;; esac
		list_one "$agile_path" "left/${agile_path##*/}" over
	done
}

# list_one PATH THING over|never|going FACTS
list_one() {
	agile_size=$(printf '%s\n' "$agile_sizes" | awk -F "$tab" -v path="$1" '$2 == path { print $1; exit }')
	agile_file=$1
	[ ! -e "$1/state" ] || agile_file=$1/state
	agile_age=old
	[ "$days" -eq 0 ] || [ -n "$(find "$agile_file" -prune -mtime "+$((days - 1))" 2>/dev/null)" ] || agile_age=young
	answer_line item "$2" "${agile_size:-0}" "$agile_age" "$3" "${4-}"
}

# has_ended ID: after run_facts: whether the run has ended for sure, or has never begun and is not to begin.
has_ended() {
	case $agile_exit,$seen in
	-,gone | -,killed | -,rebooted | -,refused | -,unbegun | -,over* | [0-9]*) ;;
	# Slurm has it, or does not say.
	-,job*) return 1 ;;
	*) [ ! -d "runs/$1/started" ] || return 1 ;;
	esac
	for agile_file in queue/??????????-"$1"; do
		[ ! -e "$agile_file" ] || return 1
	done
}

# uses_of RUNDIR: `envs/NAME` and `data/SHA256` lines for what the run stands on.
uses_of() {
	{
		cat "$1/environment" "$1/command" 2>/dev/null
		[ ! -s "$1/env" ] || sed 's|^|envs/|' "$1/env"
		[ ! -d "$1/code" ] || find "$1/code" -type l -exec ls -ld {} + 2>/dev/null
	} | grep -oE '(envs/[0-9a-f]{16}|data/[0-9a-f]{64})'
}

is_used() { printf '%s\n' "$agile_uses" | grep -qx "$1"; }

# ---- its removal

remove_all() {
	agile_tries=0
	while :; do
		lock "$base/locks/clean"
		! is_deploying || {
			unlock "$base/locks/clean"
			agile_tries=$((agile_tries + 1))
			[ "$agile_tries" -lt 5 ] || fail busy "a deployment goes on there"
			[ "$agile_tries" -gt 1 ] || progress "waiting for a deployment"
			sleep 1
			continue
		}
		break
	done
	mkdir -p locks/trash || fail disk "cannot write in $base/locks"
	agile_things=
	while [ $# -gt 1 ]; do
		case $1 in runs/*) remove_run "${1#runs/}" ;; esac
		agile_things="$agile_things $1"
		shift
	done
	agile_uses=$(for agile_path in runs/*; do uses_of "$agile_path"; done)
	for agile_thing in $agile_things; do
		case $agile_thing in
		envs/* | data/*)
			if is_used "$agile_thing"; then answer_line kept "$agile_thing" "a run uses it"; else discard "$agile_thing"; fi
			;;
		left/*)
			[ ! -e "data/${agile_thing#left/}" ] || discard "data/${agile_thing#left/}"
			answer_line removed "$agile_thing"
			;;
		esac
	done
	forget_commits
	forget_jobs
	unlock "$base/locks/clean"
	progress "removing"
	rm -rf locks/trash 2>/dev/null || {
		# What an experiment has protected from itself.
		chmod -R u+rwx locks/trash 2>/dev/null
		rm -rf locks/trash
	}
	[ ! -d locks/trash ] || answer_line kept "locks/trash" "some of it cannot be removed"
}

# remove_run ID: unless it goes on, or waits.
remove_run() {
	if [ ! -d "runs/$1" ]; then
		answer_line removed "runs/$1"
		return
	fi
	run_facts "$1"
	if has_ended "$1"; then
		discard "runs/$1"
	else
		answer_line kept "runs/$1" "it has not ended"
	fi
}

# discard PATH: out of the way at once; the time that it takes to remove it keeps nobody waiting.
discard() {
	[ ! -s "$1/image" ] || discard_image "$1"
	agile_trash=locks/trash/$(printf '%s' "$1" | tr / -).$$
	if [ ! -e "$1" ] || mv "$1" "$agile_trash" 2>/dev/null; then
		answer_line removed "$1"
	else
		answer_line kept "$1" "it cannot be moved away"
	fi
}

# discard_image ENVIRONMENT: the image that was built for it; one that agile.toml names is not ours.
discard_image() {
	for agile_engine in docker podman; do
		! command -v "$agile_engine" >/dev/null 2>&1 || "$agile_engine" rmi "git-agile:${1#envs/}" >/dev/null 2>&1
	done
}

# forget_commits: those that no run stands on and that are older than a day; git itself removes what nothing leads to, later.
forget_commits() {
	for repo in "$base"/modules/*.git "$base/repo.git"; do
		[ ! -d "$repo/worktrees" ] || agile_git worktree prune >/dev/null 2>&1
	done
	[ -d repo.git/objects ] && lock "$base/locks/repo" try || return 0
	agile_kept=$(cat runs/*/commit 2>/dev/null)
	agile_git for-each-ref --format='%(refname)' refs/agile/commits | while IFS= read -r agile_ref; do
		case $agile_kept in *"${agile_ref##*/}"*) continue ;; esac
		[ ! -e "repo.git/$agile_ref" ] || [ -n "$(find "repo.git/$agile_ref" -mtime +0)" ] || continue
		agile_git update-ref -d "$agile_ref"
	done
	agile_git gc -q >/dev/null 2>&1
	unlock "$base/locks/repo"
}

# forget_jobs: Slurm's jobs none of whose runs is there any more.
forget_jobs() {
	for agile_job in queue/slurm/*; do
		[ -s "$agile_job/runs" ] || continue
		agile_runs=
		while read -r agile_id; do
			[ ! -d "runs/$agile_id" ] || agile_runs=1
		done <"$agile_job/runs"
		[ -n "$agile_runs" ] || rm -rf "$agile_job"
	done
}
