# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# A server's slots and the runs that wait for one. There is no daemon: whoever ends a run, or comes by, starts the next.
# Uses lib.sh, status.sh and launch.sh.
#
# queue/settings   `launcher WORD`, `slots N`, and `gpus SLOT LIST` lines
# queue/last       the last number given out
# queue/NUMBER-ID  a waiting run; ten digits, so that names sort as numbers do
# queue/slot-N     the id of the run in that slot

# configure_queue: the newest deployment says how many slots there are. Without slots, runs that wait no longer have to.
configure_queue() {
	# Slurm has a queue of its own; what waits in this one goes on as it was meant.
	[ "$launcher" != slurm ] || return 0
	agile_settings=$settings
	if [ -z "$settings" ]; then
		[ -e queue/settings ] || return 0
		agile_settings="launcher $launcher${newline}slots 9999"
	fi
	[ "$(cat queue/settings 2>/dev/null)" != "$(printf '%s\n' "$agile_settings")" ] || return 0
	lock "$base/locks/queue"
	[ -z "$settings" ] || has_slots || take_up_runs
	put queue/settings "$agile_settings"
	agile_status=$?
	unlock "$base/locks/queue"
	[ "$agile_status" -eq 0 ] || fail disk "cannot write in $base/queue"
}

# note_host: the machine that runs wait for. Another one that shares the folder shares its slots too, which is said.
note_host() {
	[ -n "$settings" ] || return 0
	agile_host=
	{ read -r agile_host <queue/host; } 2>/dev/null
	[ "$agile_host" != "$here" ] || return 0
	put queue/host "$here"
	[ -z "$agile_host" ] || answer_line shared "$agile_host"
}

has_slots() { [ -s queue/settings ] && ! grep -qx 'slots 9999' queue/settings; }

# take_up_runs: what goes on already, without a slot, has one from now on.
take_up_runs() {
	slot=0
	for agile_started in runs/*/started; do
		[ -d "$agile_started" ] && [ ! -s "${agile_started%/started}/exit" ] || continue
		agile_going=${agile_started%/started}
		agile_going=${agile_going#runs/}
		[ ! -e "runs/$agile_going/job" ] && ! grep -qx "$agile_going" queue/slot-* 2>/dev/null || continue
		run_facts "$agile_going"
		case $agile_exit,$seen in -,alive | -,elsewhere | -,claimed) ;; *) continue ;; esac
		while :; do
			slot=$((slot + 1))
			! slot_is_free || break
		done
		put "queue/slot-$slot" "$agile_going"
	done
}

# enqueue ID: the run waits for a slot, if it does not already.
enqueue() {
	in_queue "$1" && return 0
	lock "$base/locks/queue"
	agile_last=0
	[ ! -s "$base/queue/last" ] || read -r agile_last <"$base/queue/last"
	agile_last=$((agile_last + 1))
	put "$base/queue/last" "$agile_last" && put "$base/runs/$1/state" queued "$(now)" &&
		true >"$base/queue/$(printf %010d "$agile_last")-$1"
	agile_status=$?
	unlock "$base/locks/queue"
	return "$agile_status"
}

in_queue() {
	for agile_entry in "$base"/queue/??????????-"$1"; do
		[ -e "$agile_entry" ] && return 0
	done
	return 1
}

# leave_queue ID: the run no longer waits.
leave_queue() {
	rm -f "$base"/queue/??????????-"$1"
}

# dispatch [try]: starts waiting runs in the order they came while a slot is free. With `try`, leaves that to whoever is
# doing it already.
dispatch() {
	[ -s "$base/queue/settings" ] || return 0
	for agile_entry in "$base"/queue/??????????-*; do
		[ -e "$agile_entry" ] || return 0
		break
	done
	lock "$base/locks/queue" "${1-}" || return 0
	slots=0 launcher=auto slot=0
	while read -r agile_key agile_value agile_rest; do
		case $agile_key in
		slots) slots=$agile_value ;;
		launcher) launcher=$agile_value ;;
		esac
	done <"$base/queue/settings"
	taken=0
	for agile_entry in "$base"/queue/slot-*[0-9]; do
		slot=${agile_entry##*-}
		[ ! -e "$agile_entry" ] || slot_is_free || taken=$((taken + 1))
	done
	slot=0
	for agile_waiting in "$base"/queue/??????????-*; do
		[ -e "$agile_waiting" ] || break
		id=${agile_waiting##*/??????????-}
		run=$base/runs/$id
		if [ ! -d "$run" ] || [ -d "$run/started" ] || [ -d "$run/stop" ]; then
			rm -f "$agile_waiting"
			continue
		fi
		find_slot || break
		# On a full disk, those that wait go on waiting.
		take_slot || break
		{ launch && await_start "$run"; } || give_up || break
		taken=$((taken + 1))
		rm -f "$agile_waiting"
	done
	unlock "$base/locks/queue"
}

# find_slot: the next free slot as `slot`. There may have been more of them: runs in slots that are no more are counted.
find_slot() {
	while [ "$slot" -lt "$slots" ] && [ "$taken" -lt "$slots" ]; do
		slot=$((slot + 1))
		slot_is_free && return 0
	done
	return 1
}

# A slot is free when the run in it has ended, or never began: only a started run leaves the queue. One that was given up in it
# may be in another one by now.
slot_is_free() {
	[ -s "$base/queue/slot-$slot" ] || return 0
	read -r agile_occupant <"$base/queue/slot-$slot"
	if [ -s "$base/runs/$agile_occupant/slot" ]; then
		read -r agile_taken agile_rest <"$base/runs/$agile_occupant/slot"
		[ "$agile_taken" = "$slot" ] || return 0
	fi
	run_facts "$agile_occupant"
	case $agile_exit,$seen in
	-,alive | -,elsewhere | -,claimed) return 1 ;;
	esac
}

take_slot() {
	agile_gpus=
	while read -r agile_key agile_value agile_rest; do
		[ "$agile_key $agile_value" != "gpus $slot" ] || agile_gpus=$agile_rest
	done <"$base/queue/settings"
	deadline=
	put "$base/queue/slot-$slot" "$id" && put "$run/slot" "$slot" "$agile_gpus"
}

# give_up: a run that does not begin must not hold up the others. Claiming it keeps it from beginning later after all. Fails
# where that cannot be written.
give_up() {
	{ printf '%4096s' . >"$run/new.probe"; } 2>/dev/null
	agile_status=$?
	rm -f "$run/new.probe"
	[ "$agile_status" -eq 0 ] || return 1
	mkdir "$run/started" 2>/dev/null || {
		[ -d "$run/started" ]
		return
	}
	if [ -d "$run/stop" ]; then
		put "$run/state" stopped "$(now)" && put "$run/exit" 143 && return 0
	else
		echo "git-agile: the session did not start within 10 seconds" >>"$run/log"
		put "$run/state" failed "$(now)" && put "$run/exit" 97 && return 0
	fi
	rm -f "$run/state"
	rmdir "$run/started"
	return 1
}

# forgive RUN: one that was given up before it began may be tried once more. Under the run's lock: what another deployment
# has started meanwhile has no exit. Its claim counts as a new one until it is gone.
forgive() {
	[ ! -d "$1/started" ] || touch "$1/started"
	rm -f "$1/exit" "$1/state" "$1/slot"
	[ ! -d "$1/started" ] || rmdir "$1/started"
}
