//! `postern queue`.

use crate::{
    Failure,
    control::Control,
    directory::{Output, table, unexpected},
    say,
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::Path;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use wire::edge::{
    mail::QueueId,
    queue_control::{Message, QueueControl, Request, Response},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List the messages in the spool.
    List(Output),
    /// Show one message and the recipients it waits for.
    Show {
        /// Its number, as `list` prints it.
        #[arg(value_parser = number)]
        id: QueueId,
        #[command(flatten)]
        output: Output,
    },
    /// Try one message again now, or all of them.
    Retry {
        /// Its number; all messages without one.
        #[arg(value_parser = number)]
        id: Option<QueueId>,
    },
    /// Take a message out of the spool for good, without telling its sender.
    Delete {
        /// Its number.
        #[arg(value_parser = number)]
        id: QueueId,
    },
}

pub(crate) async fn run(edges: &Path, command: Queue) -> Result<(), Failure> {
    let queue = Control::<QueueControl>::new(edges);
    match command {
        Queue::List(output) => {
            let messages = list(&queue).await?;
            if output.json {
                return say(Value::from_iter(messages.iter().map(json_message)));
            }
            let rows = messages.iter().map(|m| {
                vec![m.id.to_string(), date(m.received_at), m.size.to_string(), m.waiting.to_string(), m.reverse_path.to_string()]
            });
            table(&["ID", "RECEIVED", "BYTES", "WAITING", "FROM"], rows)
        }
        Queue::Show { id, output } => match queue.call(&Request::Show(id)).await? {
            Response::Message(message) => show(&message.0, &message.1, output),
            Response::NoSuchMessage => Err(none(id)),
            _ => Err(unexpected()),
        },
        Queue::Retry { id } => match queue.call(&Request::Retry(id)).await? {
            Response::Done(count) => say(format_args!("messages to be tried again: {count}")),
            Response::NoSuchMessage => Err(id.map_or_else(unexpected, none)),
            _ => Err(unexpected()),
        },
        Queue::Delete { id } => match queue.call(&Request::Delete(id)).await? {
            Response::Done(_) => Ok(()),
            Response::NoSuchMessage => Err(none(id)),
            _ => Err(unexpected()),
        },
    }
}

async fn list(queue: &Control<QueueControl>) -> Result<Vec<Message>, Failure> {
    let mut all = Vec::new();
    let mut after = QueueId(0);
    loop {
        let Response::Messages(part) = queue.call(&Request::List { after }).await? else { return Err(unexpected()) };
        // Numbers grow; an answer that does not is the end.
        let Some(last) = part.last().map(|m| m.id).filter(|id| *id > after) else { return Ok(all) };
        after = last;
        all.extend(part);
    }
}

fn show(message: &Message, recipients: &[wire::edge::queue_control::Recipient], output: Output) -> Result<(), Failure> {
    if output.json {
        let mut value = json_message(message);
        let list = recipients.iter().map(|r| {
            json!({"address": r.address.to_string(), "attempts": r.attempts, "next_attempt": r.next_attempt.map(date),
                "status": r.status.as_str()})
        });
        if let Some(object) = value.as_object_mut() {
            object.insert("recipients".into(), Value::from_iter(list));
        }
        return say(value);
    }
    say(format_args!("Message   {}", message.id))?;
    say(format_args!("Received  {}", date(message.received_at)))?;
    say(format_args!("From      {}", message.reverse_path))?;
    say(format_args!("Bytes     {}", message.size))?;
    say("")?;
    let rows = recipients.iter().map(|r| {
        let next = r.next_attempt.map_or_else(|| "when asked".to_owned(), date);
        vec![r.address.to_string(), r.attempts.to_string(), next, r.status.to_string()]
    });
    table(&["RECIPIENT", "TRIES", "NEXT", "STATUS"], rows)
}

fn json_message(m: &Message) -> Value {
    json!({"id": m.id.to_string(), "received_at": date(m.received_at), "size": m.size, "from": m.reverse_path.to_string(),
        "waiting": m.waiting})
}

fn none(id: QueueId) -> Failure {
    Failure::Because(format!("no message {id} is in the spool"))
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// Sixteen hexadecimal digits, or fewer.
fn number(text: &str) -> Result<QueueId, String> {
    if text.is_empty() || text.len() > 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("a message number has up to 16 hexadecimal digits".into());
    }
    u64::from_str_radix(text, 16).map(QueueId).map_err(|e| e.to_string())
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
}
