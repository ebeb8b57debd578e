# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Data sets: downloaded once for all runs, checked, unpacked where that is asked for, and linked to where the code expects
# them. Uses lib.sh and sum.sh.
#
# data/SHA256/file       the data
# data/SHA256/ok         its size and time of change when it was last checked
# data/SHA256/unpacked   what the archive holds; nobody may write in it. Complete once it has this name
# data/seen/URL-HASH     the sum that a data set without one had when it was first seen

# link_data LINES: each line is SUM, KIND, PATH and URL, tab-separated; SUM is `-` where none is given, and KIND is `file` or
# `folder`. Fails the run `id` before it is launched when a data set is not what it should be.
link_data() {
	agile_ifs=$IFS
	IFS=$newline
	set -f
	for agile_data in $1; do
		IFS=$agile_ifs
		set +f
		sum=${agile_data%%"$tab"*}
		agile_data=${agile_data#*"$tab"}
		kind=${agile_data%%"$tab"*}
		agile_data=${agile_data#*"$tab"}
		link_one "$sum" "${agile_data%%"$tab"*}" "${agile_data#*"$tab"}" || return 1
	done
	IFS=$agile_ifs
	set +f
}

link_one() {
	# What could not be had for one run is not tried again for the next: `lost`, lines SUM URL, step and trouble.
	: "${lost:=$newline}"
	case $lost in *"$newline$1 $3$tab"*)
		agile_lost=${lost#*"$newline$1 $3$tab"}
		agile_lost=${agile_lost%%"$newline"*}
		answer_line failed "$id" "${agile_lost%%"$tab"*}" "${agile_lost#*"$tab"}"
		return 1
		;;
	esac
	if ! get_data "$1" "$3"; then
		blame data
		answer_line failed "$id" "$step" "$trouble"
		answer_tail "$(cat "$agile_file.log" 2>/dev/null)"
		lost=$lost$1\ $3$tab$step$tab$trouble$newline
		return 1
	fi
	agile_folder=$run/code
	case $2 in */*) agile_folder=$run/code/${2%/*} ;; esac
	# A folder of the commit may be a link that leads elsewhere.
	if ! mkdir -p "$agile_folder" || [ "$(cd "$agile_folder" && pwd -P)" != "$(cd "$run" && pwd -P)${agile_folder#"$run"}" ]; then
		answer_line failed "$id" data "$2 leads out of the code"
		return 1
	fi
	if [ -e "$run/code/$2" ] && [ ! -L "$run/code/$2" ]; then
		answer_line failed "$id" data "the commit has a file $2, where the data belongs"
		return 1
	fi
	# Through a link to a folder, a new one would be made inside.
	rm -f "$run/code/$2" && ln -s "$stored" "$run/code/$2" && return 0
	answer_line failed "$id" disk "cannot write in $run"
	return 1
}

# get_data SUM URL: sets `stored` to the checked file or the folder that it was unpacked to; else `trouble`.
get_data() {
	sum=$1
	trouble="git cannot hash on the server"
	name_data "$2" || return 1
	if ! data_is_checked || ! data_is_unpacked; then
		lock "$base/locks/data-${agile_part#part-}"
		{ data_is_checked || fetch_data "$2"; } && { data_is_unpacked || unpack_data "$2"; }
		agile_status=$?
		unlock "$base/locks/data-${agile_part#part-}"
		[ "$agile_status" -eq 0 ] || return 1
	fi
	[ "$kind" = file ] || stored=$base/data/$sum/unpacked
}

# name_data URL: `agile_file`, where it arrives, and `stored`, where it stays; `sum` becomes what was seen first where none is
# given.
name_data() {
	agile_part=part-$(printf '%s' "$1" | git hash-object --stdin)
	[ "${#agile_part}" -ge 40 ] || return 1
	agile_file=$base/data/$agile_part
	agile_seen=$base/data/seen/${agile_part#part-}
	if [ "$sum" = - ] && [ -s "$agile_seen" ]; then
		read -r sum <"$agile_seen"
	fi
	stored=$base/data/$sum/file
}

# Whether `stored` is what was checked: the same size and time of change, or else the same sum again.
data_is_checked() {
	[ "$sum" != - ] && [ -s "$base/data/$sum/ok" ] && [ -f "$stored" ] || return 1
	agile_stamp=$(stamp_of "$stored")
	[ "$(cat "$base/data/$sum/ok")" != "$agile_stamp" ] || return 0
	[ "$(sum_of "$stored")" = "$sum" ] || return 1
	put "$base/data/$sum/ok" "$agile_stamp"
}

data_is_unpacked() { [ "$kind" = file ] || [ -d "$base/data/$sum/unpacked" ]; }

# fetch_data URL: downloads, continuing where an earlier try was interrupted, checks, and publishes.
fetch_data() {
	progress "downloading ${1##*/}"
	trouble="cannot download $1"
	if ! download_data "$1"; then
		if ! has_room || is_too_large; then
			# What cannot be completed must not take the room of the runs.
			rm -f "$agile_file"
			trouble="$trouble: no space on the server's disk"
			answer_line hint "free some space there, or set another \`path\` for the server; then the same command again"
			return 1
		fi
		# A complete file cannot be continued: servers answer that with an error of their own.
		if [ "$sum" = - ] || [ ! -f "$agile_file" ] || [ "$(sum_of "$agile_file")" != "$sum" ]; then
			answer_line hint "correct its url in agile.toml; or mend the way there, and the same command continues the download"
			return 1
		fi
	fi
	agile_sum=$(sum_of "$agile_file")
	if [ -z "$agile_sum" ]; then
		trouble="there is no program for SHA-256 on the server"
		return 1
	fi
	if [ "$sum" = - ]; then
		sum=$agile_sum
		stored=$base/data/$sum/file
		answer_line unchecked "$1" "$sum"
		mkdir -p "$base/data/seen" && put "$agile_seen" "$sum" || return 1
	elif [ "$sum" != "$agile_sum" ]; then
		rm -f "$agile_file"
		trouble="$1 has the SHA-256 $agile_sum and not $sum"
		if [ -s "$agile_seen" ]; then
			answer_line hint "it has changed since this server saw it first; if that is right, set its sha256 in agile.toml and commit"
		else
			answer_line hint "if that is the right one, correct sha256 in agile.toml and commit"
		fi
		return 1
	fi
	trouble="cannot write in $base/data"
	mkdir -p "$base/data/$sum" && chmod a-w "$agile_file" && mv -f "$agile_file" "$stored" || return 1
	stamp_of "$stored" | publish "$base/data/$sum/ok" || return 1
	rm -f "$agile_file.log"
}

# limit_size: a download takes at most nine tenths of what is free: one without end must not stop every run. `agile_most`, in
# units of 512 bytes, as ulimit counts in sh.
limit_size() {
	agile_free=$(df -Pk "$base/data" 2>/dev/null | awk 'NR == 2 { print $4 }')
	case $agile_free in
	'' | *[!0-9]*) agile_most=unlimited ;;
	*) agile_most=$((agile_free * 18 / 10 + $(size_of "$agile_file") / 512 + 1)) ;;
	esac
}

size_of() { if [ -f "$1" ]; then wc -c <"$1"; else echo 0; fi; }

is_too_large() {
	[ "$agile_most" != unlimited ] && [ "$(size_of "$agile_file")" -ge $((agile_most * 512)) ]
}

# bounded COMMAND...: without a core of what the limit ends. The account may have a lower one.
# shellcheck disable=SC3045 # every sh knows it
bounded() {
	(
		{ ulimit -c 0 && ulimit -f "$agile_most"; } 2>/dev/null
		exec "$@"
	)
}

# download_data URL: by what is there. Data without a sum must not come over a line that anybody can write on, to which wget
# may be led.
download_data() {
	limit_size
	case $1 in https:*) agile_schemes='=https' ;; *) agile_schemes='=http,https' ;; esac
	if command -v curl >/dev/null 2>&1; then
		download_by_curl "$1" || {
			# A server that does not continue, or has nothing more to give: from the beginning.
			case $?,$agile_status in 33,* | 36,* | 22,416) ;; *) false ;; esac && [ -s "$agile_file" ] &&
				rm -f "$agile_file" && download_by_curl "$1"
		}
	elif [ "$sum" != - ] && command -v wget >/dev/null 2>&1; then
		bounded wget -q -c --timeout=60 --tries=4 -O "$agile_file" -- "$1"
	elif find_any_python; then
		bounded "$agile_python" -c "$download" "$1" "$agile_file"
	else
		trouble="there is neither curl nor python3 on the server"
		return 1
	fi >"$agile_file.log" 2>&1 </dev/null
}

# download_by_curl URL: `agile_status` is what the server answered last. A server that is silent for a minute is given up.
download_by_curl() {
	agile_status=$(bounded curl -q --proto "$agile_schemes" --proto-redir "$agile_schemes" --globoff -fsSL --retry 3 \
		--connect-timeout 30 --speed-limit 1 --speed-time 60 -w '%{http_code}' -C - -o "$agile_file" -- "$1")
}

# unpack_data URL: what the archive holds appears at once or not at all.
unpack_data() {
	progress "unpacking ${1##*/}"
	agile_new=$base/data/$sum/unpacked.new
	trouble="there is no python3 on the server, which unpacks data"
	find_any_python || return 1
	remove_folder "$agile_new"
	if agile_said=$("$agile_python" -c "$unpack" "$stored" "$agile_new" 2>&1 </dev/null) && mv "$agile_new" "$base/data/$sum/unpacked"; then
		return 0
	fi
	answer_line hint "correct the archive and its sha256; or leave out \`unpack\` in agile.toml"
	trouble="cannot unpack $1: $(printf '%s\n' "$agile_said" | tail -n 1)"
	remove_folder "$agile_new"
	return 1
}

# remove_folder FOLDER: also one that nobody may write in.
remove_folder() {
	[ -d "$1" ] || return 0
	chmod -R u+w "$1"
	rm -rf "$1"
}

find_any_python() {
	for agile_python in python3 python "$base"/envs/*/bin/python "$base"/envs/*/conda/bin/python; do
		"$agile_python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1 && return 0
	done
	return 1
}

# stamp_of FILE: its size and the time of its last change.
stamp_of() {
	# shellcheck disable=SC2012 # the name is ours, and stat is not everywhere the same
	ls -lnd "$1" | tr -s ' ' | cut -d ' ' -f 5-8
}
