# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What a server has and lacks. Changes nothing there. Uses lib.sh, machine.sh and linger.sh.

# agile_doctor PATH (NAME VALUE)...: `url` is what the server fetches from, empty where it does not; `python` the version
# that is wanted; `program` one to look for, any number. The answer has a line `fact NAME VALUE...` for each thing.
agile_doctor() {
	is_there=there
	enter_base "$1" || is_there=missing
	shift
	url='' python=''
	answer_line clock "$(now)"
	while [ $# -gt 1 ]; do
		case $1 in
		url) url=$2 ;;
		python) python=$2 ;;
		program) program_fact "$2" ;;
		esac
		shift 2
	done
	answer_line fact system "$(uname -srm)"
	folder_facts
	python_fact
	agile_gpus=$(gpu_facts)
	[ -z "$agile_gpus" ] || answer_line fact gpu "$(printf '%s\n' "$agile_gpus" | sed 's/^gpu //' | tr '\n' ';' | sed 's/;$//; s/;/; /g')"
	! ends_sessions || answer_line fact ends-sessions "$person"
	[ -z "$url" ] || remote_fact
}

# program_fact NAME: the first line of what it says of its version, if it is there; `lfs` is git's.
program_fact() {
	case $1 in
	lfs) set -- lfs git lfs version ;;
	tmux) set -- tmux tmux -V ;;
	*)
		command -v "$1" >/dev/null 2>&1 || return 0
		set -- "$1" "$1" --version
		;;
	esac
	agile_fact=$1
	command -v "$2" >/dev/null 2>&1 || return 0
	shift
	agile_said=$(limited 10 "$@" </dev/null 2>&1)
	agile_status=$?
	[ "$agile_fact" != lfs ] || [ "$agile_status" -eq 0 ] || return 0
	answer_line fact program "$agile_fact" "$(printf '%s\n' "$agile_said" | sed -n '/[0-9]/{p;q;}' | tr '\t' ' ' | cut -c 1-80)"
}

# folder_facts: the project's folder or the one in which it would be made, and what room there is, in KiB and files.
folder_facts() {
	place=$base
	until [ -d "$place" ] || [ -z "$place" ]; do place=${place%/*}; done
	place=${place:-/}
	if [ -w "$place" ] && [ -x "$place" ]; then agile_fact=writable; else agile_fact=closed; fi
	answer_line fact folder "$is_there" "$place" "$agile_fact"
	answer_line fact disk "$(df -Pk "$place" 2>/dev/null | awk 'END { print $2, $4 }')"
	answer_line fact inodes "$(df -Pi "$place" 2>/dev/null | awk 'END { print $2, $4 }')"
	command -v quota >/dev/null 2>&1 || return 0
	# quota(1): file system, blocks used, quota, limit; a star marks what is over.
	agile_said=$(limited 10 quota -w </dev/null 2>/dev/null | awk '
		$2 ~ /^[0-9]+[*]?$/ && $4 ~ /^[0-9]+$/ {
			limit = $4 > 0 ? $4 : $3
			if (limit > 0) print $2 + 0, limit
		}' | head -n 4)
	agile_ifs=$IFS
	IFS=$newline
	for agile_fact in $agile_said; do
		IFS=$agile_ifs
		answer_line fact quota "$agile_fact"
	done
	IFS=$agile_ifs
}

# python_fact: the Python that environments are made from, and whether it can make them.
python_fact() {
	for interpreter in ${python:+"python$python"} python3; do
		version=$("$interpreter" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null </dev/null) || continue
		if "$interpreter" -c 'import venv, ensurepip' 2>/dev/null </dev/null; then agile_fact=venv; else agile_fact=bare; fi
		answer_line fact python "$version" "$agile_fact"
		return
	done
}

# remote_fact: whether the git host lets the server read, asking nobody.
remote_fact() {
	command -v git >/dev/null 2>&1 || return 0
	agile_said=$(
		GIT_TERMINAL_PROMPT=0
		export GIT_TERMINAL_PROMPT
		if [ -z "${GIT_SSH-}${GIT_SSH_COMMAND-}" ] && ! git config core.sshCommand >/dev/null 2>&1; then
			GIT_SSH_COMMAND='ssh -o BatchMode=yes -o ConnectTimeout=10'
			export GIT_SSH_COMMAND
		fi
		limited 20 git -c protocol.ext.allow=never ls-remote -q -- "$url" HEAD </dev/null 2>&1
	)
	case $? in
	0) answer_line fact remote ok ;;
	124) answer_line fact remote "no answer within 20 seconds" ;;
	*) answer_line fact remote "$(printf '%s\n' "$agile_said" | sed -n '/[^[:space:]]/p' | sed -n 1p | tr '\t' ' ' | cut -c 1-200)" ;;
	esac
}
