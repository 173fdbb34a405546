//! One message's life: what each process spends on it.

use super::{inbound, outbound};
use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    meter::Work,
    stack::Stack,
};

/// The same loads as of the cases that say how fast it is.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("life-inbound-1", |stack, scale| lived(stack, scale, |stack| inbound::one_session(stack, scale))).only_ours(),
        Case::new("life-inbound-10", |stack, scale| lived(stack, scale, |stack| inbound::ten_sessions(stack, scale))).only_ours(),
        Case::new("life-outbound-10", |stack, scale| lived(stack, scale, |stack| outbound::ten_sessions(stack, scale))).only_ours(),
    ]
}

fn lived(stack: &mut Stack, scale: Scale, work: impl FnOnce(&mut Stack) -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    let user = stack.fresh();
    let before = stack.meter.work_by_process();
    let mut outcome = work(stack)?;
    let each = |value: f64| value / outcome.operations;
    let mut figures = Vec::new();
    for (name, after) in stack.meter.work_by_process() {
        let Work { cpu_ms, wakes, reads_and_writes } = before.get(&name).copied().unwrap_or_default();
        if after.wakes.saturating_sub(wakes) < outcome.operations as u64 / 100 {
            continue;
        }
        figures.push(Figure::less(format!("{name}: CPU"), each(after.cpu_ms - cpu_ms), "ms"));
        figures.push(Figure::less(format!("{name}: wake-ups"), each(after.wakes.saturating_sub(wakes) as f64), "each"));
        figures.push(Figure::less(
            format!("{name}: file reads and writes"),
            each(after.reads_and_writes.saturating_sub(reads_and_writes) as f64),
            "each",
        ));
    }
    outcome.figures.truncate(1);
    outcome.figures.extend(figures);
    inbound::work_off(stack, user, scale)?;
    Ok(outcome)
}
