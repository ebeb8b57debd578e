# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Data sets: downloaded once for all runs, checked, and linked to where the code expects them. Uses lib.sh.
#
# data/SHA256/file     the data
# data/SHA256/ok       its size and time of change when it was last checked
# data/seen/URL-HASH   the sum that a data set without one had when it was first seen

# link_data LINES: each line is SUM, PATH and URL, tab-separated; SUM is `-` where none is given. Fails the run `id`
# before it is launched when a data set is not what it should be.
link_data() {
	agile_ifs=$IFS
	IFS=$newline
	set -f
	for agile_data in $1; do
		IFS=$agile_ifs
		set +f
		sum=${agile_data%%"$tab"*}
		agile_data=${agile_data#*"$tab"}
		link_one "$sum" "${agile_data%%"$tab"*}" "${agile_data#*"$tab"}" || return 1
	done
	IFS=$agile_ifs
	set +f
}

link_one() {
	if ! get_data "$1" "$3"; then
		answer_line failed "$id" data "$trouble"
		answer_tail "$agile_file.log"
		return 1
	fi
	case $2 in */*) mkdir -p "$run/code/${2%/*}" ;; esac
	if [ -e "$run/code/$2" ] && [ ! -L "$run/code/$2" ]; then
		answer_line failed "$id" data "the commit has a file $2, where the data belongs"
		return 1
	fi
	ln -sf "$stored" "$run/code/$2" && return 0
	answer_line failed "$id" disk "cannot write in $run"
	return 1
}

# get_data SUM URL: sets `stored` to the checked file; else `trouble`.
get_data() {
	sum=$1
	agile_part=part-$(printf '%s' "$2" | git hash-object --stdin)
	agile_file=$base/data/$agile_part
	agile_seen=$base/data/seen/${agile_part#part-}
	if [ "$sum" = - ] && [ -s "$agile_seen" ]; then
		read -r sum <"$agile_seen"
	fi
	stored=$base/data/$sum/file
	data_is_checked && return 0
	lock "$base/locks/data-${agile_part#part-}"
	data_is_checked || fetch_data "$2"
	agile_status=$?
	unlock "$base/locks/data-${agile_part#part-}"
	return "$agile_status"
}

# Whether `stored` is what was checked: the same size and time of change, or else the same sum again.
data_is_checked() {
	[ "$sum" != - ] && [ -s "$base/data/$sum/ok" ] && [ -f "$stored" ] || return 1
	agile_stamp=$(stamp_of "$stored")
	[ "$(cat "$base/data/$sum/ok")" != "$agile_stamp" ] || return 0
	[ "$(sum_of "$stored")" = "$sum" ] || return 1
	printf '%s\n' "$agile_stamp" | publish "$base/data/$sum/ok"
}

# fetch_data URL: downloads, continuing where an earlier try was interrupted, checks, and publishes.
fetch_data() {
	progress "downloading ${1##*/}"
	trouble="cannot download $1"
	# Data without a sum must not come over a line that anybody can write on.
	case $1 in https:*) agile_schemes='=https' ;; *) agile_schemes='=http,https' ;; esac
	if command -v curl >/dev/null 2>&1; then
		curl -q --proto "$agile_schemes" --proto-redir "$agile_schemes" --globoff -fsSL --retry 3 -C - -o "$agile_file" -- "$1" >"$agile_file.log" 2>&1 </dev/null
	elif command -v wget >/dev/null 2>&1; then
		wget -q -c -O "$agile_file" -- "$1" >"$agile_file.log" 2>&1 </dev/null
	else
		trouble="there is neither curl nor wget on the server"
		return 1
	fi || {
		# A complete file cannot be continued: servers answer that with an error of their own.
		[ "$sum" != - ] && [ -f "$agile_file" ] && [ "$(sum_of "$agile_file")" = "$sum" ] || return 1
	}
	agile_sum=$(sum_of "$agile_file")
	if [ -z "$agile_sum" ]; then
		trouble="there is no program for SHA-256 on the server"
		return 1
	fi
	if [ "$sum" = - ]; then
		sum=$agile_sum
		stored=$base/data/$sum/file
		mkdir -p "$base/data/seen" && echo "$sum" | publish "$agile_seen" || return 1
	elif [ "$sum" != "$agile_sum" ]; then
		rm -f "$agile_file"
		trouble="$1 has the SHA-256 $agile_sum and not $sum"
		return 1
	fi
	trouble="cannot write in $base/data"
	mkdir -p "$base/data/$sum" && chmod a-w "$agile_file" && mv -f "$agile_file" "$stored" || return 1
	stamp_of "$stored" | publish "$base/data/$sum/ok" || return 1
	rm -f "$agile_file.log"
}

# stamp_of FILE: its size and the time of its last change.
stamp_of() {
	# shellcheck disable=SC2012 # the name is ours, and stat is not everywhere the same
	ls -lnd "$1" | tr -s ' ' | cut -d ' ' -f 5-8
}

# sum_of FILE: its SHA-256, by what is there.
sum_of() {
	if command -v sha256sum >/dev/null 2>&1; then
		sha256sum <"$1"
	elif command -v shasum >/dev/null 2>&1; then
		shasum -a 256 <"$1"
	elif command -v openssl >/dev/null 2>&1; then
		openssl dgst -sha256 -r <"$1"
	fi | cut -d ' ' -f 1
}
