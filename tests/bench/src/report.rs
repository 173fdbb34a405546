//! The table: medians over the rounds, what they ranged over, and how the two compare.

use crate::{
    Failure,
    case::{Better, Case, Run, quantile},
};
use std::io::Write;

/// The rows of one case.
pub(crate) fn case(out: &mut impl Write, case: &Case, runs: &[Run]) -> Result<(), Failure> {
    let mut headline: Vec<(f64, f64, Better)> = Vec::new();
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
                let mut cpu: Vec<f64> = own.iter().map(|r| r.cpu_seconds_per_1000).collect();
                headline.push((median, quantile(&mut cpu, 0.5), figure.better));
            }
        }
        let mut cpu: Vec<f64> = own.iter().map(|r| r.cpu_seconds_per_1000).collect();
        let peak = own.iter().map(|r| r.peak_pss_mib).fold(0.0, f64::max);
        let cpu = number_text(quantile(&mut cpu, 0.5));
        writeln!(out, "| {} | {server} | {} | {cpu} CPU-s per 1,000 | peak {peak:.0} MiB |", case.name, cells.join("; "))?;
    }
    if let [(ours, our_cpu, better), (peer, peer_cpu, _)] = headline.as_slice() {
        let ratio = if *better == Better::More { ours / peer } else { peer / ours };
        let note = if case.note.is_empty() { String::new() } else { format!(" {} |", case.note) };
        writeln!(out, "| {} | ratio | {}x | {}x less CPU |{note}", case.name, number_text(ratio), number_text(peer_cpu / our_cpu))?;
    }
    Ok(())
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
