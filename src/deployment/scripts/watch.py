"""Watches the metric that may end a run, while the run writes it.

A run's watcher starts it as `python3 -I -c PROGRAM RUNDIR RULE`, Python 3.6 or later. RULE is JSON: `metric`, `files`
(paths or gitignore-like patterns), and `below`, `above`, `patience`, `mode` where given. When the rule holds, the file
`rule` in RUNDIR says why, and the program ends; it also ends when whoever started it is gone. It makes the folder
`watching` in RUNDIR when it has begun.
"""
import csv
import glob
import json
import math
import os
import sys
import time

LARGEST = 64 << 20


class Judge:
    """The rule, and what it has seen of the metric."""

    def __init__(self, rule):
        self.metric = rule['metric']
        self.below, self.above = rule.get('below'), rule.get('above')
        self.patience, self.rising = rule.get('patience'), rule.get('mode') == 'max'
        self.best, self.stale = None, 0

    def verdict(self, value):
        """Why this value ends the run; None when it does not. NaN is no improvement and passes no threshold."""
        if self.below is not None and value < self.below:
            return '%s below %.12g (%.6g)' % (self.metric, self.below, value)
        if self.above is not None and value > self.above:
            return '%s above %.12g (%.6g)' % (self.metric, self.above, value)
        better = not math.isnan(value) and (
            self.best is None or (value > self.best if self.rising else value < self.best))
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)
        if self.patience is not None and self.stale >= self.patience:
            best = 'no number' if self.best is None else 'best %.6g' % self.best
            return '%s not better in %d values (%s)' % (self.metric, self.stale, best)
        return None


def number(value):
    """A JSON value as a float; None for what is no number. Texts count where JSON has no other way."""
    if isinstance(value, str):
        special = value[value.startswith('-'):].lower() in ('nan', 'inf', 'infinity')
        return float(value) if special else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def numbers(value, names, path=''):
    """The numbers called one of `names` in a JSON value, in order; nested names have dots between them."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from numbers(below, names, '%s.%s' % (path, key) if path else key)
    elif isinstance(value, list):
        for below in value:
            yield from numbers(below, names, path)
    elif (path or 'value') in names and number(value) is not None:
        yield number(value)


class Whole:
    """A JSON file that is written anew, or grows inside."""

    def __init__(self, path, names):
        self.path, self.names, self.seen, self.text = path, names, [], None

    def fresh(self):
        with open(self.path, encoding='utf-8', errors='replace') as file:
            text = file.read(LARGEST)
        found, at, decoder = [], 0, json.JSONDecoder()
        while True:
            while text[at:at + 1].isspace():
                at += 1
            try:
                value, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                break  # the end, or still being written
            found.extend(numbers(value, self.names))
        if not found or text == self.text:
            return []
        seen, self.seen, self.text = self.seen, found, text
        if repr(found[:len(seen)]) == repr(seen) and len(found) > len(seen):
            return found[len(seen):]
        return found[-1:] if len(found) == 1 or repr(found) != repr(seen) else []


class Lines:
    """A file that grows by lines; a last line without its end is left for later."""

    def __init__(self, path, names):
        self.path, self.names, self.offset, self.file = path, names, 0, None

    def fresh(self):
        with open(self.path, 'rb') as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self.file or status.st_size < self.offset:
                self.file, self.offset = status.st_ino, 0
            file.seek(self.offset)
            whole, feed, _ = file.read(LARGEST).rpartition(b'\n')
        first, self.offset = self.offset == 0, self.offset + len(whole) + len(feed)
        lines = whole.decode('utf-8', 'replace').splitlines() if feed else []
        return list(self.values(lines, first))


class JsonLines(Lines):
    def values(self, lines, first):
        for line in lines:
            try:
                yield from numbers(json.loads(line), self.names)
            except (ValueError, RecursionError):
                pass


class Table(Lines):
    delimiter, column = ',', None

    def values(self, lines, first):
        for row in csv.reader(lines, delimiter=self.delimiter):
            if first:
                heads = [head.strip().lstrip('\ufeff') for head in row]
                self.column = next((heads.index(n) for n in self.names if n in heads), None)
                first = False
            elif self.column is not None and self.column < len(row):
                try:
                    yield float(row[self.column])
                except ValueError:
                    pass


class Tabs(Table):
    delimiter = '\t'


READERS = {'.json': Whole, '.jsonl': JsonLines, '.ndjson': JsonLines, '.csv': Table, '.tsv': Tabs}


def meant(code, patterns):
    """The files that the patterns mean, each once. A pattern without a slash is one for every folder."""
    found = {}
    for pattern in patterns:
        pattern, out = pattern.lstrip('!'), pattern.startswith('!')
        anywhere = '/' not in pattern.rstrip('/') and any(c in pattern for c in '*?[')
        base = os.path.join(glob.escape(code), '**' if anywhere else '', pattern.strip('/'))
        for path in glob.glob(base, recursive=True):
            if out:
                found.pop(path, None)
            elif os.path.isfile(path):
                found[path] = None
    return sorted(found)


def follow(run, rule, watching):
    code, judge, readers, stamps = os.path.join(run, 'code'), Judge(rule), {}, {}
    # What the commit brings along is not this run's: its program starts when that has been read.
    is_old, pause = True, 0.2
    while watching():
        for path in meant(code, rule['files']):
            stem, ending = os.path.splitext(os.path.basename(path))
            kind = READERS.get(ending.lower())
            if kind is None:
                continue
            try:
                status = os.stat(path)
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
                if stamps.get(path) == stamp:
                    continue
                names = [rule['metric']]
                if rule['metric'].startswith(stem + '.'):
                    names.append(rule['metric'][len(stem) + 1:])
                reader = readers.setdefault(path, kind(path, names))
                fresh = reader.fresh()
            except OSError:
                continue  # replaced just now
            stamps[path] = stamp
            for value in [] if is_old else fresh:
                verdict = judge.verdict(value)
                if verdict:
                    return ' '.join(verdict.split())
        if is_old:
            os.mkdir(os.path.join(run, 'watching'))
            is_old = False
        time.sleep(pause)
        pause = min(pause * 1.5, 3)
    return None


def main():
    run, parent = sys.argv[1], os.getppid()
    verdict = follow(run, json.loads(sys.argv[2]), lambda: os.getppid() == parent)
    if verdict:
        with open(os.path.join(run, 'rule.tmp'), 'w', encoding='utf-8') as file:
            file.write(verdict + '\n')
        os.rename(os.path.join(run, 'rule.tmp'), os.path.join(run, 'rule'))


if __name__ == '__main__':
    main()
