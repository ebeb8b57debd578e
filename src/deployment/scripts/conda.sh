# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Environments of conda, mamba or micromamba. Uses environment.sh. The environment itself is envs/NAME/conda: these tools
# make the folder themselves.

choose_builder() {
	if ! find_conda; then
		answer_line hint "install miniforge or micromamba on the server; or write a requirements.txt: git agile requirements"
		fail environment "there is no conda, mamba or micromamba on the server"
	fi
	# Which Python it has is said in the commit's file.
	version="$kind $python"
	choose_file
}

# find_conda: `conda`, the program, and `kind`, which of them it is.
find_conda() {
	for kind in micromamba mamba conda; do
		find_conda_tool "$kind" || continue
		conda=$tool
		return 0
	done
	return 1
}

find_conda_tool() {
	find_tool "$1" "$HOME/micromamba/bin" "$HOME/miniforge3/bin" "$HOME/mambaforge/bin" "$HOME/miniconda3/bin" \
		"$HOME/anaconda3/bin" "$HOME/miniforge3/condabin" "$HOME/miniconda3/condabin" "$HOME/anaconda3/condabin" \
		/opt/conda/bin /opt/miniforge3/bin /opt/miniconda3/bin /opt/anaconda3/bin
}

# choose_file: `first`: the lock for this kind of machine, the lock for all kinds, or what they were made from.
choose_file() {
	case $(uname -sm) in
	'Linux x86_64') agile_platform=linux-64 ;;
	Linux\ *) agile_platform=linux-$(uname -m) ;;
	'Darwin arm64') agile_platform=osx-arm64 ;;
	*) agile_platform=osx-64 ;;
	esac
	if is_declared "conda-$agile_platform.lock"; then
		first=conda-$agile_platform.lock
	elif [ "$kind" = micromamba ] && is_declared conda-lock.yml; then
		first='conda-lock.yml'
	fi
}

is_declared() {
	case $newline$requirements in *"$newline$1$tab"*) return 0 ;; esac
	return 1
}

is_whole() { [ -d "$env/conda/conda-meta" ]; }

build() {
	cd "$env/declared" || return 1
	CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true
	export CONDA_ALWAYS_YES MAMBA_ALWAYS_YES
	case $kind,$first in
	micromamba,*) try "$conda" create -y -q -p "$env/conda" -f "$env/declared/$first" ;;
	*,*.lock) try "$conda" create -y -q -p "$env/conda" --file "$env/declared/$first" ;;
	*) try "$conda" env create -q -p "$env/conda" -f "$env/declared/$first" ;;
	esac && is_whole && has_python && conda_variables
}

# has_python: the Python that agile.toml asks for is the one that the commit's file brings.
has_python() {
	[ -n "$python" ] || return 0
	agile_found=$("$env/conda/bin/python" -V 2>&1)
	case $agile_found in "Python $python" | "Python $python."*) return 0 ;; esac
	echo "$first brings ${agile_found:-no Python}, and agile.toml asks for Python $python"
	return 1
}

# conda_variables: the variables that the environment sets, as `conda env config vars` and packages have noted them.
conda_variables() {
	for agile_python in "$env/conda/bin/python" python3 python; do
		"$agile_python" -c '
import glob, json, re, shlex, sys
prefix = sys.argv[1]
for path in sorted(glob.glob(prefix + "/etc/conda/env_vars.d/*.json")) + glob.glob(prefix + "/conda-meta/state"):
    with open(path) as file:
        found = json.load(file)
    for name, value in found.get("env_vars", {} if path.endswith("state") else found).items():
        if re.match("[A-Za-z_][A-Za-z0-9_]*$", name):
            print("export %s=%s" % (name, shlex.quote(str(value))))
' "$env/conda" | publish "$env/variables" && return 0
	done
	true | publish "$env/variables"
}

build_hint() { mend_hint; }

run_environment() {
	printf 'CONDA_PREFIX=%s\nexport CONDA_PREFIX\n' "$(word "$env/conda")"
	# shellcheck disable=SC2016 # expanded when it is sourced
	printf 'CONDA_DEFAULT_ENV=$CONDA_PREFIX CONDA_SHLVL=1 PATH="$CONDA_PREFIX/bin:$PATH"\nexport CONDA_DEFAULT_ENV CONDA_SHLVL PATH\n'
	cat "$env/variables"
}

# run_within: what packages want done in a shell that uses them, as `conda activate` does it. They write for bash.
run_within() {
	for agile_script in "$env"/conda/etc/conda/activate.d/*.sh; do
		[ -e "$agile_script" ] || return 0
		cat <<'END'
if [ -z "${BASH_VERSION-}" ] && command -v bash >/dev/null 2>&1; then exec bash "$0"; fi
for agile_script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do . "$agile_script"; done
exec sh "${0%/*}/command"
END
		return
	done
}
