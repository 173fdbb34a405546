//! What the server holds while nobody asks anything of it.

use crate::{
    Failure,
    case::{Case, Figure, Outcome, Scale},
    mib,
    stack::Stack,
};
use std::time::Duration;

/// Before the first case.
pub(super) fn fresh() -> Case {
    Case::new("memory-fresh", |stack, _| at(stack))
}

/// Once the server is quiet after all cases before it, and a while later.
pub(super) fn after() -> Case {
    Case::new("memory-after", |stack, scale| {
        let mut outcome = at(stack)?;
        rest(stack, scale)?;
        outcome.figures.push(Figure::less("after a minute", mib(stack.meter.pss()), "MiB"));
        Ok(outcome)
    })
}

fn rest(stack: &Stack, scale: Scale) -> Result<(), Failure> {
    std::thread::sleep(Duration::from_secs(scale.pick(60, 0)));
    stack.meter.settle(Duration::from_secs(scale.pick(30, 0)))
}

fn at(stack: &mut Stack) -> Result<Outcome, Failure> {
    let mut figures = vec![Figure::less("all processes", mib(stack.meter.pss()), "MiB")];
    for (name, (count, pss)) in stack.meter.pss_by_name() {
        figures.push(Figure::less(format!("{count} {name}"), mib(pss), "MiB"));
    }
    if figures.len() < 2 {
        return Err("no process is left".into());
    }
    Ok(Outcome { figures, operations: 1.0, cpu_seconds: 0.0 })
}
