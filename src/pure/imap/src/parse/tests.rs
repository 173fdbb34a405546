use super::*;
use crate::command::{FetchItem, SearchKey, SortBy, ThreadAlgorithm};
use std::time::{Duration, Instant};

fn parse(text: &str) -> Result<Command, Refused> {
    command(format!("a {text}\r\n").as_bytes(), Mode::default()).1
}

#[test]
fn every_command_is_read() {
    for text in [
        "CAPABILITY",
        "noop",
        "LOGOUT",
        "STARTTLS",
        "AUTHENTICATE PLAIN",
        "AUTHENTICATE SCRAM-SHA-256 biws",
        "AUTHENTICATE EXTERNAL =",
        "LOGIN alice secret",
        "LOGIN \"al ice\" {3}\r\na b",
        "ID NIL",
        "ID (\"name\" \"x\" \"version\" NIL)",
        "ID ()",
        "ENABLE CONDSTORE QRESYNC",
        "NAMESPACE",
        "LIST \"\" *",
        "LIST \"\" \"\"",
        "LIST () \"\" %",
        "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a b/%) RETURN (CHILDREN STATUS (MESSAGES UIDNEXT))",
        "LIST \"\" % RETURN (SUBSCRIBED SPECIAL-USE)",
        "LSUB \"\" *",
        "CREATE x",
        "CREATE x/",
        "CREATE x (USE (\\Sent \\Drafts))",
        "DELETE x",
        "RENAME x y",
        "SUBSCRIBE x",
        "UNSUBSCRIBE x",
        "STATUS x (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ)",
        "SELECT INBOX",
        "EXAMINE INBOX",
        "SELECT x (CONDSTORE)",
        "SELECT x (QRESYNC (1 2))",
        "SELECT x (QRESYNC (1 2 1:5))",
        "SELECT x (QRESYNC (1 2 1:5 (1,5 1,9)))",
        "SELECT x (QRESYNC (1 2 (1,5 1,9)))",
        "SELECT x (CONDSTORE QRESYNC (67890007 20050715194045000))",
        "CHECK",
        "CLOSE",
        "UNSELECT",
        "EXPUNGE",
        "UID EXPUNGE 1:*",
        "IDLE",
        "GETQUOTA \"\"",
        "GETQUOTAROOT INBOX",
        "SEARCH ALL",
        "UID SEARCH RETURN (MIN MAX COUNT) UNSEEN",
        "SEARCH RETURN () ALL",
        "SEARCH CHARSET UTF-8 SUBJECT \"x\"",
        "SEARCH OR NOT SEEN (FROM x SUBJECT y)",
        "SEARCH 1:5,7 UID 1:* KEYWORD $Junk UNKEYWORD $Junk HEADER X-A \"\"",
        "SEARCH BEFORE 1-Feb-1994 ON \"01-Feb-1994\" SENTSINCE 1-Feb-1994 LARGER 5 SMALLER 6",
        "SEARCH MODSEQ 620",
        "SEARCH MODSEQ \"/flags/\\\\draft\" all 620",
        "SEARCH OLDER 5 YOUNGER 6 EMAILID M1 THREADID T1",
        "SEARCH $",
        "SEARCH RETURN (SAVE) (ALL)",
        "SEARCH ((NEW) OLD RECENT)",
        "SORT (SUBJECT REVERSE DATE) UTF-8 ALL",
        "UID SORT (ARRIVAL) US-ASCII NOT DELETED",
        "THREAD REFERENCES UTF-8 ALL",
        "UID THREAD ORDEREDSUBJECT UTF-8 ALL",
        "FETCH 1 ALL",
        "FETCH 1:* FAST",
        "FETCH * FULL",
        "UID FETCH 1 (FLAGS)",
        "FETCH 1 BODY",
        "FETCH 1 BODY[]<0.100>",
        "FETCH 1 (BODY.PEEK[HEADER.FIELDS (FROM \"TO\")] BODY[1.2.MIME] BODY[3.TEXT] BODY[HEADER] RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)",
        "FETCH 1 (BINARY[1] BINARY.PEEK[1.2]<1.2> BINARY.SIZE[1] MODSEQ ENVELOPE BODYSTRUCTURE INTERNALDATE UID EMAILID THREADID)",
        "UID FETCH 1:* FLAGS (CHANGEDSINCE 5 VANISHED)",
        "FETCH 1 FLAGS (CHANGEDSINCE 5)",
        "STORE 1 FLAGS \\Seen",
        "STORE 1 +FLAGS (\\Seen $Junk)",
        "STORE 1 -FLAGS.SILENT (\\Deleted)",
        "STORE 1 FLAGS ()",
        "UID STORE $ (UNCHANGEDSINCE 12) +FLAGS.SILENT \\Deleted \\Seen",
        "COPY 1:2 x",
        "UID COPY 1 x",
        "MOVE 1 x",
        "UID MOVE 1 x",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
    }
}

#[test]
fn what_is_not_grammar_is_bad() {
    for text in [
        "",
        " ",
        "NOSUCH",
        "NOOP x",
        "NOOP ",
        " NOOP",
        "LOGIN",
        "LOGIN a",
        "LOGIN a b c",
        "LOGIN a  b",
        "LOGIN (a) b",
        "LOGIN a \"b",
        "LOGIN a \"b\"c",
        "LOGIN a \"\\n\"",
        "LOGIN a {3}\r\nab",
        "LOGIN a {1}\r\n\0",
        "LOGIN a ~{1}\r\nb",
        "LOGIN a b\n",
        "LOGIN a b\r",
        "LOGIN \"\u{0}\" b",
        "SELECT",
        "SELECT \"a",
        "SELECT x ()",
        "SELECT x (FOO)",
        "SELECT x (QRESYNC (0 2))",
        "SELECT x (QRESYNC (1 2 *))",
        "SELECT x (QRESYNC (1 2 1 2))",
        "AUTHENTICATE PLAIN ",
        "AUTHENTICATE PLAIN *",
        "AUTHENTICATE PLAIN (bob)",
        "ID",
        "ID (\"a\")",
        "ID (a b)",
        "ENABLE",
        "LIST",
        "LIST \"\"",
        "LIST (FOO) \"\" *",
        "LIST (RECURSIVEMATCH) \"\" *",
        "LIST \"\" ()",
        "LIST \"\" * RETURN",
        "LIST \"\" * RETURN (STATUS ())",
        "STATUS x ()",
        "STATUS x",
        "STATUS x (FOO)",
        "CREATE x (USE)",
        "CREATE x (USE (Sent))",
        "UID",
        "UID NOOP",
        "UID EXPUNGE",
        "FETCH 1",
        "FETCH 0 ALL",
        "FETCH 1 ()",
        "FETCH 1 (ALL)",
        "FETCH 1 BODY[",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[1.2.FOO]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[HEADER.FIELDS (\"a\r\nb\")]",
        "FETCH 1 BODY[]<0>",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 BODY[]<4294967296.1>",
        "FETCH 1 BODY[TEXT.1]",
        "FETCH 1 BINARY[TEXT]",
        "FETCH 1 BINARY",
        "FETCH 1 FLAGS (VANISHED)",
        "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        "FETCH 1 (FLAGS",
        "FETCH 1 (FLAGS  UID)",
        "STORE 1 FLAGS",
        "STORE 1 +-FLAGS \\Seen",
        "STORE 1 FLAGS \\Nope",
        "STORE 1 FLAGS (\\Seen",
        "STORE 1 FLAGS a]b",
        "STORE 1 (UNCHANGEDSINCE -1) FLAGS a",
        "STORE 1 FLAGS \\",
        "SEARCH",
        "SEARCH ",
        "SEARCH NOT",
        "SEARCH OR ALL",
        "SEARCH (ALL",
        "SEARCH ALL)",
        "SEARCH ()",
        "SEARCH ALL  ALL",
        "SEARCH FROM",
        "SEARCH BEFORE 31-Feb-2000",
        "SEARCH LARGER x",
        "SEARCH SUBJECT \"\u{0}\"",
        "SEARCH RETURN (FOO) ALL",
        "SEARCH RETURN ALL",
        "SORT () UTF-8 ALL",
        "SORT (REVERSE) UTF-8 ALL",
        "SORT (REVERSE REVERSE DATE) UTF-8 ALL",
        "THREAD FOO UTF-8 ALL",
        "COPY 1",
        "MOVE a x",
        "GETACL \"Other Users/bob/INBOX\"",
        "GETMETADATA x /private/comment",
        "ESEARCH IN (personal x) ALL",
        "UNAUTHENTICATE",
        "COMPRESS DEFLATE",
        "APPEND x {1}\r\na",
    ] {
        assert!(matches!(parse(text), Err(Refused::Bad(_))), "{text:?}: {:?}", parse(text));
    }
    for text in ["", "\r\n", "a", "a\r\n", "a+ NOOP\r\n", "\"a\" NOOP\r\n", "(a NOOP\r\n", "* NOOP\r\n"] {
        let (tag, result) = command(text.as_bytes(), Mode::default());
        assert!(tag.is_none() && result.is_err(), "{text:?}");
    }
    assert!(tag_of(format!("{} NOOP\r\n", "a".repeat(limits::TAG)).as_bytes()).is_some());
    assert!(tag_of(format!("{} NOOP\r\n", "a".repeat(limits::TAG + 1)).as_bytes()).is_none());
    // A bare LF ends no command.
    assert!(command(b"a NOOP\n", Mode::default()).1.is_err());
}

/// No prefix and no single changed byte of any command panics.
#[test]
fn the_parser_is_total() {
    let commands: [&[u8]; 5] = [
        b"a UID FETCH 1:*,3 (BODY.PEEK[1.HEADER.FIELDS.NOT (A {1}\r\nb)]<1.2> BINARY.SIZE[1]) (CHANGEDSINCE 5 VANISHED)\r\n",
        b"a SEARCH RETURN (MIN) CHARSET UTF-8 OR NOT (FROM {2}\r\nab ALL) MODSEQ \"/x\" all 5 BEFORE 1-Feb-1994\r\n",
        b"a LIST (SUBSCRIBED) \"\" (a \"b\\\\\" &APw-) RETURN (STATUS (MESSAGES))\r\n",
        b"a SELECT x (QRESYNC (1 2 1:5 (1,5 1,9)))\r\n",
        b"a STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen a)\r\n",
    ];
    for whole in commands {
        assert!(command(whole, Mode::default()).1.is_ok());
        for end in 0..whole.len() {
            assert!(command(&whole[..end], Mode::default()).1.is_err());
            for byte in [0, b'(', b')', b'"', b'{', b'\\', b'9', b'*', b' ', b'\r', b'\n', 0xff] {
                let mut changed = whole.to_vec();
                changed[end] = byte;
                let _ = command(&changed, Mode { utf8_names: true });
                let _ = append(&changed, Mode::default());
            }
        }
    }
}

#[test]
fn names_follow_the_mode() {
    let named = |name: &str| Mailbox::Named(MailboxName::new(name).unwrap());
    assert_eq!(parse("DELETE Entw&APw-rfe/2026"), Ok(Command::Delete(named("Entwürfe/2026"))));
    assert_eq!(parse("DELETE \"Entwürfe\""), Ok(Command::Delete(Mailbox::Impossible)));
    assert_eq!(parse("DELETE a&b"), Ok(Command::Delete(Mailbox::Impossible)));
    let utf8 = |text: &str| command(format!("a {text}\r\n").as_bytes(), Mode { utf8_names: true }).1;
    assert_eq!(utf8("DELETE \"Entwürfe\""), Ok(Command::Delete(named("Entwürfe"))));
    assert_eq!(utf8("DELETE a&b"), Ok(Command::Delete(named("a&b"))));
    assert_eq!(parse("CREATE a/b/"), Ok(Command::Create { mailbox: named("a/b"), special_use: vec![] }));
    assert_eq!(parse("SELECT iNBox"), parse("SELECT INBOX"));
    let Ok(Command::List(list)) = parse("LIST Entw&APw-rfe/ %") else { panic!() };
    assert_eq!((list.reference.as_str(), list.patterns), ("Entwürfe/", vec!["%".to_owned()]));
}

#[test]
fn search_programs_are_postfix() {
    let program = |text: &str| match parse(&format!("SEARCH {text}")) {
        Ok(Command::Search(search)) => search.program,
        other => panic!("{text}: {other:?}"),
    };
    use SearchKey::{All, And, Flag as F, Not, Nothing, Or, Subject};
    let seen = || F(Flag::Seen);
    assert_eq!(program("ALL SEEN NEW"), [All, seen(), And, Nothing, And]);
    assert_eq!(program("OR NOT SEEN (ALL SUBJECT y)"), [seen(), Not, All, Subject("y".into()), And, Or]);
    assert_eq!(program("NOT (OR SEEN ALL) UNSEEN"), [seen(), All, Or, Not, seen(), Not, And]);
    assert_eq!(program("NOT NOT OR ALL OR ALL ALL"), [All, All, All, Or, Or, Not, Not]);
}

/// Attack case IMAP-06: deep and long programs are refused in linear time.
#[test]
fn search_programs_have_limits() {
    let started = Instant::now();
    for unit in ["NOT ", "OR ALL ", "(", "OR NOT ", "ALL ", "OR ( "] {
        let text = format!("SEARCH {}ALL", unit.repeat(90_000));
        assert!(matches!(parse(&text), Err(Refused::Limit(_) | Refused::Bad(_))), "{unit}");
    }
    // What is quadratic takes minutes.
    assert!(started.elapsed() < Duration::from_secs(20));
    let nested = |n: usize| parse(&format!("SEARCH {}ALL{}", "(".repeat(n), ")".repeat(n)));
    assert!(nested(limits::SEARCH_DEPTH).is_ok());
    assert!(matches!(nested(limits::SEARCH_DEPTH + 1), Err(Refused::Limit(_))));
    // n keys are joined by n - 1 operators.
    let flat = |n: usize| parse(&format!("SEARCH {}", vec!["ALL"; n].join(" ")));
    assert!(flat(limits::SEARCH_NODES / 2).is_ok());
    assert!(matches!(flat(limits::SEARCH_NODES / 2 + 1), Err(Refused::Limit(_))));
}

#[test]
fn charsets() {
    assert_eq!(parse("SEARCH CHARSET KOI8-R ALL"), Err(Refused::BadCharset));
    assert_eq!(parse("SORT (DATE) latin1 ALL"), Err(Refused::BadCharset));
    assert!(parse("SEARCH SUBJECT {1}\r\n\u{ff}").is_err());
    assert!(command(b"a SEARCH SUBJECT {2}\r\n\xc3\xa9\r\n", Mode::default()).1.is_ok());
    assert_eq!(command(b"a SEARCH SUBJECT {1}\r\n\xe9\r\n", Mode::default()).1, Err(Refused::Bad(Bad::Utf8)));
}

#[test]
fn sort_and_thread_arguments() {
    let Ok(Command::Sort { keys, search }) = parse("UID SORT (SUBJECT REVERSE DATE) UTF-8 SEEN") else { panic!() };
    assert_eq!(keys.iter().map(|k| (k.by, k.reverse)).collect::<Vec<_>>(), [(SortBy::Subject, false), (SortBy::Date, true)]);
    assert!(search.uid);
    assert!(matches!(parse("THREAD references UTF-8 ALL"), Ok(Command::Thread { algorithm: ThreadAlgorithm::References, .. })));
}

#[test]
fn fetch_adds_what_must_be_told() {
    let items = |text: &str| match parse(text) {
        Ok(Command::Fetch(fetch)) => fetch.items,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(items("UID FETCH 1 FLAGS"), [FetchItem::Uid, FetchItem::Flags]);
    assert_eq!(items("UID FETCH 1 (FLAGS UID)"), [FetchItem::Flags, FetchItem::Uid]);
    assert_eq!(items("FETCH 1 FLAGS (CHANGEDSINCE 1)"), [FetchItem::Flags, FetchItem::ModSeq]);
    assert_eq!(items(&format!("FETCH 1 ({})", ["BODY.PEEK[]"; 64].join(" "))).len(), 1);
}

#[test]
fn one_more_than_the_limit_is_refused() {
    let more = |limit: usize, text: &dyn Fn(usize) -> String| {
        assert!(parse(&text(limit)).is_ok(), "{}", &text(limit)[..30]);
        assert!(matches!(parse(&text(limit + 1)), Err(Refused::Limit(_))), "{:?}", parse(&text(limit + 1)));
    };
    more(limits::FETCH_ITEMS, &|n| format!("FETCH 1 ({})", vec!["UID"; n].join(" ")));
    more(limits::FLAGS, &|n| format!("STORE 1 FLAGS ({})", vec!["a"; n].join(" ")));
    more(limits::FLAGS, &|n| format!("STORE 1 FLAGS {}", vec!["a"; n].join(" ")));
    more(limits::PATTERNS, &|n| format!("LIST \"\" ({})", vec!["a"; n].join(" ")));
    more(limits::PATTERN, &|n| format!("LIST \"\" {}", "a".repeat(n)));
    more(limits::PATTERNS_TOTAL, &|n| format!("LIST \"\" ({} {})", "a".repeat(1024), "a".repeat(n - 1024)));
    more(limits::SECTION_PATH, &|n| format!("FETCH 1 BODY[{}]", vec!["1"; n].join(".")));
    more(limits::HEADER_NAMES, &|n| format!("FETCH 1 BODY[HEADER.FIELDS ({})]", vec!["a"; n].join(" ")));
    more(limits::HEADER_NAME, &|n| format!("FETCH 1 BODY[HEADER.FIELDS ({})]", "a".repeat(n)));
    more(limits::ID_PAIRS, &|n| format!("ID ({})", vec!["\"a\" NIL"; n].join(" ")));
    more(limits::ID_VALUE, &|n| format!("ID (\"a\" \"{}\")", "a".repeat(n)));
    more(limits::CREDENTIAL, &|n| format!("LOGIN a {}", "a".repeat(n)));
    more(limits::CREDENTIAL, &|n| format!("LOGIN {} a", "a".repeat(n)));
    more(limits::ENABLE_NAMES, &|n| format!("ENABLE {}", vec!["A"; n].join(" ")));
    more(limits::SORT_KEYS, &|n| format!("SORT ({}) UTF-8 ALL", vec!["DATE"; n].join(" ")));
    more(limits::SEARCH_STRING, &|n| format!("SEARCH TEXT {}", "a".repeat(n)));
    assert!(parse(&format!("STORE 1 FLAGS {}", "a".repeat(limits::KEYWORD))).is_ok());
    assert_eq!(parse(&format!("STORE 1 FLAGS {}", "a".repeat(limits::KEYWORD + 1))), Err(Refused::Bad(Bad::Flag)));
}

#[test]
fn append_heads() {
    let (tag, head) = append(b"a APPEND x (\\Seen \\Recent $a) \" 7-Feb-1994 21:52:25 -0800\" ", Mode::default());
    let head = head.unwrap();
    assert_eq!(tag.unwrap().as_str(), "a");
    assert_eq!(head.message.flags, [Flag::Seen, Flag::Keyword(Keyword::new("$a").unwrap())]);
    assert_eq!(head.message.date.unwrap().seconds, 760_686_745);
    assert!(append(b"a APPEND x ", Mode::default()).1.is_ok());
    assert!(append(b"a append {1}\r\nx UTF8 (", Mode::default()).1.unwrap().message.utf8);
    assert!(append_next(b") () ", true).is_ok() && append_next(b" (\\Draft) ", false).is_ok());
    assert_eq!((append_end(b"\r\n", false), append_end(b")\r\n", true)), (AppendEnd::Complete, AppendEnd::Complete));
    assert_eq!((append_end(b" x\r\n", false), append_end(b"\r\n", true)), (AppendEnd::Malformed, AppendEnd::Malformed));
    for bad in [
        "a APPEND x",
        "a APPEND ",
        "a APPEND x CATENATE (URL \"imap://bob@mta.test/INBOX/;UID=1\" TEXT ",
        "a APPEND x () () ",
        "a APPEND x \"yesterday\" ",
        "a APPEND x (\\Nope) ",
        "a NOOP x ",
    ] {
        assert!(append(bad.as_bytes(), Mode::default()).1.is_err(), "{bad}");
    }
}

/// Attack case LOG-01: what a client names itself keeps its bytes but stays one value.
#[test]
fn credentials_keep_their_bytes_and_print_nothing() {
    let text = "LOGIN {39}\r\nx\nlogin ok user=admin rip=198.51.100.9\n topsecret";
    let whole = format!("a {}\r\n", text.replace("{39}", &format!("{{{}}}", "x\nlogin ok user=admin rip=198.51.100.9\n".len())));
    let (_, Ok(command)) = command(whole.as_bytes(), Mode::default()) else { panic!() };
    let Command::Login { user, .. } = &command else { panic!() };
    assert!(user.starts_with("x\nlogin ok"));
    assert!(!format!("{command:?}").contains("topsecret"));
}

/// Attack case STLS-09.
#[test]
fn http_is_recognised() {
    let refused = |line: &[u8]| command(line, Mode::default()).1.unwrap_err();
    for line in [&b"GET / HTTP/1.1\r\n"[..], b"POST /a?b=c HTTP/1.0\r\n", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\n"] {
        assert_eq!(refused(line), Bad::Http.into(), "{line:?}");
    }
    for line in [&b"GET / \r\n"[..], b"a x HTTP\r\n", b"a x HTTP/1.1 y\r\n", b"a x  HTTP/1.1\r\n"] {
        assert_eq!(refused(line), Bad::Command.into(), "{line:?}");
    }
    // Words of a client's own.
    assert!(parse("SELECT HTTP/1.1").is_ok());
}
