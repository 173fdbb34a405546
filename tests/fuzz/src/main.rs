//! `cargo xtask fuzz` without guidance: random inputs for as long as one likes, and what failed as files.

use clap::Parser;
use fuzz::{TARGETS, Target, corpus, mutate::Mutator, target};
use std::{
    fs,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// An input that takes longer is kept as `slow-`.
const SLOW: Duration = Duration::from_secs(1);
/// Failures of one target, after which it is given up.
const ENOUGH: usize = 20;

/// Runs targets with random inputs. What fails is kept in a folder; exit status 1 says that something did.
#[derive(Debug, Parser)]
struct Arguments {
    /// Targets; all of them when none is named.
    targets: Vec<String>,
    /// Minutes for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Another seed gives other inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Targets at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Where failing inputs are kept, in a folder for each target.
    #[arg(long, default_value = "target/fuzz-findings")]
    out: PathBuf,
    /// Run this one input, and nothing else.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Print the names of all targets, and do nothing else.
    #[arg(long)]
    list: bool,
    /// Write the seeds into this folder, and the words beside it as `FOLDER.dict` in the form of libFuzzer; do nothing else.
    #[arg(long)]
    seeds: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many inputs failed.
fn run(arguments: &Arguments) -> Result<usize, String> {
    let named: Vec<&Target> = if arguments.targets.is_empty() {
        TARGETS.iter().collect()
    } else {
        let found = |name: &String| target(name).ok_or_else(|| format!("there is no target {name}; there are {}", names()));
        arguments.targets.iter().map(found).collect::<Result<_, _>>()?
    };
    if arguments.list {
        TARGETS.iter().for_each(|target| say(target.name));
        return Ok(0);
    }
    if let Some(folder) = &arguments.seeds {
        for target in named {
            write_seeds(target, folder).map_err(|e| e.to_string())?;
        }
        return Ok(0);
    }
    if let Some(path) = &arguments.input {
        let input = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        named.iter().for_each(|target| (target.run)(&input));
        return Ok(0);
    }
    let jobs = arguments.jobs.max(1);
    let mut failures = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|job| {
                let mine: Vec<&Target> = named.iter().skip(job).step_by(jobs).copied().collect();
                scope.spawn(move || mine.into_iter().map(|target| fuzz(target, arguments)).sum::<usize>())
            })
            .collect();
        failures = workers.into_iter().map(|worker| worker.join().unwrap_or(1)).sum();
    });
    Ok(failures)
}

fn names() -> String {
    TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ")
}

fn write_seeds(target: &Target, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, input) in corpus::seeds(target) {
        fs::write(folder.join(name), input)?;
    }
    let escaped = |word: &str| word.bytes().map(|b| format!("\\x{b:02x}")).collect::<String>();
    let words: String = target.words.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect();
    fs::write(folder.with_extension("dict"), words)
}

fn fuzz(target: &Target, arguments: &Arguments) -> usize {
    let inputs: Vec<Vec<u8>> = corpus::seeds(target).into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(arguments.seed, target.words);
    let started = Instant::now();
    let (mut runs, mut failures) = (0u64, 0);
    while started.elapsed().as_secs_f64() < arguments.minutes * 60.0 && failures < ENOUGH {
        let input = mutator.next(&inputs);
        let before = Instant::now();
        let result = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        runs += 1;
        let kind = match result {
            Err(_) => "crash",
            Ok(()) if before.elapsed() > SLOW => "slow",
            Ok(()) => continue,
        };
        failures += 1;
        let folder = arguments.out.join(target.name);
        let path = folder.join(format!("{kind}-{}-{runs}", arguments.seed));
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &input));
        say(&format!("{}: {kind}: {} {}", target.name, path.display(), kept.err().map_or(String::new(), |e| e.to_string())));
    }
    say(&format!("{}: {runs} inputs, {failures} failures", target.name));
    failures
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
