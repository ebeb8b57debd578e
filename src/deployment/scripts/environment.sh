# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# The environment of the runs, built once and shared. Uses lib.sh, commit.sh, and one of pip.sh, conda.sh and container.sh,
# which define how: choose_builder, build, is_whole, build_hint, run_environment and run_within.
#
# envs/NAME/declared   the files of the commit that it is made from
# envs/NAME/build.log  what was said while it was built, the last command being in `tried`
# envs/NAME/ok         written last: it is complete, and never changed again
# envs/NAME/packages   what is installed in it, noted by the first run that looked

# build_environment: `env`, a complete environment for these requirements, this manager, this Python and this kind of machine.
build_environment() {
	name_environment
	if [ -s "$env/ok" ] && is_whole; then
		answer_line environment "$name" ready
		return
	fi
	lock "$base/locks/env-$name"
	if [ -s "$env/ok" ] && is_whole; then
		answer_line environment "$name" ready
	else
		[ ! -e "$env/ok" ] || spare_users
		progress "building the environment ($manager)"
		rm -rf "$env"
		mkdir "$env" && declare_files && (build) >"$env/build.log" 2>&1 </dev/null &&
			{ sync -f "$env" 2>/dev/null || true; } && put "$env/ok" "$version" "$(now)" || give_up_environment
		answer_line environment "$name" built
	fi
	unlock "$base/locks/env-$name"
}

# name_environment: who would build it, and `name` and `env`, where it is.
name_environment() {
	first=${requirements%%"$newline"*}
	first=${first%%"$tab"*}
	building=
	machine=$(uname -sm)
	choose_builder
	name=$(printf '%s\n%s\n%s\n%s\n' "$environment" "$manager" "$version" "$machine" | git hash-object --stdin)
	name=${name%"${name#????????????????}"}
	# An empty name would be the folder of all environments.
	[ "${#name}" -eq 16 ] || fail environment "git cannot hash on the server"
	env=$base/envs/$name
}

give_up_environment() {
	agile_step=environment
	if ! has_room || grep -qiE 'no space left|disk quota' "$env/build.log" 2>/dev/null; then
		agile_step=disk
	else
		answer_line hint "$(build_hint)"
	fi
	answer_tail "$(tail -n 15 "$env/build.log" 2>/dev/null)"
	has_room || rm -rf "$env"
	unlock "$base/locks/env-$name"
	fail "$agile_step" "cannot ${building:-build the Python environment${first:+ from $first}}"
}

# try COMMAND ARGUMENT...: runs it, and remembers it for the person who has to find out why it failed.
try() {
	tried=
	for agile_word; do
		case $agile_word in
		*[!A-Za-z0-9_./:=,+@%-]*) agile_word=$(word "$agile_word") ;;
		esac
		tried="$tried $agile_word"
	done
	printf '%s\n' "${tried# }" >"$env/tried"
	"$@"
}

# mend_hint: what the person can do about the files or the command that failed.
mend_hint() {
	agile_tried=$(cat "$env/tried" 2>/dev/null)
	echo "mend ${first:-pyproject.toml} and push again; on the server, try: ${agile_tried:-cat $env/build.log}"
}

# declare_files: what the commit declares, as files, without the lines that would install the commit itself.
declare_files() {
	mkdir "$env/declared" || return 1
	[ -z "$dependencies" ] || printf '%s' "$dependencies" >"$env/declared/project-requirements.txt" || return 1
	printf '%s' "$requirements" | while IFS= read -r agile_entry; do
		agile_file=${agile_entry%%"$tab"*}
		agile_without=${agile_entry#*"$tab"}
		case $agile_file in */*) mkdir -p "$env/declared/${agile_file%/*}" ;; esac
		agile_git show "$commit:$agile_file" >"$env/declared/$agile_file" || exit 1
		[ -n "$agile_without" ] || continue
		sed "$agile_without" "$env/declared/$agile_file" | publish "$env/declared/$agile_file" || exit 1
	done
}

# spare_users: an environment that was complete is not removed beneath a run that lives in it.
spare_users() {
	for agile_used in "$base"/runs/*/env; do
		[ -e "$agile_used" ] && [ "$(cat "$agile_used")" = "$name" ] || continue
		agile_user=${agile_used%/env}
		run_facts "${agile_user##*/}"
		case $agile_exit,$seen in
		-,alive | -,claimed | -,elsewhere | -,job*)
			unlock "$base/locks/env-$name"
			answer_line hint "wait for that run, or: git agile stop ${agile_user##*/}"
			fail environment "the environment envs/$name is damaged, and run ${agile_user##*/} still uses it"
			;;
		esac
	done
}

# find_tool NAME FOLDER...: `tool`, where the program is. A login without a terminal has a short PATH, so it is looked for
# where its installer puts it too.
find_tool() {
	agile_name=$1
	shift
	tool=$(command -v "$agile_name" 2>/dev/null)
	[ ! -x "$tool" ] || return 0
	for tool in "$HOME/.local/bin" "$HOME/.cargo/bin" "$HOME/bin" "$@"; do
		tool=$tool/$agile_name
		[ ! -x "$tool" ] || return 0
	done
	return 1
}
