# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# The commit on the server: the project's bare repository, and what is fetched into it. Uses lib.sh, and lfs.sh where there
# is a need.

# git on the bare repository `repo`, whatever the server's own configuration or the repository's content would make it run.
agile_git() {
	git --git-dir="$repo" -c core.hooksPath=/dev/null -c gc.auto=0 -c maintenance.auto=false -c protocol.ext.allow=never \
		-c fetch.fsckObjects=true -c fetch.fsck.zeroPaddedFilemode=ignore -c fetch.fsck.badTimezone=ignore \
		-c fetch.fsck.missingSpaceBeforeDate=ignore -c advice.detachedHead=false "$@" </dev/null
}

# fetch_commits: the commit, and those of its submodules, are on the server.
fetch_commits() {
	fetch_commit repo.git "$url" "$commit" "$commit${branch:+ of $branch}"
	answer_line commit "$commit"
	[ -z "$lfs" ] || fetch_lfs
	each_line "$submodules" fetch_submodule
	repo=$base/repo.git
}

# forget_agent: an agent that was lent for the fetch is not lent to the experiment. sshd names its socket.
forget_agent() {
	case ${SSH_AUTH_SOCK-} in
	*/ssh-*/agent.* | */.ssh/agent/*sshd*) unset SSH_AUTH_SOCK ;;
	esac
}

fetch_submodule() {
	split_submodule "$1"
	mkdir -p modules || fail disk "cannot write in $base"
	fetch_commit "modules/$module_name.git" "$module_url" "$module_commit" "$module_commit of the submodule $module_path" submodule
	! uses_lfs "$module_commit" || [ -s "$repo/lfs/agile-$module_commit" ] || fetch_module_lfs
}

# uses_lfs COMMIT: whether Git LFS keeps any of its files.
uses_lfs() { agile_git grep -q filter=lfs "$1" -- ':(glob)**/.gitattributes' 2>/dev/null; }

# fetch_module_lfs: what Git LFS keeps of the submodule comes into the store of the submodule's repository.
fetch_module_lfs() {
	git lfs version >/dev/null 2>&1 || fail lfs "Git LFS keeps files of the submodule $module_path, and there is no git-lfs on the server"
	if [ -z "$module_url" ]; then
		answer_line hint "set source = \"origin\" for this server"
		fail lfs "Git LFS keeps files of the submodule $module_path, which are not sent"
	fi
	lock "$base/locks/lfs"
	progress "fetching the submodule $module_path from Git LFS"
	said=$(to_git_host -c "remote.agile.url=$module_url" lfs fetch agile "$module_commit" 2>&1) &&
		put "$repo/lfs/agile-$module_commit" "$(now)"
	agile_status=$?
	unlock "$base/locks/lfs"
	[ "$agile_status" -ne 0 ] || return 0
	blame lfs
	answer_tail "$said"
	fail "$step" "cannot fetch the Git LFS files of the submodule $module_path"
}

# split_submodule LINE: its name, commit, path and address, which may be empty where the commit was sent.
split_submodule() {
	module_name=${1%%"$tab"*}
	module_path=${1#*"$tab"}
	module_commit=${module_path%%"$tab"*}
	module_path=${module_path#*"$tab"}
	module_url=${module_path#*"$tab"}
	module_path=${module_path%%"$tab"*}
}

# fetch_commit REPOSITORY URL COMMIT NAME [STEP]: it is in the repository below `base`, under a ref of its own that keeps
# it.
fetch_commit() {
	repo=$base/$1 from=$2 wanted=$3
	kept=refs/agile/commits/$wanted
	is_kept && return 0
	agile_lock_name=$base/locks/$(printf %s "${1%.git}" | tr / -)
	lock "$agile_lock_name"
	said=
	for agile_again in 1 2 3 4; do
		has_commit && break
		make_repository && fetch_missing
		stopped_at_worktree "$agile_again" || break
	done
	if has_commit || { is_damaged && mend_repository && fetch_missing && has_commit; }; then
		unlock "$agile_lock_name"
		return 0
	fi
	blame "${5-fetch}"
	unlock "$agile_lock_name"
	answer_tail "$said"
	[ -d "$repo/objects" ] || fail "$step" "cannot make $repo"
	fail "$step" "cannot fetch $4"
}

has_commit() { [ "$(agile_git rev-parse -q --verify "$kept^{commit}" 2>/dev/null)" = "$wanted" ]; }

# is_kept: the same at a glance, without git. The check-out of a commit finds what is damaged; that of a submodule mends
# nothing, so there git looks.
is_kept() {
	case $repo in
	"$base/repo.git")
		agile_line=
		{ read -r agile_line <"$repo/$kept"; } 2>/dev/null
		[ "$agile_line" = "$wanted" ]
		;;
	*) has_commit ;;
	esac
}

make_repository() {
	[ ! -d "$repo/objects" ] || return 0
	new_repository && { [ ! -e "$repo" ] || set_aside; } && mv "$repo.new" "$repo"
}

new_repository() {
	rm -rf "$repo.new"
	said=$(git init -q --bare --template= "$repo.new" 2>&1) || {
		rm -rf "$repo.new"
		return 1
	}
}

set_aside() {
	rm -rf "$repo.damaged"
	mv "$repo" "$repo.damaged"
}

# is_damaged: asked only after something has failed, for it reads every object.
is_damaged() {
	[ -d "$repo" ] || return 1
	progress "looking for damage in ${repo#"$base"/}"
	! agile_git fsck --no-dangling --no-progress >/dev/null 2>&1
}

# mend_repository: a new repository in the place of the damaged one, which is kept beside it. The work trees of the runs
# stay what they are.
mend_repository() {
	progress "making ${repo#"$base"/} anew, for it was damaged"
	new_repository || return 1
	[ ! -d "$repo/worktrees" ] || cp -R "$repo/worktrees" "$repo.new/" || return 1
	set_aside && mv "$repo.new" "$repo" && answer_line mended "$repo"
}

# agile_mend PATH REPOSITORY... NONCE: makes those anew that are damaged.
agile_mend() {
	enter_base "$1" || return 0
	shift
	identify
	while [ $# -gt 1 ]; do
		repo=$base/$1
		agile_lock_name=$base/locks/$(printf %s "${1%.git}" | tr / -)
		lock "$agile_lock_name"
		! is_damaged || mend_repository || answer_tail "$said"
		unlock "$agile_lock_name"
		shift
	done
}

# fetch_missing: under the lock, so what a fetch that was killed or had no room has left is nobody's.
fetch_missing() {
	if [ -z "$from" ]; then
		said='what was sent is not there; the same command again sends it anew'
		return 1
	fi
	progress "fetching $(printf %.7s "$wanted")"
	[ -z "${meanwhile-}" ] || wait "$meanwhile"
	remove_leavings
	# The commit itself, which also finds one that its branch has left behind.
	said=$(to_git_host fetch -q --no-tags --no-write-fetch-head -- "$from" "+$wanted:$kept" 2>&1) || fetch_heads
	agile_status=$?
	remove_leavings
	return "$agile_status"
}

# fetch_heads: a git host that answers for branches only is asked for those.
fetch_heads() {
	agile_first=$said
	said=$(to_git_host fetch -q --no-tags --no-write-fetch-head -- "$from" "+refs/heads/*:refs/agile/heads/*" 2>&1)
	agile_status=$?
	# One that cannot be reached is the same twice.
	[ "$said" = "$agile_first" ] || said=$agile_first$newline$said
	[ "$agile_status" -eq 0 ] && agile_git cat-file -e "$wanted^{commit}" 2>/dev/null &&
		agile_git update-ref "$kept" "$wanted"
}

remove_leavings() {
	for agile_file in "$repo/$kept.lock" "$repo"/objects/pack/tmp_*; do
		[ ! -e "$agile_file" ] || rm -f "$agile_file"
	done
}

# check_out FOLDER: the commit and its submodules, in the folder of the run.
check_out() {
	repo=$base/repo.git
	add_worktree "$1" "$commit" || mend_and_add "$1" || return 1
	each_line "$submodules" check_out_submodule "$1"
	agile_status=$?
	repo=$base/repo.git
	return "$agile_status"
}

# read_head FOLDER: `checked`, the commit of the work tree: git's own file of it (gitrepository-layout(5), worktrees), or,
# where git keeps that otherwise, git's word.
read_head() {
	checked=
	{ IFS= read -r agile_line <"$1/.git" && read -r checked <"${agile_line#gitdir: }/HEAD"; } 2>/dev/null
	[ "$checked" = "$commit" ] || checked=$(git -C "$1" rev-parse HEAD 2>/dev/null)
}

check_out_submodule() {
	split_submodule "$2"
	repo=$base/modules/$module_name.git
	agile_lfs=$lfs lfs=
	[ ! -s "$repo/lfs/agile-$module_commit" ] || lfs=submodule
	add_worktree "$1/$module_path" "$module_commit"
	agile_status=$?
	lfs=$agile_lfs
	return "$agile_status"
}

# add_worktree FOLDER COMMIT
add_worktree() {
	for agile_again in 1 2 3 4; do
		make_worktree "$1" "$2" && return
		stopped_at_worktree "$agile_again" || break
		rm -rf "$1"
	done
	return 1
}

# stopped_at_worktree TRY: whether git, which reads all the work trees first, said that it cannot read one: another script
# makes it at this moment. One that nobody completes is left over, and removed at the third try.
stopped_at_worktree() {
	case $said in *"$repo/worktrees/"*) nap ;; *) return 1 ;; esac
	[ "$1" -ge 3 ] || return 0
	for agile_file in "$repo"/worktrees/*; do
		[ -s "$agile_file/commondir" ] || rm -rf "$agile_file"
	done
}

# make_worktree FOLDER COMMIT: twice --force: one that was killed has left its folder registered and locked.
make_worktree() {
	set -- worktree add --force --force --detach "$1" "$2"
	if [ -n "$lfs" ]; then
		set -- -c filter.lfs.process='git-lfs filter-process' -c filter.lfs.smudge='git-lfs smudge -- %f' \
			-c filter.lfs.clean='git-lfs clean -- %f' -c filter.lfs.required=true "$@"
	fi
	said=$(agile_git "$@" 2>&1)
}

# mend_and_add FOLDER: once more from a new repository, where the one that is there has proved to be damaged.
mend_and_add() {
	has_room || return 1
	lock "$base/locks/repo"
	if is_damaged; then
		from=$url wanted=$commit kept=refs/agile/commits/$commit
		mend_repository && fetch_missing && rm -rf "$1" && add_worktree "$1" "$commit"
	else
		false
	fi
	agile_status=$?
	unlock "$base/locks/repo"
	return "$agile_status"
}

# connect_to_git_host PATH URL: while the commit is still on its way to the git host, a connection there that the fetch
# will use. It ends by itself when nobody does. One that the person has configured otherwise is left to git.
connect_to_git_host() {
	enter_base "$1" && [ -d "$base/locks" ] || return 0
	[ -z "${GIT_SSH-}${GIT_SSH_COMMAND-}" ] && ! git config core.sshCommand >/dev/null 2>&1 || return 0
	umask 077
	set_git_socket "$2" || return 0
	ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=30 -o ServerAliveCountMax=4 -o ControlPersist=60 -o ClearAllForwardings=yes -o ForwardAgent=no \
		-S "$git_socket" -M -N -f ${git_port:+-p "$git_port"} -- "$git_host"
}

# set_git_socket URL: `git_socket`, and the `git_host` and `git_port` of the address (git-fetch(1), GIT URLS); fails
# where it is not one by ssh, or no path for a socket: they are short, and ssh has its own meaning for `%`.
set_git_socket() {
	git_port=
	case $1 in
	ssh://*)
		git_host=${1#ssh://}
		git_host=${git_host%%/*}
		case $git_host in
		*:*) git_port=${git_host##*:} git_host=${git_host%:*} ;;
		esac
		;;
	*://* | /* | .*) return 1 ;;
	*:*) git_host=${1%%:*} ;;
	*) return 1 ;;
	esac
	case $git_host in '' | -* | */* | *[!A-Za-z0-9@._-]*) return 1 ;; esac
	case $git_port in *[!0-9]*) return 1 ;; esac
	git_socket=$base/locks/git-$$
	case $git_socket in *[!A-Za-z0-9/._+-]*) return 1 ;; esac
	[ "${#git_socket}" -le 84 ]
}

# leave_git_host: the connection that was made for this deployment ends, and the sockets of those that were killed go.
leave_git_host() {
	[ -z "${meanwhile-}" ] || ! set_git_socket "$url" || [ ! -S "$git_socket" ] ||
		ssh -S "$git_socket" -O exit -- "$git_host" </dev/null >/dev/null 2>&1
	for agile_socket in "$base"/locks/git-*; do
		[ ! -S "$agile_socket" ] || kill -0 "${agile_socket##*-}" 2>/dev/null || rm -f "$agile_socket"
	done
}

# to_git_host ARGUMENT...: git without a question, which nobody would answer. In a subshell: an experiment is to inherit
# none of it.
to_git_host() (
	GIT_TERMINAL_PROMPT=0
	# A git host that is silent for two minutes is given up.
	: "${GIT_HTTP_LOW_SPEED_LIMIT:=1}" "${GIT_HTTP_LOW_SPEED_TIME:=120}"
	export GIT_TERMINAL_PROMPT GIT_HTTP_LOW_SPEED_LIMIT GIT_HTTP_LOW_SPEED_TIME
	unset GIT_ASKPASS SSH_ASKPASS
	if [ -z "${GIT_SSH-}${GIT_SSH_COMMAND-}" ] && ! git config core.sshCommand >/dev/null 2>&1; then
		GIT_SSH_COMMAND='ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=30 -o ServerAliveCountMax=4'
		if [ -n "${meanwhile-}" ] && [ "$from" = "$url" ] && set_git_socket "$url" && [ -S "$git_socket" ]; then
			GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o ControlMaster=no -S $git_socket"
		fi
		export GIT_SSH_COMMAND
	fi
	if [ -n "$credential" ]; then
		lend_credential
		# The empty one first: what is stored on the server must not be told ours.
		set -- -c core.askPass= -c credential.helper= -c "credential.helper=$credential_helper" "$@"
	fi
	agile_git "$@"
)

# lend_credential: the credential, as lines of place, user and password, goes into this subshell's environment, where
# git's helper reads it; and nobody traces what is said to the git host.
lend_credential() {
	unset GIT_CURL_VERBOSE GIT_TRACE GIT_TRACE_CURL GIT_TRACE_PACKET GIT_TRACE_REDACT GIT_TRACE_SETUP GIT_TRACE2 \
		GIT_TRACE2_EVENT GIT_TRACE2_PERF
	AGILE_GIT_PLACE=${credential%%"$newline"*}
	AGILE_GIT_PASSWORD=${credential##*"$newline"}
	AGILE_GIT_USER=${credential#*"$newline"}
	AGILE_GIT_USER=${AGILE_GIT_USER%"$newline"*}
	export AGILE_GIT_PLACE AGILE_GIT_USER AGILE_GIT_PASSWORD
	# Answers for that place alone (git-credential(1)), whoever asks: a redirection, or a submodule.
	# shellcheck disable=SC2016 # expanded by git's shell
	credential_helper='!f() { p= h=; [ "$1" = get ] || return 0; while IFS== read -r k v; do case $k in protocol) p=$v ;;
host) h=$v ;; esac; done; [ "$p://$h" = "$AGILE_GIT_PLACE" ] || return 0
printf "username=%s\npassword=%s\n" "$AGILE_GIT_USER" "$AGILE_GIT_PASSWORD"; }; f'
}
