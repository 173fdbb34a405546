//! `postern queue`.

use crate::{
    Failure,
    control::Control,
    directory::{Output, Table, table, unexpected},
    say,
};
use clap::{Args, Subcommand};
use pure_addr::{Address, Text};
use serde_json::{Value, json};
use std::path::Path;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use wire::edge::{
    mail::QueueId,
    queue_control::{Action, Attempts, Filter, Message, QueueControl, Recipient, Request, Response},
    send_deliver::Remote,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List the messages in the spool.
    List {
        #[command(flatten)]
        some: Part,
        #[command(flatten)]
        output: Output,
    },
    /// Show one message and the recipients it waits for.
    Show {
        /// Its number, as `list` prints it.
        #[arg(value_parser = number)]
        id: QueueId,
        #[command(flatten)]
        output: Output,
    },
    /// Show the last attempts to deliver one message.
    Trace {
        /// Its number.
        #[arg(value_parser = number)]
        id: QueueId,
        #[command(flatten)]
        output: Output,
    },
    /// Try messages that wait again now.
    Retry(Which),
    /// Leave messages in the spool until they are released.
    Hold(Which),
    /// Let messages go that are held; with --account, also let the account send again.
    Release(Which),
    /// Take messages out of the spool for good, without telling their senders.
    Delete(Which),
    /// Try everything that waits again now.
    Flush(Output),
}

/// Some of the messages, or all.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Part {
    /// Those that this account submitted.
    #[arg(long)]
    account: Option<Address>,
    /// Recipients of this domain, or of the smarthost of this name written as `:NAME`.
    #[arg(long, value_parser = destination)]
    destination: Option<Text<255>>,
}

/// Which messages; at least one thing must be said.
#[derive(Debug, Clone, Args)]
#[group(id = "which", required = true, multiple = true, args = ["id", "account", "destination"])]
pub(crate) struct Which {
    /// The number of a message.
    #[arg(value_parser = number)]
    id: Option<QueueId>,
    #[command(flatten)]
    some: Part,
    #[command(flatten)]
    output: Output,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter { id: self.id, account: self.some.account.clone(), destination: self.some.destination.clone() }
    }
}

pub(crate) async fn run(edges: &Path, command: Queue) -> Result<(), Failure> {
    let queue = Control::<QueueControl>::new(edges);
    match command {
        Queue::List { some, output } => {
            let filter = Filter { id: None, account: some.account, destination: some.destination };
            list(&queue, &filter, output).await
        }
        Queue::Show { id, output } => match queue.call(&Request::Show(id)).await? {
            Response::Message(message) => show(&message.0, &message.1, output),
            Response::NoSuchMessage => Err(none(id)),
            _ => Err(unexpected()),
        },
        Queue::Trace { id, output } => match queue.call(&Request::Trace(id)).await? {
            Response::Trace(attempts) => trace(id, &attempts, output),
            Response::NoSuchMessage => Err(none(id)),
            _ => Err(unexpected()),
        },
        Queue::Retry(which) => change(&queue, Action::Retry, which.filter(), which.output).await,
        Queue::Hold(which) => change(&queue, Action::Hold, which.filter(), which.output).await,
        Queue::Release(which) => change(&queue, Action::Release, which.filter(), which.output).await,
        Queue::Delete(which) => change(&queue, Action::Delete, which.filter(), which.output).await,
        Queue::Flush(output) => change(&queue, Action::Retry, Filter::default(), output).await,
    }
}

async fn change(queue: &Control<QueueControl>, action: Action, filter: Filter, output: Output) -> Result<(), Failure> {
    let named = filter.id;
    match queue.call(&Request::Change { action, filter }).await? {
        Response::Done(count) if output.json => say(json!({"messages": count})),
        Response::Done(count) => say(did(action, count)),
        Response::NoSuchMessage => Err(named.map_or_else(unexpected, none)),
        _ => Err(unexpected()),
    }
}

/// What was done, in a sentence.
fn did(action: Action, count: u64) -> String {
    let (one, many) = match action {
        Action::Retry => ("will be tried now", "will be tried now"),
        Action::Hold => ("is held until it is released", "are held until they are released"),
        Action::Release => ("is released and will be tried now", "are released and will be tried now"),
        Action::Delete => ("was deleted; its sender is not told", "were deleted; their senders are not told"),
    };
    match count {
        0 => "no message matched; nothing was done".into(),
        1 => format!("1 message {one}"),
        n => format!("{n} messages {many}"),
    }
}

/// Prints what comes as it comes: however much a queue says that it has, it is not collected here.
async fn list(queue: &Control<QueueControl>, filter: &Filter, output: Output) -> Result<(), Failure> {
    let mut table = Table::new(&["ID", "RECEIVED", "BYTES", "WAITING", "FROM"]);
    let mut before = "[";
    let mut after = QueueId(0);
    loop {
        let Response::Messages(part) = queue.call(&Request::List { after, filter: filter.clone() }).await? else {
            return Err(unexpected());
        };
        // Numbers grow; an answer that does not is the end.
        let last = part.last().map(|m| m.id).filter(|id| *id > after);
        let part: &[Message] = if last.is_some() { &part } else { &[] };
        if output.json {
            for message in part {
                say(format_args!("{before}{}", json_message(message)))?;
                before = ",";
            }
        } else {
            table.print(part.iter().map(|m| {
                vec![m.id.to_string(), date(m.received_at), m.size.to_string(), m.waiting.to_string(), m.reverse_path.to_string()]
            }))?;
        }
        match last {
            Some(last) => after = last,
            None if output.json => return say(if before == "[" { "[]" } else { "]" }),
            None => return Ok(()),
        }
    }
}

fn show(message: &Message, recipients: &[Recipient], output: Output) -> Result<(), Failure> {
    if output.json {
        let mut value = json_message(message);
        let list = recipients.iter().map(|r| {
            json!({"address": r.address.to_string(), "target": r.target.as_ref().map(ToString::to_string),
                "destination": r.destination.as_ref().map(ToString::to_string), "attempts": r.attempts,
                "next_attempt": r.next_attempt.map(date), "status": r.status.as_str()})
        });
        if let Some(object) = value.as_object_mut() {
            object.insert("recipients".into(), Value::from_iter(list));
        }
        return say(value);
    }
    say(format_args!("Message   {}", message.id))?;
    say(format_args!("Received  {}", date(message.received_at)))?;
    say(format_args!("From      {}", message.reverse_path))?;
    if let Some(account) = &message.account {
        say(format_args!("Account   {account}"))?;
    }
    say(format_args!("Bytes     {}", message.size))?;
    say("")?;
    let rows = recipients.iter().map(|r| {
        let next = r.next_attempt.map_or_else(|| "when asked".to_owned(), date);
        let address = r.target.as_ref().map_or_else(|| r.address.to_string(), |target| format!("{} -> {target}", r.address));
        vec![address, r.attempts.to_string(), next, r.status.to_string()]
    });
    table(&["RECIPIENT", "TRIES", "NEXT", "STATUS"], rows)
}

fn trace(id: QueueId, all: &[Attempts], output: Output) -> Result<(), Failure> {
    if output.json {
        let list = all.iter().map(|of| {
            let attempts = of.attempts.iter().map(|a| {
                let remote = a.remote.as_ref();
                json!({"at": date(a.at), "status": a.status.to_string(), "text": a.text.as_str(),
                    "reply": a.reply.as_ref().map(ToString::to_string), "host": remote.map(|r| r.host.to_string()),
                    "address": remote.and_then(|r| r.address).map(|a| a.to_string()),
                    "tls": remote.and_then(|r| r.tls.as_ref()).map(|t| format!("{} {}", t.version, t.cipher))})
            });
            json!({"address": of.address.to_string(), "attempts": Value::from_iter(attempts)})
        });
        return say(Value::from_iter(list));
    }
    if all.iter().all(|of| of.attempts.is_empty()) {
        return say(format_args!("no other host was tried yet; \"postern queue show {id}\" tells what the recipients wait for"));
    }
    for of in all {
        say(of.address.to_string())?;
        for a in &of.attempts {
            say(format_args!("  {}  {}  {}", date(a.at), a.status, a.text))?;
            if let Some(remote) = &a.remote {
                say(format_args!("    host {}", host(remote)))?;
            }
            if let Some(reply) = &a.reply {
                say(format_args!("    said {reply}"))?;
            }
        }
    }
    Ok(())
}

fn host(remote: &Remote) -> String {
    let address = remote.address.map(|a| format!(" [{a}]")).unwrap_or_default();
    let tls = remote.tls.as_ref().map_or_else(|| ", no TLS".to_owned(), |tls| format!(", {} {}", tls.version, tls.cipher));
    format!("{}{address}{tls}", remote.host)
}

fn json_message(m: &Message) -> Value {
    json!({"id": m.id.to_string(), "received_at": date(m.received_at), "size": m.size, "from": m.reverse_path.to_string(),
        "account": m.account.as_ref().map(ToString::to_string), "waiting": m.waiting})
}

fn none(id: QueueId) -> Failure {
    Failure::Because(format!("no message {id} is in the spool"))
}

pub(crate) fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// Sixteen hexadecimal digits, or fewer.
fn number(text: &str) -> Result<QueueId, String> {
    if text.is_empty() || text.len() > 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("a message number has up to 16 hexadecimal digits".into());
    }
    u64::from_str_radix(text, 16).map(QueueId).map_err(|e| e.to_string())
}

/// A domain in its canonical form, or `:NAME`.
fn destination(text: &str) -> Result<Text<255>, String> {
    let name = if text.starts_with(':') { text.to_owned() } else { pure_addr::Domain::parse(text).map_err(|e| e.to_string())?.to_string() };
    Text::new(name).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_they_are_printed() {
        let id = QueueId(0xfeed);
        assert_eq!(number(&id.to_string()), Ok(id));
        assert_eq!(number("feed"), Ok(id));
        for wrong in ["", "+1", "0x1", "g", "00000000000000001"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn each_command_says_what_it_did() {
        assert_eq!(did(Action::Retry, 3), "3 messages will be tried now");
        assert_eq!(did(Action::Delete, 1), "1 message was deleted; its sender is not told");
        assert_eq!(did(Action::Hold, 0), "no message matched; nothing was done");
    }

    #[test]
    fn destinations_are_domains_or_smarthosts() {
        assert_eq!(destination("Remote.TEST").unwrap().as_str(), "remote.test");
        assert_eq!(destination(":relay").unwrap().as_str(), ":relay");
        assert!(destination("no domain").is_err());
    }

    /// A command that changes something for everybody has a name of its own.
    #[test]
    fn nothing_said_is_not_everything() {
        use clap::Parser;
        #[derive(Debug, Parser)]
        struct Line {
            #[command(subcommand)]
            command: Queue,
        }
        for (line, good) in [
            ("x delete", false),
            ("x delete feed", true),
            ("x hold --account a@mta.test --destination remote.test", true),
            ("x retry --destination :relay --json", true),
            ("x flush", true),
            ("x list --account a@mta.test", true),
        ] {
            assert_eq!(Line::try_parse_from(line.split(' ')).is_ok(), good, "{line}");
        }
    }
}
