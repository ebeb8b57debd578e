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
	# The first sign of life: what is heard from here on is the script and not the login shell.
	printf '%s alive\n' "$nonce" 2>/dev/null
	answer=
	heartbeat &
	beating=$!
	"$@"
	agile_reply
}

# agile_meanwhile NONCE FUNCTION ARGUMENT... NONCE: runs the function beside what the shell reads next, as `meanwhile`.
agile_meanwhile() {
	nonce=$1
	eval "agile_last=\${$#}"
	[ "${#nonce}" -eq 32 ] && [ "$nonce" = "$agile_last" ] && [ $# -ge 3 ] || exit 97
	shift
	("$@") </dev/null >/dev/null 2>&1 &
	meanwhile=$!
}

# A sign of life every five seconds, so that the other end can tell a long step from a server that hangs. It ends within
# a second of a script that was killed, for it holds that script's output.
heartbeat() {
	pause='' beats=0
	trap 'kill $pause 2>/dev/null; exit' TERM
	while kill -0 $$ 2>/dev/null; do
		sleep 1 >/dev/null 2>&1 &
		pause=$!
		wait "$pause"
		beats=$((beats + 1))
		[ $((beats % 5)) -ne 0 ] || printf '%s alive\n' "$nonce"
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

# answer_tail TEXT: adds the last lines of what a tool said, for a person.
answer_tail() {
	[ -n "$1" ] || return 0
	agile_tail=$(printf '%s\n' "$1" | tail -n 15 | tr '\t\r' '  ' | cut -c 1-400 | sed "s/^/tail$tab/")
	answer=$answer$agile_tail$newline
}

# progress TEXT: tells the person what is being done; nothing depends on its arrival.
progress() {
	printf '%s progress %s\n' "$nonce" "$1" 2>/dev/null
}

# The closing frame: without it nothing that was said counts. cksum is POSIX's; it guards against a cut, not an enemy.
agile_reply() {
	kill "$beating" 2>/dev/null
	wait "$beating" 2>/dev/null
	# shellcheck disable=SC2046 # two numbers, to be two words
	set -- $(printf '%s' "$answer" | cksum)
	printf '%s begin\n%s%s end %s %s\n' "$nonce" "$answer" "$nonce" "$1" "$2" 2>/dev/null
}

# begin_raw: what follows is bytes, to the end.
begin_raw() {
	kill "$beating" 2>/dev/null
	wait "$beating" 2>/dev/null
	printf '%s raw\n' "$nonce"
}

# fail WHAT TEXT: the step WHAT failed; the answer says so, and the script is over.
fail() {
	[ -z "${launched-}" ] || answer_launched
	[ -z "${own_mark-}" ] || rm -f "$own_mark"
	answer_line error "$1" "$2"
	agile_reply
	exit 5
}

# each_line LINES FUNCTION ARGUMENT...: calls the function with each line as its last argument, until one fails.
each_line() {
	agile_lines=$1
	shift
	while [ -n "$agile_lines" ]; do
		agile_line=${agile_lines%%"$newline"*}
		agile_lines=${agile_lines#*"$newline"}
		[ -z "$agile_line" ] || "$@" "$agile_line" || return
	done
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

# read_uptime: `uptime`, seconds that go on evenly whatever is done to the clock, and finer than it, where the kernel counts
# them.
read_uptime() {
	if [ -r /proc/uptime ]; then
		read -r uptime agile_rest </proc/uptime
	else
		uptime=$(now)
	fi
}

# steady: whole seconds of it.
steady() {
	read_uptime
	echo "${uptime%.*}"
}

# publish FILE: standard input becomes FILE at once or not at all. Whoever publishes a file is the only one who does, by
# a lock or a claim, so the temporary name is always the same: what a killed script left is written over.
publish() {
	cat >"$1.tmp" && mv -f "$1.tmp" "$1" && return 0
	rm -f "$1.tmp"
	return 1
}

# put FILE WORD...: the same with a line of words, for one program less.
put() {
	agile_put=$1
	shift
	printf '%s\n' "$*" >"$agile_put.tmp" && mv -f "$agile_put.tmp" "$agile_put" && return 0
	rm -f "$agile_put.tmp"
	return 1
}

# read_boot: `boot`, this machine's: a process recorded under another one is gone. AGILE_BOOT_ID names another file in tests.
read_boot() {
	boot=
	{ read -r boot <"${AGILE_BOOT_ID:-/proc/sys/kernel/random/boot_id}"; } 2>/dev/null || [ -n "$boot" ] && return 0
	boot=$(sysctl -n kern.bootsessionuuid 2>/dev/null) || boot=$(sysctl -n kern.boottime | tr -d ' ,{}=')
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
		ticks=$(TZ=UTC0 ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' _)
	fi
}

# read_host: `here`, this machine's name, as uname says it; without starting a program where that can be.
read_host() {
	{ read -r here </proc/sys/kernel/hostname; } 2>/dev/null || here=$(uname -n)
}

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
	read_boot
	read_host
	ticks_of $$
	me=held,$here,$boot,$$,$ticks
}

# lock FOLDER [try]: holds the lock FOLDER until `unlock FOLDER`. A lock is a folder with one file whose name says who holds it,
# at first who has made it; renaming that file is the only way to change that, so taking it over from an owner that is gone
# is as atomic as taking it when it is free. Waits for an owner that lives, and for what a killed owner has left running;
# with `try`, fails instead.
lock() {
	agile_lock=$1
	# Two machines that share the folder may have scripts of the same number.
	agile_new=$1.new.$here.$$
	if [ ! -d "$agile_lock" ]; then
		{
			mkdir -p "$agile_new" && true >"$agile_new/$me" && mv "$agile_new" "$agile_lock"
		} 2>/dev/null
		# Another script was faster: mv put ours inside its folder.
		if [ -d "$agile_lock/${agile_new##*/}" ] || [ -d "$agile_new" ]; then
			rm -rf "${agile_lock:?}/${agile_new##*/}" "$agile_new"
		fi
		[ -d "$agile_lock" ] || fail disk "cannot make the lock $agile_lock: no space, or no permission"
	fi
	agile_try=${2-}
	agile_waited=
	until [ -e "$agile_lock/$me" ] || mv "$agile_lock/free" "$agile_lock/$me" 2>/dev/null; do
		for agile_held in "$agile_lock"/held,*; do
			[ -e "$agile_held" ] || continue
			agile_ifs=$IFS
			IFS=,
			# shellcheck disable=SC2086 # fields, to be words
			set -- ${agile_held##*/}
			IFS=$agile_ifs
			look "$4" "${5-}" "$3" "$2"
			if [ "$seen" = rebooted ] || { [ "$seen" = gone ] && ! has_orphans "$4"; }; then
				mv "$agile_held" "$agile_lock/$me" 2>/dev/null && break 2
			fi
			# An owner on a machine that cannot be seen is believed for a day.
			# Taking a lock renames its file, which leaves the time of its last write as it was.
			if [ "$seen" = elsewhere ] && [ -n "$(find "$agile_held" -ctime +0 2>/dev/null)" ]; then
				mv "$agile_held" "$agile_lock/$me" 2>/dev/null && break 2
			fi
			[ -n "$agile_waited" ] || progress "waiting for process $4 on $2"
			agile_waited=1
		done
		[ -z "$agile_try" ] || return 1
		nap
	done
	# A script that was killed while it made this lock, or was too late, has left its own.
	for agile_left in "$agile_lock".new.* "$agile_lock"/*.new.*; do
		[ ! -d "$agile_left" ] || rm -rf "$agile_left"
	done
}

# has_orphans PID: whether a script that is gone has left programs running. A script leads its process group, whose
# number is not given to another process before the last member has ended. Uses what `look` found of PID.
has_orphans() {
	[ -z "$ticks" ] && kill -0 "-$1" 2>/dev/null || return 1
	[ -r /proc/self/stat ] || return 0
	# Members that have ended and wait for an `init` that does not collect them, as in some containers, do nothing.
	agile_group=$1
	for agile_file in /proc/[0-9]*/stat; do
		{ IFS= read -r agile_stat <"$agile_file"; } 2>/dev/null || continue
		# shellcheck disable=SC2086 # state, parent, group
		set -- ${agile_stat##*') '}
		case $1$3 in [ZX]*) ;; ?"$agile_group") return 0 ;; esac
	done
	return 1
}

unlock() { mv "$1/$me" "$1/free" 2>/dev/null; }

# at_most SECONDS COMMAND...: ends what takes longer, where there is a program that can.
at_most() {
	if command -v timeout >/dev/null 2>&1; then
		timeout "$@"
	else
		shift
		"$@"
	fi
}

# A short pause; a sleep that knows whole seconds only waits one.
nap() { sleep 0.05 2>/dev/null || sleep 1; }
