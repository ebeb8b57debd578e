# shellcheck shell=bash
# Completion of git-agile for bash: of `git agile` through git's own completion, and of `git-agile`.
#
# Installed as share/bash-completion/completions/git-agile it is loaded when it is needed; sourced by hand it works too.
# What can come next is asked of the program, which knows; see src/cli/complete.rs for what it answers.

# Offers what ASK (a command) answers for the words ARGS, the last of which is being typed.
_git_agile_offer() {
	local cur=${args[${#args[@]} - 1]} kind value list=""
	{
		read -r kind || return 0
		while IFS=$'\t' read -r value _; do
			list+=$value$'\n'
		done
	} < <("$@" complete -- "${args[@]}" 2>/dev/null)
	if [[ -n ${ZSH_VERSION-} ]]; then
		# git's own completion for zsh calls the functions for bash, with other ways to answer.
		__gitcomp_nl "$list" "" "$cur"
		return
	fi
	case $kind in
	files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	folders) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	esac
	if [[ $kind != words ]]; then
		compopt -o filenames +o nospace 2>/dev/null
		return
	fi
	# Nothing means nothing, and the newest run comes first. (Older shells do not know `nosort`.)
	compopt +o bashdefault +o default 2>/dev/null
	compopt -o nosort 2>/dev/null
	# Bash replaces only what follows the last of its word breaks.
	local head=${cur%"${cur##*[=:]}"}
	COMPREPLY=()
	while IFS= read -r value; do
		[[ -n $value && $value == "$cur"* ]] || continue
		printf -v value %q "${value#"$head"}"
		[[ $value == *[=:] ]] || value+=' '
		COMPREPLY+=("$value")
	done <<<"$list"
}

# What git's completion calls for `git agile`, with its variables.
_git_agile() {
	# shellcheck disable=SC2154 # words and cword are git's
	local index=${__git_cmd_idx:-1}
	local -a args=("${words[@]:$((index + 1)):$((cword - index))}")
	((${#args[@]} == cword - index)) || args+=("")
	_git_agile_offer __git agile
}

# For `git-agile`: the words, with what bash has broken at `=` and `:` put together again.
_git_agile_alone() {
	local -a args=()
	local word i last=""
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((${#args[@]})) && [[ $word =~ ^[=:]+$ || ($last =~ ^[=:]+$ && -n $word) ]]; then
			args[${#args[@]} - 1]+=$word
		elif [[ ! $last =~ ^[=:]+$ ]]; then
			args+=("$word")
		fi
		last=$word
	done
	_git_agile_offer git-agile
}

if [[ -z ${ZSH_VERSION-} ]]; then
	complete -o bashdefault -o default -o nospace -F _git_agile_alone git-agile
fi
