# Downloads URL to FILE, continuing what is there. A redirect may not lead from https to http.
import os
import shutil
import sys
import urllib.error
import urllib.request

url, path = sys.argv[1:]
allowed = ("https://",) if url.startswith("https://") else ("https://", "http://")


class Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, body, code, message, headers, new):
        if not new.lower().startswith(allowed):
            sys.exit("redirected to " + new)
        return super().redirect_request(request, body, code, message, headers, new)


def fetch(offset):
    headers = {"User-Agent": "git-agile"}
    if offset:
        headers["Range"] = "bytes=%d-" % offset
    opener = urllib.request.build_opener(Redirects)
    with opener.open(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        continues = offset and answer.status == 206
        expected = answer.headers.get("Content-Length")
        with open(path, "ab" if continues else "wb") as file:
            start = file.tell()
            shutil.copyfileobj(answer, file, 1 << 20)
            if expected is not None and file.tell() - start != int(expected):
                sys.exit("the connection ended early")


try:
    try:
        fetch(os.path.getsize(path) if os.path.exists(path) else 0)
    except urllib.error.HTTPError as error:
        # Nothing follows what is there: it may be complete, or something else.
        if error.code != 416:
            raise
        fetch(0)
except (OSError, ValueError) as error:
    sys.exit(str(error))
