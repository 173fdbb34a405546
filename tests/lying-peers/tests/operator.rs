//! A taken-over auth, queue or keys, and the operator who asks it: whatever it answers, the command ends with one line that says so, what
//! it prints is made of lines and nothing else, and it stays small.

use lying_peers::{Asked, Middle, RESPONSE, Say, Shape, Source, answers, frame, shapes};
use pure_addr::ReversePath;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};
use test_support::{Appliance, World, binaries, peak};
use wire::{
    Edge, List,
    edge::{
        auth_control::AuthControl,
        keys_control::KeysControl,
        mail::QueueId,
        queue_control::{Message, QueueControl, Response},
    },
    encode,
};

/// Valid values, made up, for each question.
const MADE_UP: u64 = 30;
/// KiB that the command may have used at its most.
const MOST_KIB: u64 = 64 * 1024;

fn shape(edge: &str) -> Shape {
    shapes().into_iter().find(|shape| shape.edge == edge && shape.what == "response").unwrap()
}

/// What a person sees is made of lines.
fn look(what: &str, output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let good = |text: &str| !text.chars().any(|c| c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')));
    assert!(good(&out) && good(&err), "{what}: {out:?} {err:?}");
    assert!(!err.contains("panicked") && output.status.code().is_some(), "{what}: {err}");
    (out, err)
}

/// One question after the other, each answered by all lies.
fn lied_to(edge: &'static str, questions: &[&[&str]]) {
    let appliance = Appliance::start(&World::mta_test());
    let middle = Middle::start(&appliance, edge);
    for question in questions {
        lied_to_about(&appliance, &middle, edge, question);
    }
}

fn lied_to_about(appliance: &Appliance, middle: &Middle, edge: &'static str, question: &[&str]) {
    let truth = || look("the truth", &appliance.postern(question, ""));
    let said = truth();
    assert!(!said.0.is_empty() || said.1.contains("is in the spool"), "{question:?}");
    let count = answers(&shape(edge), &shapes(), &[], 1, &mut Source::new(17)).len();
    assert!(count > 20, "{edge}");
    for number in 0..count {
        let make = move |id| answers(&shape(edge), &shapes(), &[], id, &mut Source::new(17)).swap_remove(number);
        let what = make(1).0;
        let before = middle.told().0;
        middle.says(Say::Answer(Box::new(move |asked: &Asked| Some(make(asked.id).1))));
        let output = appliance.postern(question, "");
        let (out, err) = look(what, &output);
        assert!(middle.told().0 > before, "{question:?} asks somebody else");
        assert_eq!((output.status.code(), out.as_str(), err.lines().count()), (Some(1), "", 1), "{edge}: {what}: {err}");
        middle.says(Say::Truth);
    }
    assert_eq!(truth().0.lines().count(), said.0.lines().count());
    for seed in 0..MADE_UP {
        middle.says(Say::Instead(Box::new(move |asked: &Asked| {
            let shape = shape(edge);
            let body = (shape.make)(&mut Source::new(seed << 32 | u64::from(asked.id))).unwrap();
            Some(frame(RESPONSE, 0, asked.id, &body))
        })));
        let output = appliance.postern(question, "");
        let (out, err) = look(&format!("made up from {seed}"), &output);
        assert_eq!(output.status.success(), err.is_empty(), "{edge}: {seed}: {out} {err}");
    }
    middle.says(Say::Truth);
}

#[test]
fn auth_lies_to_the_operator() {
    lied_to(AuthControl::NAME, &[&["account", "list"], &["domain", "list"], &["alias", "list"]]);
}

#[test]
fn queue_lies_to_the_operator() {
    lied_to(QueueControl::NAME, &[&["queue", "list"], &["queue", "show", "1"], &["queue", "trace", "1"]]);
}

#[test]
fn keys_lies_to_the_operator() {
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), &World::mta_test().config).unwrap();
    let dns = ["dns", "--config", config.path().to_str().unwrap(), "mta.test"];
    lied_to(KeysControl::NAME, &[&["dkim", "list", "mta.test"], &dns]);
}

/// A queue that always has one message more: what it says is printed and not collected.
#[test]
fn a_list_without_an_end_takes_no_memory() {
    let appliance = Appliance::start(&World::mta_test());
    let middle = Middle::start(&appliance, QueueControl::NAME);
    for arguments in [&["queue", "list"][..], &["queue", "list", "--json"]] {
        let next = AtomicU64::new(1);
        middle.says(Say::Instead(Box::new(move |asked: &Asked| {
            let message = || Message {
                id: QueueId(next.fetch_add(1, Ordering::SeqCst)),
                received_at: 0,
                size: 1,
                reverse_path: ReversePath::Null,
                account: None,
                waiting: 1,
            };
            let messages = List::new((0..500).map(|_| message()).collect()).unwrap();
            Some(frame(RESPONSE, 0, asked.id, &encode(&Response::Messages(messages)).unwrap()))
        })));
        let mut command = std::process::Command::new(binaries().join("postern"));
        command.args(["--edges", appliance.state().join("run").to_str().unwrap()]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines = said.by_ref().take(300_000).map(Result::unwrap).count();
        let peak = peak(child.id());
        // Who reads its output goes.
        drop(said);
        assert!(!child.wait().unwrap().success());
        assert!(lines == 300_000 && peak < MOST_KIB, "{arguments:?}: {lines} lines, {peak} KiB");
    }
    middle.says(Say::Truth);
}
