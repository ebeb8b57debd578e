# Turns Pipfile.lock into requirements for pip: those with hashes, and those from repositories, which have none.
import json
import sys

lock, locked, sources = sys.argv[1:]
with open(lock, encoding="utf-8") as file:
    lock = json.load(file)


def marked(line, entry):
    return line + (" ; " + entry["markers"] if entry.get("markers") else "")


def requirement(name, entry):
    extras = "[" + ",".join(entry["extras"]) + "]" if entry.get("extras") else ""
    for system in ("git", "hg", "svn", "bzr"):
        if system in entry:
            address = system + "+" + entry[system] + ("@" + entry["ref"] if entry.get("ref") else "")
            folder = "#subdirectory=" + entry["subdirectory"] if entry.get("subdirectory") else ""
            return False, marked(name + extras + " @ " + address + folder, entry)
    if entry.get("path"):
        if entry["path"].rstrip("/") in (".", "./", ""):
            return None
        sys.exit("Pipfile.lock: " + name + " is installed from " + entry["path"] + ", a folder of the commit")
    if entry.get("file"):
        line = name + extras + " @ " + entry["file"]
    else:
        line = name + extras + entry.get("version", "").replace("*", "")
    line = marked(line, entry)
    hashes = "".join(" --hash=" + digest for digest in entry.get("hashes", []))
    return bool(hashes), line + hashes


options = []
for number, source in enumerate(lock.get("_meta", {}).get("sources", [])):
    # Pipenv's name for the public index, which is what pip asks by itself, or what the server has in its place.
    if source.get("name") != "pypi":
        options.append(("--extra-index-url " if number else "--index-url ") + source["url"])

found = [requirement(name, entry) for name, entry in sorted(lock.get("default", {}).items())]
for path, has_hashes in ((locked, True), (sources, False)):
    lines = [line for kind, line in filter(None, found) if kind == has_hashes]
    if any("\n" in line or "\r" in line for line in lines + options):
        sys.exit("Pipfile.lock: a line break in a requirement")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(options + lines + [""]) if lines else "")
