//! When each run that goes on was last seen. Its record changes only when the run does, so that this is kept beside it: a
//! file of lines `RUN TIME`, in seconds since 1970, that can be lost without harm.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use crate::development::records::Record;
use crate::development::repository::Repository;

/// The times of this clone.
pub(super) struct Seen {
    file: PathBuf,
    times: BTreeMap<String, String>,
}

impl Seen {
    pub fn load(repository: &Repository) -> Self {
        let file = repository.common_dir().join("agile").join("seen");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let parse = |line: &str| {
            let (run, time) = line.split_once(' ')?;
            Some((run.to_string(), time.to_string()))
        };
        Seen {
            times: text.lines().filter_map(parse).collect(),
            file,
        }
    }

    /// The record with the time at which its run was last seen.
    pub fn of(&self, mut record: Record) -> Record {
        let time = self.times.get(record.run.id.as_str());
        let time = time.and_then(|time| time.parse().ok());
        record.known.seen = record.known.seen.max(time);
        record
    }

    /// Keeps what `records` have come to say; of runs that have ended, nothing is kept.
    pub fn keep(mut self, records: &[Record]) {
        for record in records {
            let id = record.run.id.as_str();
            match record.known.seen.filter(|_| record.known.is_open()) {
                Some(time) => drop(self.times.insert(id.to_string(), time.to_string())),
                None => drop(self.times.remove(id)),
            }
        }
        let write = || -> std::io::Result<()> {
            let folder = self.file.parent().unwrap_or(&self.file);
            std::fs::create_dir_all(folder)?;
            let mut part = tempfile::NamedTempFile::new_in(folder)?;
            for (run, time) in &self.times {
                writeln!(part, "{run} {time}")?;
            }
            part.persist(&self.file)?;
            Ok(())
        };
        // Where nobody may write, the records say what they say.
        let _ = write();
    }
}
