//! The table: medians over the rounds, what they ranged over, and how the two compare.

use crate::{
    Failure,
    case::{Better, Case, Run, quantile},
};
use std::io::Write;

/// The rows of one case.
pub(crate) fn case(out: &mut impl Write, case: &Case, runs: &[Run]) -> Result<(), Failure> {
    // Of the first figure and of the CPU, round by round.
    let mut headline: Vec<(Vec<f64>, Vec<f64>, Better)> = Vec::new();
    for server in servers(case.name, runs) {
        let own: Vec<&Run> = runs.iter().filter(|r| r.case == case.name && r.server == server).collect();
        let Some(first) = own.first() else { continue };
        let mut cells = Vec::new();
        for (number, figure) in first.figures.iter().enumerate() {
            let mut values: Vec<f64> = own.iter().filter_map(|r| r.figures.get(number)).map(|f| f.value).collect();
            let median = quantile(&mut values, 0.5);
            let (low, high) = (values.first().copied().unwrap_or(median), values.last().copied().unwrap_or(median));
            cells.push(format!("{} {} {} ({}-{})", figure.name, number_text(median), figure.unit, number_text(low), number_text(high)));
            if number == 0 {
                let rounds = own.iter().filter_map(|r| r.figures.first()).map(|f| f.value).collect();
                headline.push((rounds, own.iter().map(|r| r.cpu_seconds_per_1000).collect(), figure.better));
            }
        }
        let mut cpu: Vec<f64> = own.iter().map(|r| r.cpu_seconds_per_1000).collect();
        let peak = own.iter().map(|r| r.peak_pss_mib).fold(0.0, f64::max);
        let cpu = number_text(quantile(&mut cpu, 0.5));
        writeln!(out, "| {} | {server} | {} | {cpu} CPU-s per 1,000 | peak {peak:.0} MiB |", case.name, cells.join("; "))?;
    }
    if let [(ours, our_cpu, better), (peer, peer_cpu, _)] = headline.as_slice() {
        let figure = if *better == Better::More { ratio(ours, peer) } else { ratio(peer, ours) };
        let note = if case.note.is_empty() { String::new() } else { format!(" {} |", case.note) };
        writeln!(out, "| {} | ratio | {figure} | {} less CPU |{note}", case.name, ratio(peer_cpu, our_cpu))?;
    }
    Ok(())
}

/// How often one is the other: by the medians, and from the worst to the best round.
fn ratio(one: &[f64], other: &[f64]) -> String {
    let median = |values: &[f64]| quantile(&mut values.to_vec(), 0.5);
    let mut rounds: Vec<f64> = one.iter().zip(other).map(|(one, other)| one / other).collect();
    let (low, high) = (quantile(&mut rounds, 0.0), quantile(&mut rounds, 1.0));
    format!("{}x ({}-{})", number_text(median(one) / median(other)), number_text(low), number_text(high))
}

fn servers(case: &str, runs: &[Run]) -> Vec<&'static str> {
    let mut all: Vec<&'static str> = Vec::new();
    for run in runs.iter().filter(|r| r.case == case) {
        if !all.contains(&run.server) {
            all.push(run.server);
        }
    }
    all
}

/// Three digits that matter.
fn number_text(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_medians_and_ranges_over_rounds() {
        assert_eq!(ratio(&[100.0, 400.0, 300.0], &[100.0, 100.0, 50.0]), "3.00x (1.00-6.00)");
    }
}
