# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Whether runs outlive the connection here. Uses lib.sh.

# ends_sessions: whether logind ends everything of this person when they log out (logind.conf(5), KillUserProcesses), and
# they have not been allowed to linger.
ends_sessions() {
	command -v loginctl >/dev/null 2>&1 || return 1
	person=$(id -un)
	[ ! -e "/var/lib/systemd/linger/$person" ] || return 1
	# Without a session's name, the manager is what is shown.
	agile_manager=$(loginctl show-session -p KillUserProcesses -p KillExcludeUsers -p KillOnlyUsers </dev/null 2>/dev/null) || return 1
	agile_kills='' agile_only=''
	while IFS='=' read -r agile_key agile_value; do
		case $agile_key,$agile_value in
		KillUserProcesses,yes) agile_kills=1 ;;
		KillExcludeUsers,*)
			case " $agile_value " in *" $person "*) return 1 ;; esac
			;;
		KillOnlyUsers,?*)
			agile_only=1
			case " $agile_value " in *" $person "*) agile_only='' ;; esac
			;;
		esac
	done <<AGILE
$agile_manager
AGILE
	[ -n "$agile_kills" ] && [ -z "$agile_only" ] || return 1
	case $(loginctl show-user "$person" -p Linger </dev/null 2>/dev/null) in *=yes) return 1 ;; esac
}
