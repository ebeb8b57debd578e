# shellcheck shell=sh disable=SC2034,SC2154,SC2015,SC2088
# Uses nothing.

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
