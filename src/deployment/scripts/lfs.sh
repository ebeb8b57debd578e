# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# The files of a commit that Git LFS keeps. Uses lib.sh, commit.sh and sum.sh.
#
# repo.git/lfs/objects/AA/BB/SHA256   a content, as git-lfs keeps it
# repo.git/lfs/incoming/PID/SHA256    what is being sent, to the process PID; whole or not once that is gone
# repo.git/lfs/agile-COMMIT           all contents of the commit are there

# has_object SHA256: whether it is there; `object`, where it belongs.
has_object() {
	agile_rest=${1#??}
	object=$base/repo.git/lfs/objects/${1%"$agile_rest"}/${agile_rest%"${agile_rest#??}"}/$1
	[ -f "$object" ]
}

# agile_lacking PATH SHA256... NONCE: which of them are not there.
agile_lacking() {
	enter_base "$1" || :
	shift
	while [ $# -gt 1 ]; do
		has_object "$1" || answer_line lacks "$1"
		shift
	done
}

# fetch_lfs: what the pointers of the commit stand for is in the repository's own store.
fetch_lfs() {
	git lfs version >/dev/null 2>&1 || fail lfs "Git LFS keeps the content of $lfs, and there is no git-lfs on the server"
	[ ! -s "$repo/lfs/agile-$commit" ] || return 0
	lock "$base/locks/lfs"
	said=
	if [ -z "$lfs_url" ]; then
		take_objects && each_line "$objects" has_object
	else
		progress "fetching $lfs from Git LFS"
		said=$(to_git_host -c "remote.agile.url=$lfs_url" lfs fetch agile "$commit" 2>&1)
	fi && put "$repo/lfs/agile-$commit" "$(now)"
	agile_status=$?
	unlock "$base/locks/lfs"
	[ "$agile_status" -eq 0 ] && [ -s "$repo/lfs/agile-$commit" ] && return 0
	blame lfs
	answer_tail "$said"
	if [ -z "$lfs_url" ]; then
		answer_line hint "the same command again sends them anew; if it stays so, here: git lfs fsck"
		fail "$step" "the Git LFS files of $commit did not arrive whole"
	fi
	fail "$step" "cannot fetch the Git LFS files of $commit"
}

# take_objects: what was sent and is what it should be is kept, whoever sent it; a sender that was cut off sends the rest
# again.
take_objects() {
	for agile_folder in "$repo"/lfs/incoming/*; do
		[ -d "$agile_folder" ] && ! kill -0 "${agile_folder##*/}" 2>/dev/null || continue
		for agile_file in "$agile_folder"/*; do
			[ -f "$agile_file" ] && ! has_object "${agile_file##*/}" || continue
			progress "checking the Git LFS file $(printf %.7s "${agile_file##*/}")"
			[ "$(sum_of "$agile_file")" = "${agile_file##*/}" ] || continue
			mkdir -p "${object%/*}" && chmod a-w "$agile_file" && mv -f "$agile_file" "$object" || return 1
		done
		rm -rf "$agile_folder"
	done
}
