use super::world::{UPLOADS, World};
use exposed_tls::Room;
use pure_addr::AccountId;

fn has(answers: &[String], part: &str) {
    assert!(answers.iter().any(|line| line.contains(part)), "no {part:?} in {answers:#?}");
}

#[tokio::test]
async fn select_tells_the_mailbox() {
    let mut client = World::with_messages(3).client().await;
    let answers = client.ok("SELECT INBOX").await;
    for part in [
        "* 3 EXISTS",
        "* 0 RECENT",
        "* FLAGS (\\Answered",
        "[PERMANENTFLAGS (",
        "\\*)]",
        "[UIDVALIDITY 7]",
        "[UIDNEXT 4]",
        "[HIGHESTMODSEQ 3]",
        "[MAILBOXID (m1)]",
        "OK [READ-WRITE]",
    ] {
        has(&answers, part);
    }
    let answers = client.ok("EXAMINE inbox").await;
    has(&answers, "[CLOSED]");
    has(&answers, "[READ-ONLY]");
    assert_eq!(client.ask("STORE 1 FLAGS \\Seen").await, ["NO [READ-ONLY] The mailbox was opened with EXAMINE"]);
    client.ok("ENABLE IMAP4rev2").await;
    has(&client.ok("SELECT INBOX").await, "* LIST () \"/\" INBOX");
}

/// Attack case IMAP-13: what belongs to others and what does not exist are told alike.
#[tokio::test]
async fn mailboxes_of_others_do_not_exist() {
    let mut client = World::with_messages(1).client().await;
    client.ok("SELECT INBOX").await;
    for (foreign, absent) in [
        ("STATUS \"Other Users/bob/INBOX\" (MESSAGES)", "STATUS nosuch (MESSAGES)"),
        ("COPY 1 \"Other Users/bob/INBOX\"", "COPY 1 nosuch"),
        ("LIST \"\" \"Other Users/*\"", "LIST \"\" \"nosuch/*\""),
        ("GETACL \"Other Users/bob/INBOX\"", "GETACL nosuch"),
        ("GETMETADATA \"Other Users/bob/INBOX\" /private/comment", "GETMETADATA nosuch /private/comment"),
        ("ESEARCH IN (personal \"Other Users/bob\") ALL", "ESEARCH IN (personal nosuch) ALL"),
        ("GETQUOTAROOT \"Other Users/bob/INBOX\"", "GETQUOTAROOT nosuch"),
        ("DELETE \"Other Users/bob/INBOX\"", "DELETE nosuch"),
        ("SELECT \"Other Users/bob/INBOX\"", "SELECT nosuch"),
    ] {
        let foreign = client.ask(foreign).await;
        assert_eq!(foreign.last(), client.ask(absent).await.last());
    }
}

/// Attack case IMAP-16: a connection serves one account.
#[tokio::test]
async fn no_second_login() {
    let mut client = World::with_messages(1).client().await;
    for command in ["UNAUTHENTICATE", "AUTHENTICATE PLAIN (bob)", "AUTHENTICATE PLAIN AGJvYgBi", "LOGIN bob secret-bob", "STARTTLS"] {
        assert!(client.ask(command).await.last().unwrap().starts_with("BAD"), "{command}");
    }
}

/// Attack case BOMB-03: compression is not offered.
#[tokio::test]
async fn no_compression() {
    let mut client = World::with_messages(1).client().await;
    assert!(!client.ok("CAPABILITY").await[0].contains("COMPRESS"));
    assert!(client.ask("COMPRESS DEFLATE").await[0].starts_with("BAD"));
}

#[tokio::test]
async fn fetch_gives_what_is_asked() {
    let world = World::with_messages(2);
    world.deliver("INBOX", b"Content-Transfer-Encoding: base64\r\n\r\nQUIA\r\n");
    world.deliver("INBOX", b"Content-Transfer-Encoding: x-unknown\r\n\r\nQUIA\r\n");
    let mut client = world.client().await;
    client.ok("EXAMINE INBOX").await;
    assert_eq!(client.ok("FETCH 1 BODY[TEXT]").await[0], "* 1 FETCH (BODY[TEXT] {8}|body 1\r\n|)");
    assert_eq!(client.ok("FETCH 1 BODY[]<2.4>").await[0], "* 1 FETCH (BODY[]<2> {4}|om: |)");
    assert_eq!(client.ok("FETCH 1 BODY[]<4000.4>").await[0], "* 1 FETCH (BODY[]<4000> {0}||)");
    assert_eq!(
        client.ok("UID FETCH 2 (BODY.PEEK[HEADER.FIELDS (SUBJECT)] FLAGS)").await[0],
        "* 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] {22}|Subject: message 2\r\n\r\n| FLAGS ())"
    );
    assert_eq!(client.ok("FETCH 2 (BODY[1] BODY[2] BODY[1.MIME])").await[0].matches("NIL").count(), 1);
    let all = client.ok("FETCH 1:2 FULL").await;
    assert_eq!(all.len(), 3);
    has(&all, "ENVELOPE (NIL \"message 2\" NIL");
    has(&all, "BODY (\"text\" \"plain\" NIL NIL NIL \"7BIT\" 8 1)");
    has(&all, "INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\"");
    let rfc822 = client.ok("FETCH 1 (RFC822.HEADER RFC822.SIZE EMAILID THREADID)").await;
    has(&rfc822, "RFC822.SIZE 48 EMAILID (e1) THREADID NIL");
    assert_eq!(client.ok("FETCH 3 (BINARY[1] BINARY.SIZE[1])").await[0], "* 3 FETCH (BINARY[1] ~{3}|AB\0| BINARY.SIZE[1] 3)");
    assert_eq!(client.ok("FETCH 3 BINARY.PEEK[1]<0.2>").await[0], "* 3 FETCH (BINARY[1]<0> {2}|AB|)");
    has(&client.ask("FETCH 4 BINARY[1]").await, "NO [UNKNOWN-CTE]");
    assert_eq!(client.ask("FETCH 5 FLAGS").await, ["BAD No such message"]);
    assert_eq!(client.ok("UID FETCH 5:9 FLAGS").await.len(), 1);
}

#[tokio::test]
async fn reading_marks_as_seen_and_says_so() {
    let mut client = World::with_messages(2).client().await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1 BODY.PEEK[TEXT]").await[0], "* 1 FETCH (BODY[TEXT] {8}|body 1\r\n|)");
    assert_eq!(client.ok("FETCH 1 BODY[TEXT]").await[0], "* 1 FETCH (BODY[TEXT] {8}|body 1\r\n| FLAGS (\\Seen))");
    assert_eq!(client.ok("FETCH 1 BODY[TEXT]").await[0], "* 1 FETCH (BODY[TEXT] {8}|body 1\r\n|)");
    assert_eq!(client.ok("FETCH 1:2 FLAGS").await[..2], ["* 1 FETCH (FLAGS (\\Seen))", "* 2 FETCH (FLAGS ())"]);
    // Nothing is told twice.
    assert_eq!(client.ok("NOOP").await.len(), 1);
}

#[tokio::test]
async fn a_large_message_passes_through() {
    let world = World::with_messages(0);
    let body: String = (0..30_000).map(|n| format!("line {n} of a message that is larger than any buffer\r\n")).collect();
    world.deliver("INBOX", format!("Subject: large\r\n\r\n{body}").as_bytes());
    let mut client = world.client().await;
    client.ok("SELECT INBOX").await;
    let answers = client.ok("FETCH 1 BODY[TEXT]").await;
    assert!(answers[0].contains(&format!("{{{}}}|{body}|", body.len())));
}

#[tokio::test]
async fn store_and_conditional_store() {
    let mut client = World::with_messages(3).client().await;
    client.ok("SELECT INBOX").await;
    let answers = client.ok("STORE 1:2 +FLAGS (\\Seen newword)").await;
    assert_eq!(
        answers[..3],
        [
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded $Junk $MDNSent $NotJunk $Phishing newword)",
            "* 1 FETCH (FLAGS (\\Seen newword))",
            "* 2 FETCH (FLAGS (\\Seen newword))"
        ]
    );
    assert_eq!(client.ok("STORE 1 -FLAGS.SILENT (\\Seen)").await, ["OK STORE completed"]);
    assert_eq!(client.ok("UID STORE 1 FLAGS ()").await[0], "* 1 FETCH (UID 1 FLAGS ())");
    // Message 2 was changed at 4, message 3 at 3.
    let answers = client.ok("STORE 2:3 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(answers, ["* 3 FETCH (UID 3 MODSEQ (7))", "OK [MODIFIED 2] STORE completed"]);
    assert_eq!(client.ok("NOOP").await.len(), 1);
}

#[tokio::test]
async fn copy_move_and_expunge() {
    let world = World::with_messages(5);
    world.make("Archive");
    let mut client = world.client().await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("COPY 1:2 Archive").await, ["OK [COPYUID 7 1:2 1:2] COPY completed"]);
    assert_eq!(client.ask("COPY 1 nosuch").await, ["NO [TRYCREATE] No such mailbox"]);
    assert_eq!(
        client.ok("UID MOVE 2,4 Archive").await,
        ["* OK [COPYUID 7 2,4 3:4] Moved", "* 4 EXPUNGE", "* 2 EXPUNGE", "OK MOVE completed"]
    );
    client.ok("STORE 1:3 +FLAGS.SILENT \\Deleted").await;
    assert_eq!(client.ok("UID EXPUNGE 3:4").await, ["* 2 EXPUNGE", "OK EXPUNGE completed"]);
    assert_eq!(client.ok("EXPUNGE").await, ["* 2 EXPUNGE", "* 1 EXPUNGE", "OK EXPUNGE completed"]);
    has(&client.ok("STATUS Archive (MESSAGES UIDNEXT)").await, "* STATUS Archive (MESSAGES 4 UIDNEXT 5)");
    assert_eq!(client.ok("FETCH 1:* FLAGS").await.len(), 1);
}

/// Attack case CTRL-06: an ordinary client's day.
#[tokio::test]
async fn an_ordinary_client() {
    let world = World::with_messages(1);
    let mut client = world.client().await;
    client.ok("CREATE Entw&APw-rfe/2026").await;
    client.send(b"b APPEND INBOX {38+}\r\nSubject: x\r\n\r\naaaaaaaaaaaaaaaaaaaaaa\r\n\r\n").await;
    assert_eq!(client.answers("b").await, ["OK [APPENDUID 7 2] APPEND completed"]);
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await.len(), 3);
    has(&client.ok("SEARCH OR NOT SEEN (FROM x SUBJECT y)").await, "* SEARCH 1 2");
    has(&client.ok("LIST \"\" \"*\"").await, "Entw&APw-rfe/2026");
    client.ok("ENABLE UTF8=ACCEPT").await;
    has(&client.ok("LIST \"\" \"*\"").await, "\"Entwürfe/2026\"");
}

#[tokio::test]
async fn append_in_all_its_forms() {
    let world = World::with_messages(0);
    let mut client = world.client().await;
    client.ok("SELECT INBOX").await;
    client.send("a APPEND INBOX (\\Seen \\Draft) \" 1-Feb-1994 10:11:12 +0000\" {9}\r\n").await;
    assert_eq!(client.line().await, "+ OK");
    client.send("a: b\r\n\r\nc\r\n").await;
    assert_eq!(client.answers("a").await, ["* 1 EXISTS", "OK [APPENDUID 7 1] APPEND completed"]);
    has(&client.ok("FETCH 1 (FLAGS INTERNALDATE)").await, "FLAGS (\\Seen \\Draft) INTERNALDATE \" 1-Feb-1994 10:11:12 +0000\"");
    // MULTIAPPEND, with a name in a literal and a message with NUL.
    client.send("b APPEND {5+}\r\nINBOX {3+}\r\na\r\n (\\Flagged) ~{3+}\r\n\0b\n\r\n").await;
    assert_eq!(client.answers("b").await, ["* 3 EXISTS", "OK [APPENDUID 7 2:3] APPEND completed"]);
    client.send("c APPEND INBOX UTF8 (~{3+}\r\nabc)\r\n").await;
    has(&client.answers("c").await, "OK [APPENDUID 7 4]");
    for (bad, expected) in [
        ("APPEND nosuch {3+}\r\nabc", "NO [TRYCREATE]"),
        ("APPEND INBOX {0+}\r\n", "NO [CANNOT]"),
        ("APPEND INBOX {3+}\r\na\0b", "BAD NUL"),
        ("APPEND INBOX {3+}\r\nabc {0+}\r\n", "NO [CANNOT]"),
        ("APPEND INBOX {3+}\r\nabc junk", "BAD Syntax"),
        ("APPEND INBOX (\\Nope) {3+}\r\nabc", "BAD Invalid flag"),
        ("APPEND INBOX {1048577}", "NO [TOOBIG]"),
        ("APPEND INBOX CATENATE (URL \"imap://bob@mta.test/INBOX/;UID=1\")", "BAD"),
        ("APPEND nosuch {3}", "NO [TRYCREATE]"),
    ] {
        let answers = client.ask(bad).await;
        assert!(answers.len() == 1 && answers[0].starts_with(expected), "{bad:?}: {answers:?}");
    }
    assert_eq!(client.ok("FETCH 1:* UID").await.len(), 5);
}

/// Attack case QUOTA-01: what does not fit is refused before it is sent, in one command or in several.
#[tokio::test]
async fn append_over_quota() {
    let world = World::with_messages(0);
    for _ in 0..4 {
        world.deliver("INBOX", &vec![b'x'; 1_000_000]);
    }
    let mut client = world.client().await;
    assert_eq!(client.ask("APPEND INBOX {900000}").await, ["NO [OVERQUOTA] Quota exceeded"]);
    client.send("a APPEND INBOX {100000+}\r\n").await;
    client.send(vec![b'y'; 100_000]).await;
    client.send(" {100000}\r\n").await;
    assert_eq!(client.answers("a").await, ["NO [OVERQUOTA] Quota exceeded"]);
    has(&client.ok("GETQUOTAROOT INBOX").await, "* QUOTA \"\" (STORAGE 3907 4096)");
}

#[tokio::test]
async fn oversize_literals_end_the_connection_when_unasked() {
    let mut client = World::with_messages(0).client().await;
    client.send("a APPEND INBOX {9999999+}\r\n").await;
    assert_eq!(client.line().await, "* BYE literal too long");
    assert_eq!(client.line().await, "(closed)");
    client.ended.await.unwrap().unwrap();
}

/// Attack cases IMAP-05 and IMAP-06 after login.
#[tokio::test]
async fn long_and_deep_commands() {
    let world = World::with_messages(1);
    let mut client = world.client().await;
    client.ok("SELECT INBOX").await;
    for unit in ["NOT ", "OR ALL ", "(", "OR NOT "] {
        let answers = client.ask(&format!("SEARCH {}ALL", unit.repeat(5_000))).await;
        assert_eq!(answers, ["NO [LIMIT] search too complex"], "{unit}");
    }
    client.send(format!("b SEARCH FROM {}", "A".repeat(65_536))).await;
    assert_eq!(client.line().await, "* BYE command line too long");
    // The rest of the house stands.
    world.client().await.ok("NOOP").await;
}

#[tokio::test]
async fn searching() {
    let mut client = World::with_messages(5).client().await;
    client.ok("SELECT INBOX").await;
    client.ok("STORE 2 +FLAGS.SILENT \\Deleted").await;
    client.ok("EXPUNGE").await;
    assert_eq!(client.ok("SEARCH SUBJECT \"message 4\"").await[0], "* SEARCH 3");
    assert_eq!(client.ok("UID SEARCH TEXT MESSAGE 3:*").await[0], "* SEARCH 4 5");
    assert_eq!(client.ok("SEARCH 9").await[0], "* SEARCH");
    assert_eq!(client.ok("UID SEARCH RETURN (MIN MAX ALL COUNT) ALL").await[0], "* ESEARCH (TAG \"x\") UID MIN 1 MAX 5 ALL 1,3:5 COUNT 4");
    assert_eq!(client.ok("SEARCH RETURN (SAVE) SUBJECT \"message 3\"").await.len(), 1);
    assert_eq!(client.ok("FETCH $ UID").await[0], "* 2 FETCH (UID 3)");
    assert_eq!(client.ok("SEARCH RETURN (SAVE MIN) ALL").await[0], "* ESEARCH (TAG \"x\") MIN 1");
    assert_eq!(client.ok("UID SEARCH UID $").await[0], "* SEARCH 1");
    assert_eq!(client.ok("SEARCH MODSEQ 4").await[0], "* SEARCH 3 4 (MODSEQ 5)");
    assert_eq!(client.ask("SEARCH CHARSET X-NONE ALL").await, ["NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset"]);
    assert_eq!(client.ok("SORT (REVERSE SUBJECT) UTF-8 ALL").await[0], "* SORT 4 3 2 1");
    assert_eq!(client.ok("UID SORT (ARRIVAL) UTF-8 ALL").await[0], "* SORT 1 3 4 5");
    assert_eq!(client.ok("UID THREAD REFERENCES UTF-8 ALL").await[0], "* THREAD (1)(3)(4)(5)");
    client.ok("ENABLE IMAP4rev2").await;
    assert_eq!(client.ok("SEARCH ALL").await[0], "* ESEARCH (TAG \"x\") ALL 1:4");
}

#[tokio::test]
async fn lists() {
    let world = World::with_messages(1);
    for name in ["a", "a/b", "a/b/c", "Sent"] {
        world.make(name);
    }
    let mut client = world.client().await;
    assert_eq!(client.ok("LIST \"\" \"\"").await[0], "* LIST (\\Noselect) \"/\" \"\"");
    assert_eq!(
        client.ok("LIST \"\" %").await[..3],
        ["* LIST (\\HasNoChildren) \"/\" INBOX", "* LIST (\\HasNoChildren \\Sent) \"/\" Sent", "* LIST (\\HasChildren) \"/\" a"]
    );
    assert_eq!(client.ok("LIST a/ %").await[0], "* LIST (\\HasChildren) \"/\" a/b");
    assert_eq!(client.ok("LIST (SPECIAL-USE) \"\" *").await.len(), 2);
    for name in ["INBOX", "Sent", "a"] {
        client.ok(&format!("UNSUBSCRIBE {name}")).await;
    }
    assert_eq!(
        client.ok("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" % RETURN (CHILDREN)").await,
        ["* LIST (\\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))", "OK LIST completed"]
    );
    assert_eq!(client.ok("LSUB \"\" %").await[0], "* LSUB (\\Noselect) \"/\" a");
    assert_eq!(client.ok("LSUB \"\" *").await[..2], ["* LSUB () \"/\" a/b", "* LSUB () \"/\" a/b/c"]);
    assert_eq!(
        client.ok("LIST \"\" (INBOX Sent) RETURN (STATUS (MESSAGES UIDVALIDITY))").await[1],
        "* STATUS INBOX (MESSAGES 1 UIDVALIDITY 7)"
    );
    // Attack case IMAP-08: what tries every way to match has no end.
    client.ok("LIST \"\" \"*%*%*%*%*%*%*%*%*%*%*%*%*%*%*%*%b\"").await;
}

#[tokio::test]
async fn mailboxes_come_and_go() {
    let mut client = World::with_messages(1).client().await;
    has(&client.ok("CREATE x/").await, "[MAILBOXID (m2)]");
    assert_eq!(client.ask("CREATE x").await, ["NO [ALREADYEXISTS] Mailbox exists"]);
    assert_eq!(client.ask("CREATE \"a//b\"").await, ["NO [CANNOT] Not a possible name"]);
    assert_eq!(client.ask("CREATE y (USE (\\All))").await, ["NO [USEATTR] No mailbox can be made for this use"]);
    client.ok("CREATE y (USE (\\Trash))").await;
    client.ok("RENAME x z").await;
    client.ok("SELECT z").await;
    assert_eq!(client.ok("DELETE z").await[0], "* OK [CLOSED] Mailbox deleted");
    assert_eq!(client.ask("FETCH 1 FLAGS").await, ["BAD No mailbox selected"]);
    assert_eq!(client.ask("SELECT z").await, ["NO [NONEXISTENT] No such mailbox"]);
    assert_eq!(client.ask("SUBSCRIBE z").await, ["NO [NONEXISTENT] No such mailbox"]);
    client.ok("SELECT INBOX").await;
    client.ok("CLOSE").await;
    assert_eq!(client.ok("NAMESPACE").await[0], "* NAMESPACE ((\"\" \"/\")) NIL NIL");
    assert_eq!(client.ok("ID (\"name\" \"x\")").await[0], "* ID (\"name\" \"Postern\")");
    assert_eq!(client.ok("LOGOUT").await[0], "* BYE Good-bye");
    assert_eq!(client.line().await, "(closed)");
}

#[tokio::test]
async fn a_client_that_only_errs_is_sent_away() {
    let mut client = World::with_messages(1).client().await;
    for _ in 0..crate::limits::ERRORS {
        assert!(client.ask("NONSENSE").await[0].starts_with("BAD"));
    }
    assert_eq!(client.line().await, "* BYE Too many errors");
}

/// Attack class BOMB: what all sessions upload together has a limit, and what is refused or done gives its share back.
#[tokio::test]
async fn uploads_share_one_room() {
    let world = World::with_messages(1);
    let mut client = world.client().await;
    let mut others = world.room.share(AccountId::new(2).unwrap());
    assert!(others.grow(UPLOADS - 4_000));
    let append = format!("a APPEND INBOX {{8000+}}\r\n{}\r\n", "x".repeat(8000));
    client.send(&append).await;
    assert_eq!(client.answers("a").await, ["NO [UNAVAILABLE] Not possible now"]);
    assert_eq!(world.room.left(), 4_000);
    drop(others);
    client.send(&append).await;
    assert!(client.answers("a").await[0].starts_with("OK [APPENDUID 7 2]"));
    assert_eq!(world.room.left(), UPLOADS);
}

/// Attack class SLOW: an account that begins APPENDs and never ends them leaves room for the others.
#[tokio::test]
async fn an_account_has_its_share_of_the_room() {
    let mut world = World::with_messages(1);
    world.room = Room::new(UPLOADS, 10_000);
    let mut client = world.client().await;
    let mut unfinished = world.room.share(AccountId::new(1).unwrap());
    assert!(unfinished.grow(4_000));
    let append = format!("a APPEND INBOX {{8000+}}\r\n{}\r\n", "x".repeat(8000));
    client.send(&append).await;
    assert_eq!(client.answers("a").await, ["NO [UNAVAILABLE] Not possible now"]);
    assert!(world.room.share(AccountId::new(2).unwrap()).grow(10_000));
    drop(unfinished);
    client.send(&append).await;
    assert!(client.answers("a").await[0].starts_with("OK [APPENDUID 7 2]"));
}

/// A mailbox is what it is by its identifier: a new one that bears the old name of the selected one is another.
#[tokio::test]
async fn deleting_the_namesake_of_a_renamed_mailbox_keeps_the_selection() {
    let world = World::with_messages(1);
    world.make("Work");
    world.deliver("Work", b"Subject: x\r\n\r\ny\r\n");
    let mut client = world.client().await;
    client.ok("SELECT Work").await;
    client.ok("RENAME Work Done").await;
    client.ok("CREATE Work").await;
    assert_eq!(client.ok("DELETE Work").await, ["OK DELETE completed"]);
    assert_eq!(client.ok("FETCH 1 BODY.PEEK[TEXT]").await[0], "* 1 FETCH (BODY[TEXT] {3}|y\r\n|)");
    has(&client.ok("DELETE Done").await, "* OK [CLOSED]");
    assert!(client.ask("FETCH 1 FLAGS").await[0].starts_with("BAD"));
}
