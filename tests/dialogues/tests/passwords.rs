//! No password stays in the memory of a process that it passed through: `imap` and `submission`, which see it within TLS, and `auth`,
//! which checks it. Right and wrong, in every way that a client can give it, with the sessions still open; each also with its search
//! finding what is there.

use data_encoding::BASE64;
use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::FileExt,
};
use test_support::{Appliance, Imap, Smtp, eventually, skip};

const USER: &str = "carol@mta.test";
const RIGHT: &str = "r1ght-p0ny\"battery-staple-0f-her-own-mother";
const WRONG: &str = "wr0ng-h0rse\"charger-screws-0f-his-old-uncle";
/// Bytes of a password, or of how it travels, that are looked for: a part may be overwritten by chance.
const PIECE: usize = 10;
/// The same of `auth`, whose computing leaves registers on its stack.
const PIECE_OF_AUTH: usize = 20;
/// Read at a time.
const CHUNK: u64 = 1024 * 1024;

fn plain(password: &str) -> String {
    BASE64.encode(format!("\0{USER}\0{password}").as_bytes())
}

/// Whatever a password may have looked like, in pieces.
fn pieces(size: usize) -> HashSet<Vec<u8>> {
    let mut all = HashSet::new();
    for password in [RIGHT, WRONG] {
        let ours = BASE64.encode(format!("\0{USER}\0").as_bytes()).len();
        for (form, from) in [
            (password.to_owned(), 0),
            (password.replace('"', "\\\""), 0),
            (BASE64.encode(password.as_bytes()), 0),
            // Only what is of the password: the name is no secret.
            (plain(password), ours),
        ] {
            all.extend(form.as_bytes()[from..].windows(size).map(<[u8]>::to_vec));
        }
    }
    all
}

/// The first piece that is in the memory of a process; an error where it cannot be read at all.
fn found(pid: u32, pieces: &HashSet<Vec<u8>>) -> Result<Option<String>, std::io::Error> {
    let size = pieces.iter().next().map_or(1, Vec::len);
    let mut begins = vec![false; 1 << 16];
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    pieces.iter().for_each(|piece| begins[pair(piece)] = true);
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut read = 0;
    let mut bytes = vec![0; CHUNK as usize + size];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap_or_default();
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (number(from), number(to));
        while at < end {
            // Pieces of memory overlap, so that nothing is missed between two.
            let length = usize::try_from((end - at).min(CHUNK + size as u64)).expect("a length");
            if memory.read_exact_at(&mut bytes[..length], at).is_ok() {
                read += length;
                let hit = bytes[..length].windows(size).find(|window| begins[pair(window)] && pieces.contains(*window));
                if let Some(piece) = hit {
                    let what = line.split_whitespace().nth(5).unwrap_or("its own");
                    return Ok(Some(format!("{:?} in {what} memory", String::from_utf8_lossy(piece))));
                }
            }
            at += CHUNK;
        }
    }
    assert!(read > 100_000, "nearly nothing of {pid} could be read");
    Ok(None)
}

/// What a client says line by line, each after the answer to the one before; the last answer.
fn imap(appliance: &Appliance, lines: &[String]) -> (Imap, String) {
    let mut client = Imap::connect(appliance);
    let mut answer = Vec::new();
    for line in lines {
        client.connection.send(format!("{line}\r\n").as_bytes()).expect("the connection holds");
        answer = client.connection.line().expect("an answer");
    }
    (client, String::from_utf8_lossy(&answer).into_owned())
}

fn smtp(appliance: &Appliance, lines: &[String]) -> (Smtp, u16) {
    let mut client = Smtp::connect(appliance, "submissions");
    let code = lines.iter().map(|line| client.command(line).code).last();
    (client, code.unwrap_or_default())
}

#[test]
fn no_password_stays_in_memory() {
    let appliance = Appliance::mta_test();
    let (pieces, of_auth) = (pieces(PIECE), pieces(PIECE_OF_AUTH));
    if let Err(error) = found(appliance.pid("imap"), &pieces) {
        return skip(&format!("the memory of a process that shut itself in is read as root alone: {error}"));
    }
    appliance.add_account(USER, RIGHT);
    let nowhere = |when: &str| {
        for (daemon, pieces) in [("imap", &pieces), ("submission", &pieces), ("auth", &of_auth)] {
            let there = found(appliance.pid(daemon), pieces).expect("it was readable before");
            assert_eq!(there, None, "{daemon}, {when}");
        }
    };
    nowhere("before anybody came");

    let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    let mut sessions = (Vec::new(), Vec::new());
    for password in [RIGHT, WRONG] {
        let (plain, quoted, length) = (plain(password), password.replace('"', "\\\""), password.len());
        let (user64, password64) = (BASE64.encode(USER.as_bytes()), BASE64.encode(password.as_bytes()));
        for lines in [
            text(&[&format!("a LOGIN {USER} \"{quoted}\"")]),
            text(&[&format!("a LOGIN {USER} {{{length}+}}\r\n{password}")]),
            text(&[&format!("a LOGIN {USER} {{{length}}}"), password]),
            text(&[&format!("a AUTHENTICATE PLAIN {plain}")]),
            text(&["a AUTHENTICATE PLAIN", &plain]),
        ] {
            let (client, answer) = imap(&appliance, &lines);
            assert!(answer.starts_with(if password == RIGHT { "a OK" } else { "a NO [AUTHENTICATIONFAILED]" }), "{lines:?}: {answer}");
            sessions.0.push(client);
            nowhere(&format!("after {lines:?}"));
        }
        for lines in [
            text(&[&format!("AUTH PLAIN {plain}")]),
            text(&["AUTH PLAIN", &plain]),
            text(&["AUTH LOGIN", &user64, &password64]),
            text(&[&format!("AUTH LOGIN {user64}"), &password64]),
        ] {
            let (client, code) = smtp(&appliance, &lines);
            assert_eq!(code, if password == RIGHT { 235 } else { 535 }, "{lines:?}");
            sessions.1.push(client);
            nowhere(&format!("after {lines:?}"));
        }
        // What is no login at all.
        for lines in [
            text(&[&format!("a LOGIN {USER} \"{quoted}\" x y")]),
            text(&[&format!("a LOGIN {USER} \"{quoted}")]),
            text(&["a AUTHENTICATE PLAIN", &format!("{plain}!")]),
            // Several in one record, of which the last goes on in the next.
            text(&[&format!("a LOGIN x \"{quoted}\"\r\na LOGIN x \"{quoted}\"\r\na LOGIN"), "x y"]),
        ] {
            sessions.0.push(imap(&appliance, &lines).0);
            nowhere(&format!("after {lines:?}"));
        }
        for line in [format!("AUTH PLAIN {plain}!"), format!("AUTH NTLM {plain}"), format!("AUTH PLAIN!{plain}")] {
            sessions.1.push(smtp(&appliance, &text(&["AUTH LOGIN", "*", &line])).0);
            nowhere(&format!("after {line:?}"));
        }
    }
    drop(sessions);

    // While a password is on its way it is there to be found: in the middle of a line, and of a literal.
    let mut half = Imap::connect(&appliance);
    half.connection.send(format!("a LOGIN {USER} \"{}", WRONG.replace('"', "\\\"")).as_bytes()).expect("the connection holds");
    let mut other = Smtp::connect(&appliance, "submissions");
    other.connection.send(format!("AUTH PLAIN {}", plain(WRONG)).as_bytes()).expect("the connection holds");
    for daemon in ["imap", "submission"] {
        eventually("half a command in memory", || found(appliance.pid(daemon), &pieces).expect("it was readable before"));
    }
    // And gone with who gave it.
    drop((half, other));
    for daemon in ["imap", "submission"] {
        eventually("no password in memory", || {
            found(appliance.pid(daemon), &pieces).expect("it was readable before").is_none().then_some(())
        });
    }
}
