# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Virtual environments with what pip or uv installs into them. Uses environment.sh.

choose_builder() {
	case $manager in
	auto)
		if find_tool uv; then manager=uv; else manager=venv; fi
		;;
	uv)
		if ! find_tool uv; then
			answer_line hint "on the server: curl -LsSf https://astral.sh/uv/install.sh | sh; or set manager = \"venv\" in [environment]"
			fail environment "there is no uv on the server"
		fi
		;;
	virtualenv)
		if ! find_tool virtualenv; then
			answer_line hint "on the server: pipx install virtualenv; or set manager = \"venv\" in [environment]"
			fail environment "there is no virtualenv on the server"
		fi
		;;
	esac
	builder=${tool-}
	if [ "$manager" = pyenv ]; then find_pyenv; else find_python; fi
}

# python_version: `version`, what `interpreter` says of itself, and the platform as Python calls it. Starting it to run
# something would take ten times as long.
python_version() {
	version=$("$interpreter" -V 2>/dev/null)
	case $version in
	'Python '[0-9]*) version=${version#Python } ;;
	*) return 1 ;;
	esac
	version=${version%%[!0-9.]*}
	case $machine in
	Darwin*) version="$version darwin" ;;
	Linux*) version="$version linux" ;;
	*) version="$version ${machine%% *}" ;;
	esac
}

# find_python: `interpreter`, the one asked for, and `version`.
find_python() {
	for interpreter in ${python:+"python$python" "python${python%.*}"} python3 python; do
		python_version || continue
		case $version in
		"$python" | "$python."* | "$python "*) return 0 ;;
		[3-9]*) [ -n "$python" ] || return 0 ;;
		esac
	done
	if newest_pyenv && interpreter=$pyenv/versions/$newest/bin/python && python_version; then
		return 0
	fi
	if [ "$manager" = uv ]; then
		# uv finds or downloads the Python it is asked for.
		interpreter=${python:-3}
		version="$interpreter uv"
		return 0
	fi
	if command -v python3 >/dev/null 2>&1; then
		fail python "there is no Python ${python:-3} on the server (python3 is $(python3 -V 2>&1))"
	fi
	fail python "there is no python3 on the server"
}

# find_pyenv: the interpreter that pyenv has for the version asked for.
find_pyenv() {
	if newest_pyenv && interpreter=$pyenv/versions/$newest/bin/python && python_version; then
		return 0
	fi
	if [ ! -d "$pyenv/versions" ]; then
		answer_line hint "install pyenv on the server, then there: pyenv install ${python:-3}; or set manager = \"auto\" in [environment]"
		fail environment "there is no pyenv in $pyenv on the server"
	fi
	answer_line hint "on the server: pyenv install ${python:-3}"
	fail environment "pyenv has no Python ${python:-3} on the server"
}

# newest_pyenv: `newest`, the newest release in `pyenv`'s folder of the version asked for; without one, the person's global choice.
newest_pyenv() {
	pyenv=${PYENV_ROOT:-$HOME/.pyenv}
	newest=
	if [ -z "$python" ] && [ -s "$pyenv/version" ]; then
		read -r newest agile_rest <"$pyenv/version"
		[ ! -x "$pyenv/versions/$newest/bin/python" ] || return 0
	fi
	newest=$(
		for agile_folder in "$pyenv/versions/${python:-3}"*; do
			agile_folder=${agile_folder##*/}
			case $agile_folder in
			*[!0-9.]*) ;;
			"${python:-3}" | "${python:-3}".*) [ ! -x "$pyenv/versions/$agile_folder/bin/python" ] || echo "$agile_folder" ;;
			esac
		done | sort -t . -k 1,1n -k 2,2n -k 3,3n | tail -n 1
	)
	[ -n "$newest" ]
}

is_whole() { [ -x "$env/bin/python" ]; }

# build: at its final path, since a virtual environment cannot be moved.
build() {
	make_venv || return 1
	cd "$env/declared" || return 1
	uv_options=
	[ "$manager" != uv ] || use_settings_of_pip
	if [ "$manager" = pipenv ]; then
		install_pipfile
	elif [ -n "$first$dependencies" ]; then
		install_requirements
	fi
}

make_venv() {
	case $manager in
	uv) try "$builder" venv -q --allow-existing --python "$interpreter" "$env" ;;
	virtualenv) try "$builder" -q -p "$interpreter" "$env" ;;
	*)
		if [ -z "$first$dependencies" ]; then
			try "$interpreter" -m venv --without-pip "$env"
		else
			try "$interpreter" -m venv "$env"
		fi
		;;
	esac
}

install_requirements() {
	set --
	if [ -n "$first" ]; then
		case $first in */*) cd "${first%/*}" || return 1 ;; esac
		set -- -r "$env/declared/$first"
		if grep -q '^[^#]*--hash[ =]' "$env/declared/$first"; then set -- --require-hashes "$@"; fi
	fi
	[ -z "$dependencies" ] || set -- "$@" -r "$env/declared/project-requirements.txt"
	install "$@"
}

# install_pipfile: what Pipfile.lock lists, which is all that is needed, so nothing else is looked for.
install_pipfile() {
	"$interpreter" -c "$pipfile" Pipfile.lock locked.txt sources.txt || return 1
	[ ! -s locked.txt ] || install --require-hashes --no-deps -r "$env/declared/locked.txt" || return 1
	# What comes from a repository has no hash, which pip takes for all or for none.
	[ ! -s sources.txt ] || install --no-deps -r "$env/declared/sources.txt"
}

install() {
	if [ "$manager" = uv ]; then
		try "$builder" pip install --no-progress ${uv_options:+"$uv_options"} --python "$env/bin/python" "$@"
	else
		try "$env/bin/python" -m pip --no-input --disable-pip-version-check install "$@"
	fi
}

# use_settings_of_pip: uv reads none of pip's configuration, where a server's own index is named.
use_settings_of_pip() {
	[ -z "${UV_INDEX_URL-}${UV_DEFAULT_INDEX-}${UV_EXTRA_INDEX_URL-}${UV_INDEX-}${UV_FIND_LINKS-}${UV_CONFIG_FILE-}" ] || return 0
	[ ! -e "${XDG_CONFIG_HOME:-$HOME/.config}/uv/uv.toml" ] && [ ! -e /etc/uv/uv.toml ] || return 0
	eval "$("$env/bin/python" -c '
import configparser, os, shlex
home = os.path.expanduser
config = os.environ.get("XDG_CONFIG_HOME") or home("~/.config")
files = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", home("~/.pip/pip.conf"), config + "/pip/pip.conf"]
files.append(os.environ.get("PIP_CONFIG_FILE", ""))
parser = configparser.RawConfigParser(strict=False)
parser.read(files)
def setting(name):
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"), "")
    for section in ("install", "global"):
        value = value or parser.get(section, name, fallback="")
    return value.split()
def export(name, values, separator):
    if values:
        print("export %s=%s" % (name, shlex.quote(separator.join(values))))
export("UV_INDEX_URL", setting("index-url"), " ")
export("UV_EXTRA_INDEX_URL", setting("extra-index-url"), " ")
export("UV_FIND_LINKS", setting("find-links"), ",")
export("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE", "").split() or setting("cert"), " ")
if setting("no-index") in (["true"], ["1"], ["yes"], ["on"]):
    print("uv_options=--no-index")
export("UV_INSECURE_HOST", setting("trusted-host"), " ")
')"
}

build_hint() {
	if grep -q 'ensurepip' "$env/build.log" 2>/dev/null; then
		echo "install the venv module on the server (Debian, Ubuntu: sudo apt install python3-venv); or install uv there"
	else
		mend_hint
	fi
}

run_environment() {
	printf 'VIRTUAL_ENV=%s\nexport VIRTUAL_ENV\n' "$(word "$env")"
	# shellcheck disable=SC2016 # expanded when it is sourced
	printf 'PATH="$VIRTUAL_ENV/bin:$PATH"\nexport PATH\n'
}

run_within() { :; }
