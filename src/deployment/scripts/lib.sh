# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# What all scripts share. Functions only: a script that is cut on its way runs nothing.

# agile_call NONCE FUNCTION ARGUMENT... NONCE: the last line of every script. The nonce at both ends proves that the
# line arrived whole; all answers stand between lines that carry it.
agile_call() {
	nonce=$1
	eval "agile_last=\${$#}"
	# shellcheck disable=SC2154 # set by the eval above
	if [ "${#nonce}" -ne 32 ] || [ "$nonce" != "$agile_last" ] || [ $# -lt 3 ]; then
		exit 97
	fi
	shift
	agile_setup
	answer=
	heartbeat &
	beating=$!
	"$@"
	agile_reply
}

# A sign of life every ten seconds, so that the other end can tell a long step from a server that hangs.
heartbeat() {
	pause=
	trap 'kill $pause 2>/dev/null; exit' TERM
	while kill -0 $$ 2>/dev/null; do
		sleep 10 >/dev/null 2>&1 &
		pause=$!
		wait "$pause"
		printf '%s alive\n' "$nonce"
	done
}

# A lost connection must not end the script in the middle of a step: writing fails, and it goes on. A trap, unlike an
# ignored signal, is not inherited by the programs that it starts.
agile_setup() {
	trap : HUP PIPE
	set -u
	login_umask=$(umask)
	login_lc_all=${LC_ALL-}
	umask 077
	LC_ALL=C
	export LC_ALL
	unset CDPATH ENV BASH_ENV GREP_OPTIONS POSIXLY_CORRECT 2>/dev/null
	tab='	'
	newline='
'
}

# answer_line FIELD...: adds a line of fields to the answer.
answer_line() {
	agile_line=$1
	shift
	for agile_field; do
		agile_line=$agile_line$tab$agile_field
	done
	answer=$answer$agile_line$newline
}

# answer_tail FILE: adds the last lines of a tool's output, for a person.
answer_tail() {
	[ -f "$1" ] || return 0
	agile_tail=$(tail -n 15 "$1" 2>/dev/null | tr '\t\r' '  ' | cut -c 1-400 | sed "s/^/tail$tab/")
	[ -z "$agile_tail" ] || answer=$answer$agile_tail$newline
}

# progress TEXT: tells the person what is being done; nothing depends on its arrival.
progress() {
	printf '%s progress %s\n' "$nonce" "$1" 2>/dev/null
}

# The closing frame: without it nothing that was said counts. cksum is POSIX's; it guards against a cut, not an enemy.
agile_reply() {
	kill "$beating" 2>/dev/null
	# shellcheck disable=SC2046 # two numbers, to be two words
	set -- $(printf '%s' "$answer" | cksum)
	printf '%s begin\n%s%s end %s %s\n' "$nonce" "$answer" "$nonce" "$1" "$2" 2>/dev/null
}

# begin_raw: what follows is bytes, to the end.
begin_raw() {
	kill "$beating" 2>/dev/null
	printf '%s raw\n' "$nonce"
}

# fail WHAT TEXT: the step WHAT failed; the answer says so, and the script is over.
fail() {
	answer_line error "$1" "$2"
	agile_reply
	exit 5
}

# enter_base PATH: `base` is the project's folder, absolute; fails when it is not there.
enter_base() {
	case $1 in
	'~/'*) base=${HOME:?}/${1#'~/'} ;;
	/*) base=$1 ;;
	*) base=${HOME:?}/$1 ;;
	esac
	[ -d "$base" ]
}

now() { date +%s; }

# publish FILE: standard input becomes FILE at once or not at all.
publish() {
	cat >"$1.$$.tmp" && mv -f "$1.$$.tmp" "$1" && return 0
	rm -f "$1.$$.tmp"
	return 1
}

# This machine's boot: a process recorded under another one is gone. AGILE_BOOT_ID names another file in tests.
boot_id() {
	if [ -r "${AGILE_BOOT_ID:-/proc/sys/kernel/random/boot_id}" ]; then
		cat "${AGILE_BOOT_ID:-/proc/sys/kernel/random/boot_id}"
	else
		sysctl -n kern.bootsessionuuid 2>/dev/null || sysctl -n kern.boottime | tr -d ' ,{}='
	fi
}

# ticks_of PID: when the process started, as the kernel counts (proc(5), field 22 of stat) or ps says; a pid alone
# may have been given to another process since. Sets `ticks`, empty when there is no such process. A zombie is gone.
ticks_of() {
	ticks=
	if [ -r /proc/self/stat ]; then
		agile_stat=
		{ IFS= read -r agile_stat <"/proc/$1/stat"; } 2>/dev/null || [ -n "$agile_stat" ] || return 0
		agile_stat=${agile_stat##*') '}
		# shellcheck disable=SC2086 # fields, to be words
		set -- $agile_stat
		case $1 in Z | X) return 0 ;; esac
		ticks=${20-}
	else
		ticks=$(ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' _)
	fi
}

host_name() { uname -n; }

# look PID TICKS BOOT HOST: what is known of a recorded process: `alive`, `gone`, `rebooted`, or `elsewhere` when it
# lives on another machine that shares this folder. Sets `seen`.
look() {
	if [ "$4" != "$here" ]; then
		seen=elsewhere
	elif [ "$3" != "$boot" ]; then
		seen=rebooted
	else
		ticks_of "$1"
		if [ -n "$ticks" ] && [ "$ticks" = "$2" ]; then seen=alive; else seen=gone; fi
	fi
}

# identify: `boot`, `here` and `me`, this script as the owner of a lock.
identify() {
	boot=$(boot_id)
	here=$(host_name)
	ticks_of $$
	me=held,$here,$boot,$$,$ticks
}

# lock FOLDER: holds the lock FOLDER until `unlock FOLDER`. A lock is a folder with one file whose name says who holds it;
# renaming that file is the only way to change that, so taking it over from an owner that is gone is as atomic as
# taking it when it is free. Waits for an owner that lives.
lock() {
	agile_lock=$1
	if [ ! -d "$agile_lock" ]; then
		mkdir -p "$agile_lock.new.$$" && : >"$agile_lock.new.$$/free" && mv "$agile_lock.new.$$" "$agile_lock"
		# Another script was faster: mv put ours inside its folder.
		rm -rf "$agile_lock/${agile_lock##*/}.new.$$" "$agile_lock.new.$$"
	fi
	agile_waited=
	until mv "$agile_lock/free" "$agile_lock/$me" 2>/dev/null || [ -e "$agile_lock/$me" ]; do
		for agile_held in "$agile_lock"/held,*; do
			[ -e "$agile_held" ] || continue
			agile_ifs=$IFS
			IFS=,
			# shellcheck disable=SC2086 # fields, to be words
			set -- ${agile_held##*/}
			IFS=$agile_ifs
			look "$4" "${5-}" "$3" "$2"
			case $seen in
			gone | rebooted) mv "$agile_held" "$agile_lock/$me" 2>/dev/null && return 0 ;;
			esac
			[ -n "$agile_waited" ] || progress "waiting for process $4 on $2"
			agile_waited=1
		done
		nap
	done
}

unlock() { mv "$1/$me" "$1/free" 2>/dev/null; }

# A short pause; a sleep that knows whole seconds only waits one.
nap() { sleep 0.05 2>/dev/null || sleep 1; }
