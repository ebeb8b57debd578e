# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What a deployment would find here. Nothing is made, changed or locked. Uses lib.sh, status.sh, commit.sh, environment.sh
# and what it uses, and data.sh.

# agile_foresee PATH (NAME VALUE)... runs ID... NONCE: the NAMEs are those of agile_deploy, and `lfs-object`, which may be
# repeated. The environment comes last: where it cannot be, the rest has been said.
agile_foresee() {
	enter_base "$1" || answer_line nothing
	shift
	commit='' submodules='' environment='' manager=auto python='' launcher=auto requirements='' image='' data='' objects=''
	while [ "$1" != runs ]; do
		case $1 in
		commit) commit=$2 ;;
		environment) environment=$2 ;;
		manager) manager=$2 ;;
		python) python=$2 ;;
		launcher) launcher=$2 ;;
		image) image=$2 ;;
		submodule) submodules=$submodules$2$newline ;;
		lfs-object) objects=$objects$2$newline ;;
		data) data=$2 ;;
		file) requirements=$requirements$2$newline ;;
		*) fail internal "this script knows no $1" ;;
		esac
		shift 2
	done
	shift
	identify
	while [ $# -gt 1 ]; do
		run_facts "$1"
		answer_line run "$1" look "$facts"
		shift
	done
	check_programs
	foresee_commit repo.git "$commit"
	each_line "$objects" foresee_object
	each_line "$submodules" foresee_submodule
	each_line "$data" foresee_data
	foresee_environment
}

# check_programs: what a deployment cannot do without.
check_programs() {
	command -v git >/dev/null 2>&1 || fail git "there is no git on the server"
	case $launcher in
	screen | tmux)
		command -v "$launcher" >/dev/null 2>&1 || fail launcher "there is no $launcher on the server"
		;;
	slurm) command -v sbatch >/dev/null 2>&1 || fail slurm "there is no sbatch on the server" ;;
	esac
}

# foresee_commit REPOSITORY COMMIT: whether it is there, or else which newer ones are, on which a transfer can build.
foresee_commit() {
	repo=$base/$1 wanted=$2 kept=refs/agile/commits/$2
	if has_commit; then
		answer_line commit "$2" there
		return 0
	fi
	answer_line commit "$2" missing
	for agile_have in $(agile_git for-each-ref --sort=-committerdate --count=200 --format='%(objectname)' refs/agile 2>/dev/null); do
		answer_line have "$2" "$agile_have"
	done
}

foresee_submodule() {
	split_submodule "$1"
	foresee_commit "modules/$module_name.git" "$module_commit"
}

foresee_object() { has_object "$1" || answer_line lacks "$1"; }

# foresee_data LINE: as link_data has them. A sum that has to be counted again is not counted now.
foresee_data() {
	sum=${1%%"$tab"*}
	agile_rest=${1#*"$tab"}
	kind=${agile_rest%%"$tab"*}
	agile_url=${agile_rest#*"$tab"}
	agile_url=${agile_url#*"$tab"}
	name_data "$agile_url" || return 0
	agile_state=missing agile_size='-'
	if [ -s "$base/data/$sum/ok" ] && [ -f "$stored" ]; then
		agile_state=there
		data_is_unpacked || agile_state=packed
	elif [ -s "$agile_file" ]; then
		agile_state=part agile_size=$(wc -c <"$agile_file" | tr -d ' ')
	fi
	answer_line data "$agile_url" "$agile_state" "$agile_size"
}

foresee_environment() {
	name_environment
	if [ -s "$env/ok" ] && is_whole; then
		answer_line environment "$name" ready "$manager"
	else
		answer_line environment "$name" missing "$manager"
	fi
}
