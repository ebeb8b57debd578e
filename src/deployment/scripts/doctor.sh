# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What a server has and lacks. Changes nothing there. Uses lib.sh, machine.sh, linger.sh, environment.sh, conda.sh and pip.sh.

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
	if [ -n "$agile_gpus" ]; then
		answer_line fact gpu "$(printf '%s\n' "$agile_gpus" | sed 's/^gpu //' | tr '\n' ';' | sed 's/;$//; s/;/; /g')"
	elif command -v nvidia-smi >/dev/null 2>&1; then
		answer_line fact gpu-silent "$(first_line "$(limited 10 nvidia-smi </dev/null 2>&1)")"
	fi
	! ends_sessions || answer_line fact ends-sessions "$person"
	[ -z "$url" ] || remote_fact
}

# program_fact NAME: the first line of what it says of its version, if a deployment would find it; `lfs` is git's.
program_fact() {
	case $1 in
	lfs) set -- lfs git lfs version ;;
	tmux) set -- tmux tmux -V ;;
	pyenv)
		# It is its folder that is used.
		[ ! -d "${PYENV_ROOT:-$HOME/.pyenv}/versions" ] || answer_line fact program pyenv "${PYENV_ROOT:-$HOME/.pyenv}"
		return
		;;
	conda | mamba | micromamba)
		find_conda_tool "$1" || return 0
		set -- "$1" "$tool" --version
		;;
	docker | podman)
		find_tool "$1" /usr/local/bin || return 0
		# The program alone runs nothing.
		if ! agile_said=$(limited 10 "$tool" version </dev/null 2>&1 >/dev/null); then
			answer_line fact silent "$1" "$(first_line "$agile_said")"
			return
		fi
		set -- "$1" "$tool" --version
		;;
	uv | virtualenv)
		find_tool "$1" || return 0
		set -- "$1" "$tool" --version
		;;
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

# first_line TEXT: the first that says something.
first_line() { printf '%s\n' "$1" | sed -n '/[^[:space:]]/{p;q;}' | tr '\t\r' '  ' | cut -c 1-200; }

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
	# quota(1): file system, and twice what is used, quota, limit, and a grace where a star marks what is over: of blocks
	# and of files.
	agile_said=$(limited 10 quota -w </dev/null 2>/dev/null | awk '
		function told(what, at) {
			if ($at !~ /^[0-9]+[*]?$/ || $(at + 2) !~ /^[0-9]+$/) return
			limit = $(at + 2) > 0 ? $(at + 2) : $(at + 1)
			if (limit > 0) print what, $at + 0, limit
		}
		{ told("quota", 2); told("file-quota", 5 + ($2 ~ /[*]/)) }' | head -n 8)
	agile_ifs=$IFS
	IFS=$newline
	for agile_fact in $agile_said; do
		IFS=$agile_ifs
		answer_line fact "${agile_fact%% *}" "${agile_fact#* }"
	done
	IFS=$agile_ifs
}

# python_fact: the Python that environments are made from, and whether it can make them.
python_fact() {
	machine=$(uname -sm)
	agile_found=$(
		# shellcheck disable=SC2317 # find_python calls it
		fail() { exit 1; }
		manager=auto
		find_python >/dev/null 2>&1 </dev/null && printf '%s' "$interpreter"
	)
	for interpreter in ${agile_found:+"$agile_found"} python3; do
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
	*) answer_line fact remote "$(first_line "$agile_said")" ;;
	esac
}
