# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# The commit's own project in a run, as after `pip install --editable`: importable from the run's code, found by
# importlib.metadata, its programs on PATH; the environment, which other commits share, has nothing of it. Uses lib.sh.
#
# runs/ID/project/   NAME-VERSION.dist-info/ and bin/

# prepare_project: what the run's folder needs for that. `project` has a line `file PATH` for each file, and the file's own
# lines below it, each after a blank.
prepare_project() {
	rm -rf "$run/project"
	mkdir -p "$run/project/bin" && printf '%s' "$project" | while IFS= read -r agile_entry; do
		case $agile_entry in
		'file '*)
			agile_file=$run/project/${agile_entry#file }
			mkdir -p "${agile_file%/*}" && true >"$agile_file" || exit 1
			case $agile_entry in 'file bin/'*) chmod +x "$agile_file" ;; esac
			;;
		*) printf '%s\n' "${agile_entry# }" >>"$agile_file" || exit 1 ;;
		esac
	done
}

# project_variables: exports for the run.
project_variables() {
	agile_path=$(printf '%s' "$imports" | while IFS= read -r agile_import; do
		case $agile_import in
		.) printf '%s:' "$run/code" ;;
		*) printf '%s:' "$run/code/$agile_import" ;;
		esac
	done)
	# shellcheck disable=SC2016 # expanded when it is sourced
	printf 'PYTHONPATH=%s"${PYTHONPATH:+:$PYTHONPATH}"\nexport PYTHONPATH\n' "$(word "$agile_path$run/project")"
	# shellcheck disable=SC2016 # expanded when it is sourced
	printf 'PATH=%s:"$PATH"\nexport PATH\n' "$(word "$run/project/bin")"
}
