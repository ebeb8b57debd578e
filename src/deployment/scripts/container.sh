# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Runs in a container of docker or podman. Uses environment.sh. The container is an environment and no wall: it has the
# server's network, the run's folder and the data at their own paths, and the person's own user.
#
# envs/NAME/image    the id of the image
# envs/NAME/options  how its containers are started, one option a line

choose_builder() {
	find_engine
	version="container ${engine##*/}"
	if [ -n "$image" ]; then building="use the image $image"; else building="build the image from $first"; fi
}

# find_engine: `engine`, docker or podman, the first that answers.
find_engine() {
	said=
	for engine in docker podman; do
		find_tool "$engine" /usr/local/bin || continue
		engine=$tool
		agile_said=$("$engine" version 2>&1 >/dev/null) && return 0
		said=${said:-$agile_said}
	done
	answer_tail "$said"
	case $said in
	'') answer_line hint "install docker or podman on the server; or set another \`manager\` in [environment]" ;;
	*denied*) answer_line hint "let the account use docker (sudo usermod -aG docker NAME, then log in again), or install podman" ;;
	*) answer_line hint "start docker on the server (sudo systemctl start docker), or install podman" ;;
	esac
	fail environment "no container engine ${said:+answers }on the server"
}

is_whole() { [ -s "$env/image" ] && "$engine" image inspect "$(cat "$env/image")" >/dev/null 2>&1; }

build() {
	if [ -n "$image" ]; then
		target=$image
		"$engine" image inspect "$image" >/dev/null 2>&1 || try "$engine" pull "$image" || return 1
	else
		target=git-agile:$name
		mkdir "$env/context" && agile_git archive -o "$env/context.tar" "$commit" && tar -xf "$env/context.tar" -C "$env/context" &&
			try "$engine" build -t "$target" -f "$env/context/$first" "$env/context" || return 1
		rm -rf "$env/context" "$env/context.tar"
	fi
	"$engine" image inspect --format '{{.Id}}' "$target" >"$env/image" && choose_options
}

# choose_options: how a container of this image is part of the server, and reads and writes as this person. An image whose
# entry point does not run the command it is given goes without.
choose_options() {
	read -r agile_image <"$env/image"
	set -- --network host --log-driver none --security-opt label=disable
	# Programs that share memory need more than a container has of its own.
	[ ! -d /dev/shm ] || set -- "$@" --volume /dev/shm:/dev/shm
	case ${engine##*/} in
	podman)
		[ "$(id -u)" -eq 0 ] || set -- "$@" --userns=keep-id
		set -- "$@" --user "$(id -u):$(id -g)"
		;;
	*)
		case $("$engine" info --format '{{.SecurityOptions}}' 2>/dev/null) in
		# There the root of the container is this person.
		*rootless*) set -- "$@" --user 0:0 ;;
		*)
			set -- "$@" --user "$(id -u):$(id -g)"
			for agile_group in $(id -G); do set -- "$@" --group-add "$agile_group"; done
			;;
		esac
		;;
	esac
	printf '%s\n' "$@" >"$env/options"
	set -- "$@" --volume "$env:$env"
	# shellcheck disable=SC2016 # for the shell in the container
	agile_program='true >"$1/probe" && exit 42'
	try "$engine" run --rm "$@" "$agile_image" sh -c "$agile_program" probe "$env"
	agile_status=$?
	if [ "$agile_status" -ne 42 ]; then
		printf '%s\n' --entrypoint sh >>"$env/options"
		"$engine" run --rm --entrypoint sh "$@" "$agile_image" -c "$agile_program" probe "$env" 2>&1
		agile_status=$?
	fi
	[ "$agile_status" -eq 42 ] && [ -w "$env/probe" ] && rm -f "$env/probe" && return 0
	case $agile_status in
	# The engine's own trouble, which it has told.
	125 | 126) ;;
	*) echo "the image needs a \`sh\` that can write as user $(id -u) in a folder of the server" ;;
	esac
	return 1
}

build_hint() {
	agile_tried=$(cat "$env/tried" 2>/dev/null)
	if [ -n "$image" ]; then
		echo "correct \`image\` in agile.toml, or log in to its registry on the server; there, try: $agile_tried"
	else
		mend_hint
	fi
}

run_environment() { :; }

# run_within: starts the run in a container that bears its id, and a number that tells it from the same run in another
# folder. No variable's value is an argument: those of the run are read from its folder, in the container.
run_within() {
	agile_container=$id.$(printf '%s' "$run" | cksum | tr -dc '0-9 ' | cut -d ' ' -f 1)
	put "$run/container" "$engine" "$agile_container" || return 1
	printf 'run=%s\ncontainer=%s\nset --' "$(word "$run")" "$agile_container"
	while IFS= read -r agile_option; do printf ' %s' "$(word "$agile_option")"; done <"$env/options"
	printf '\nengine=%s image=%s data=%s\n' "$(word "$engine")" "$(cat "$env/image")" "$(word "$base/data")"
	case $newline$(cat "$env/options")$newline in
	*"$newline--entrypoint$newline"*) printf 'shell=\n' ;;
	*) printf 'shell=sh\n' ;;
	esac
	cat <<'END'
set -- "$@" --name "$container" --workdir "$run/code" --volume "$run:$run" --volume "$data:$data:ro" --env "AGILE_RUN=${run##*/}" --env HOME=/tmp
for name in $(env | sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p'); do
	case $name in CUDA_VISIBLE_DEVICES | AGILE_SLOT | SLURM_*) set -- "$@" --env "$name" ;; esac
done
if [ -e /dev/nvidiactl ] || command -v nvidia-smi >/dev/null 2>&1; then
	case ${engine##*/} in podman) set -- "$@" --device nvidia.com/gpu=all ;; *) set -- "$@" --gpus all ;; esac
elif [ -e /dev/kfd ]; then
	set -- "$@" --device /dev/kfd --device /dev/dri
fi
exec "$engine" run --rm "$@" "$image" $shell -c '
run=$1
. "$run/environment"
cd "$run/code" || exit 97
[ $$ -eq 1 ] || exec sh "$run/command"
trap "kill -TERM -1 2>/dev/null" HUP INT TERM
sh "$run/command" &
while :; do
	wait $!
	code=$?
	kill -0 $! 2>/dev/null || exit $code
done' program "$run"
END
}
