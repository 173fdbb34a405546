//! What systemd itself says of the units.

use system::{Host, SERVICES, unit_files};

/// Exposure of the worst unit, in tenths; 0 is none, 100 is a service without any protection. SECURITY.md says what is left.
const MAX_EXPOSURE: &str = "1";
/// The same of a unit that opens connections, for its network and Internet sockets.
const MAX_EXPOSURE_WITH_NETWORK: &str = "8";

#[test]
fn systemd_finds_nothing_to_say_about_any_unit() {
    let Some(host) = Host::with_units().unwrap() else { return };
    let units = ["target", "slice", "socket", "service"].iter().flat_map(|kind| unit_files(kind).unwrap());
    let names: Vec<String> = units.map(|(name, _)| name).collect();
    let words = ["systemd-analyze", "verify", "--recursive-errors=one"].into_iter().chain(names.iter().map(String::as_str));
    let outcome = host.run(&words.collect::<Vec<_>>()).unwrap();
    assert!(outcome.success() && outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome:#?}");
}

#[test]
fn no_service_is_exposed() {
    let Some(host) = Host::with_units().unwrap() else { return };
    for service in SERVICES {
        let unit = service.unit();
        let most = if service.dials_out { MAX_EXPOSURE_WITH_NETWORK } else { MAX_EXPOSURE };
        let file = format!("/usr/lib/systemd/system/{unit}");
        let threshold = format!("--threshold={most}");
        let outcome = host.run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &threshold, &file]).unwrap();
        let verdict = outcome.stdout.lines().find(|l| l.contains("Overall exposure level")).unwrap_or_default().to_owned();
        println!("{verdict}");
        assert!(outcome.success() && !verdict.is_empty(), "{unit}: {outcome:#?}");
    }
}
