# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Deployments and cleaning keep out of each other's way. Uses lib.sh.
#
# A deployment leaves its mark in locks/deploying, then looks for locks/clean; whoever cleans takes that lock, then looks
# for marks: so no deployment counts on what is being removed.

# deploying: marks this script as a deployment, after any cleaning that is under way.
deploying() {
	{ [ -d locks/deploying ] || mkdir -p locks/deploying; } && true >"locks/deploying/$me" || fail disk "cannot write in $base/locks"
	own_mark=$base/locks/deploying/$me
	[ ! -d locks/clean ] || {
		lock "$base/locks/clean"
		unlock "$base/locks/clean"
	}
}

deployed() { rm -f "$own_mark"; }

# is_deploying: whether a deployment goes on; the marks of those that are gone are removed.
is_deploying() {
	for agile_mark in "$base"/locks/deploying/held,*; do
		[ -e "$agile_mark" ] || continue
		agile_ifs=$IFS
		IFS=,
		# shellcheck disable=SC2086 # fields, to be words
		set -- ${agile_mark##*/}
		IFS=$agile_ifs
		look "$4" "${5-}" "$3" "$2"
		case $seen in
		alive) return 0 ;;
		gone) ! has_orphans "$4" || return 0 ;;
		elsewhere) [ -n "$(find "$agile_mark" -mtime +0 2>/dev/null)" ] || return 0 ;;
		esac
		rm -f "$agile_mark"
	done
	return 1
}
