//! What a case is, and what comes out of a run of one.

use crate::{Failure, stack::Stack};
use serde::Serialize;

type Work = dyn Fn(&mut Stack, Scale) -> Result<Outcome, Failure>;

/// One thing to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Nothing of the peer's compares with it.
    pub(crate) only_ours: bool,
    /// What a reader of the table must know.
    pub(crate) note: &'static str,
    work: Box<Work>,
}

impl Case {
    pub(crate) fn new(name: &'static str, work: impl Fn(&mut Stack, Scale) -> Result<Outcome, Failure> + 'static) -> Self {
        Self { name, only_ours: false, note: "", work: Box::new(work) }
    }

    pub(crate) fn only_ours(mut self) -> Self {
        self.only_ours = true;
        self
    }

    pub(crate) fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    pub(crate) fn run(&self, stack: &mut Stack, scale: Scale) -> Result<Outcome, Failure> {
        (self.work)(stack, scale)
    }
}

/// Real figures, or the smallest numbers that prove that a case works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
    /// Also the sizes that take an hour to fill.
    pub(crate) large: bool,
}

impl Scale {
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Whether a larger value is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    More,
    Less,
}

/// One measured value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

impl Figure {
    pub(crate) fn more(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, better: Better::More }
    }

    pub(crate) fn less(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, better: Better::Less }
    }
}

/// What one run of a case came to. The first figure is the one that is compared.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    /// What `cpu_seconds` was spent on.
    pub(crate) operations: f64,
    /// Of all server processes.
    pub(crate) cpu_seconds: f64,
}

/// One run, as it stands in the JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) case: &'static str,
    pub(crate) server: &'static str,
    pub(crate) figures: Vec<Figure>,
    pub(crate) cpu_seconds_per_1000: f64,
    pub(crate) peak_pss_mib: f64,
    pub(crate) processes: usize,
}

/// Seconds to milliseconds, for figures.
pub(crate) const MS: f64 = 1e3;

/// The value below which this share of them lies; they are sorted here.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get(((values.len() as f64 * share) as usize).min(last)).copied().unwrap_or(f64::NAN)
}
