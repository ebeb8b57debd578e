//! Curves, and how they grow while a file is read.

use indexmap::IndexMap;

/// The most names that one file may use.
const MOST_NAMES: usize = 10_000;
/// The most values that one file may hold.
const MOST_VALUES: usize = 4_000_000;
/// The longest name in bytes, with the dots in it.
const LONGEST_NAME: usize = 500;
/// The names of a record's place on the axis, the finest first; a batch begins anew with each epoch, or is its size.
const AXES: [&str; 9] = [
    "step",
    "global_step",
    "trainer/global_step",
    "_step",
    "iteration",
    "iter",
    "epoch",
    "epochs",
    "batch",
];

/// Every value of one metric in the order written, NaN and infinities among them; never empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// What [`steps`](Curve::steps) count: `step`, `epoch`, …; empty when the file does not say, and the values are
    /// numbered from 1.
    pub axis: String,
    /// The place of each value on the axis.
    pub steps: Vec<f64>,
    /// The values.
    pub values: Vec<f64>,
}

impl Curve {
    /// The last value.
    pub fn last(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    /// Adds what a later file of the same log holds. A program that was started again repeats steps: those it wrote
    /// before are dropped then, as TensorBoard does.
    pub(super) fn append(&mut self, later: Curve) {
        if let Some(first) = later.steps.first().filter(|_| !self.axis.is_empty()) {
            let kept = self.steps.iter().take_while(|step| *step < first).count();
            self.steps.truncate(kept);
            self.values.truncate(kept);
        }
        self.steps.extend(later.steps);
        self.values.extend(later.values);
        if self.axis.is_empty() {
            self.number();
        }
    }

    fn number(&mut self) {
        self.axis.clear();
        self.steps = (1..=self.values.len()).map(|place| place as f64).collect();
    }
}

/// The metrics of a file, of a run, by name in the order in which they were first written.
pub type Curves = IndexMap<String, Curve>;

/// What a file gave: its curves, and what stopped the reading or was left out.
pub(super) type Reading = (Curves, Option<String>);

/// Whether `name` says where a record stands, and how coarsely.
pub(super) fn axis_rank(name: &str) -> Option<usize> {
    AXES.iter().position(|axis| name.eq_ignore_ascii_case(axis))
}

/// Takes the numbers of one file, record by record.
#[derive(Default)]
pub(super) struct Collector {
    curves: IndexMap<String, Growing>,
    /// The names on the way to where the reader is, with dots between them.
    path: String,
    /// The numbers of the records that are not complete, by place in `curves`.
    pending: Vec<(usize, f64)>,
    /// Those of the record that was complete last and was part of no other.
    ended: Vec<(usize, f64)>,
    values: usize,
    /// The place in `curves` that the next number probably has.
    next: usize,
    /// How deep the deepest name lies that gave a record its place.
    depth: usize,
}

#[derive(Default)]
struct Growing {
    curve: Curve,
    rank: Option<(usize, usize)>,
    /// The place in `curves` of what gave its first value a place.
    axis: Option<usize>,
    /// Whether a value came without a place on the axis.
    unplaced: bool,
}

impl Collector {
    /// Goes one name deeper; [`leave`](Collector::leave) with what it gives goes back.
    pub fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }

    pub fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    /// A number where the reader is.
    ///
    /// # Errors
    /// When the file holds too much.
    pub fn number(&mut self, value: f64) -> Result<(), String> {
        // Records repeat their names in the same order.
        let is_next = |(name, _): (&String, _)| *name == self.path;
        let index = match self.curves.get_index(self.next).is_some_and(is_next) {
            true => Some(self.next),
            false => self.curves.get_index_of(self.path.as_str()),
        };
        let index = match index {
            Some(index) => index,
            None => {
                let name = if self.path.is_empty() {
                    "value"
                } else {
                    &self.path
                };
                let name = name.to_string();
                self.name(&name)?
            }
        };
        self.next = index + 1;
        self.add(index, value)
    }

    /// The place of a name, for [`add`](Collector::add).
    ///
    /// # Errors
    /// When the file has too many names.
    pub fn name(&mut self, name: &str) -> Result<usize, String> {
        if let Some(index) = self.curves.get_index_of(name) {
            return Ok(index);
        }
        if self.curves.len() == MOST_NAMES {
            return Err(format!("more than {MOST_NAMES} names"));
        }
        if name.len() > LONGEST_NAME {
            return Err(format!("a name is longer than {LONGEST_NAME} bytes"));
        }
        let depth = name.matches('.').count();
        let growing = Growing {
            // The `best.epoch` that a record tells is no place of its own, where it has an `epoch`.
            rank: axis_rank(last_name(name)).map(|rank| (depth, rank)),
            ..Growing::default()
        };
        Ok(self.curves.insert_full(name.to_string(), growing).0)
    }

    /// A number of the current record under a name that [`name`](Collector::name) has placed.
    ///
    /// # Errors
    /// When the file holds too much.
    pub fn add(&mut self, index: usize, value: f64) -> Result<(), String> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(format!("more than {MOST_VALUES} values"));
        }
        self.pending.push((index, value));
        Ok(())
    }

    /// Begins a record; [`end`](Collector::end) with what it gives ends it.
    pub fn begin(&mut self) -> usize {
        self.next = 0;
        self.pending.len()
    }

    /// Gives the numbers since `start` their place: that of the record's own step or epoch.
    pub fn end(&mut self, start: usize) {
        let record = &self.pending[start..];
        let ranked = record
            .iter()
            .filter_map(|&(index, value)| Some((self.curves[index].rank?, index, value)));
        let place = ranked.min_by_key(|&(rank, ..)| rank);
        // A step that a list gives again and again is no place of the record.
        let place = place.filter(|&(_, axis, _)| {
            record.iter().filter(|&&(index, _)| index == axis).count() == 1
        });
        if let Some(((depth, _), ..)) = place {
            self.depth = self.depth.max(depth);
        }
        for at in start..self.pending.len() {
            let (index, value) = self.pending[at];
            let growing = &mut self.curves[index];
            growing.curve.values.push(value);
            match place {
                Some((_, _, step)) => growing.curve.steps.push(step),
                None => growing.unplaced = true,
            }
            if let (Some((_, axis, _)), 1) = (place, growing.curve.values.len()) {
                let axis = self
                    .curves
                    .get_index(axis)
                    .map(|(name, _)| last_name(name).to_string());
                self.curves[index].curve.axis = axis.unwrap_or_default();
                self.curves[index].axis = place.map(|(_, axis, _)| axis);
            }
        }
        if start == 0 {
            std::mem::swap(&mut self.pending, &mut self.ended);
        }
        self.pending.truncate(start);
    }

    /// How many numbers have come.
    pub fn count(&self) -> usize {
        self.values
    }

    /// The last record, if it is all that has come since the first `before` numbers.
    pub fn only_record(&self, before: usize) -> Option<&[(usize, f64)]> {
        let is_all = self.pending.is_empty() && self.values - before == self.ended.len();
        is_all.then_some(&self.ended)
    }

    /// Forgets the numbers since `start`, of a record that turned out damaged.
    pub fn give_up(&mut self, start: usize) {
        self.values -= self.pending.len() - start;
        self.pending.truncate(start);
        self.path.clear();
    }

    /// The curves. What says only where the records stand is none, unless there is a single record.
    pub fn finish(mut self, damage: Option<String>) -> Reading {
        self.end(0);
        let lists: Vec<(String, Vec<f64>)> = self
            .curves
            .iter()
            .filter(|(_, growing)| growing.rank.is_some() && growing.unplaced)
            .map(|(name, growing)| (name.clone(), growing.curve.values.clone()))
            .collect();
        // The `best.epoch` of a record stays for a while, and is no place of its own.
        let is_false = |growing: &Growing| {
            let is_nested = growing.rank.is_some_and(|(depth, _)| depth > 0);
            let mut pairs = growing.curve.values.windows(2);
            is_nested && !pairs.all(|pair| pair[0] < pair[1])
        };
        let false_axes: Vec<bool> = self.curves.values().map(is_false).collect();
        let only_axes = self.curves.values().all(|growing| growing.rank.is_some());
        let mut curves = Curves::with_capacity(self.curves.len());
        for (index, (name, mut growing)) in self.curves.into_iter().enumerate() {
            let length = growing.curve.values.len();
            let is_axis = growing
                .rank
                .is_some_and(|(depth, _)| depth <= self.depth && !false_axes[index]);
            if length == 0 || (is_axis && length > 1 && !only_axes) {
                continue;
            }
            if growing.axis.is_some_and(|axis| false_axes[axis]) {
                growing.curve.number();
            }
            if growing.unplaced {
                growing.curve.number();
                // Lists side by side, `{"epoch": [1, 2], "loss": [0.5, 0.25]}`.
                let list = lists
                    .iter()
                    .find(|(axis, steps)| steps.len() == length && is_beside(&name, axis));
                if let Some((axis, steps)) = list.filter(|_| length > 1) {
                    growing.curve.axis = last_name(axis).to_string();
                    growing.curve.steps = steps.clone();
                }
            }
            curves.insert(name, growing.curve);
        }
        (curves, damage)
    }
}

/// Whether `name` begins as `axis` does, up to its last part.
fn is_beside(name: &str, axis: &str) -> bool {
    name.starts_with(&axis[..axis.len() - last_name(axis).len()])
}

fn last_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
