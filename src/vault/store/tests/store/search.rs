use crate::world::{Front, Mail, NOW, World, flags, uids};
use pure_addr::Text;
use wire::{
    List,
    edge::store_session::{FlagChange, MailboxId, ModSeq, Refusal, Request, SearchKey as K, SystemFlags},
};

async fn filled(world: &World) -> (Front, MailboxId) {
    let mails = [
        Mail { sent_at: Some(1_000), received_at: NOW - 100, id: "a".into(), ..Mail::new("Weekly report", "Numbers are up") },
        Mail {
            sent_at: Some(2_500),
            sent_zone: -500,
            received_at: NOW,
            references: vec!["a".into()],
            ..Mail::new("Re: Weekly report", "Great")
        },
        Mail { sent_at: None, received_at: NOW + 100, ..Mail::new("Über uns", "STRASSE und Größe") },
        Mail { from: "carol".into(), ..Mail::new("", &"long ".repeat(1000)) },
    ];
    for (n, mail) in mails.iter().enumerate() {
        world.deliver(n as u64, mail).await;
    }
    let mut front = world.session().await;
    let mailbox = front.id("INBOX").await;
    for (uid, system, keywords) in
        [(1, vec![SystemFlags::SEEN], vec!["$Work"]), (3, vec![SystemFlags::SEEN, SystemFlags::FLAGGED], vec!["x"])]
    {
        let flags = flags(&system, &keywords);
        let set = Request::SetFlags { mailbox, uids: uids(&[(uid, uid)]), change: FlagChange::Add, flags, unchanged_since: None };
        assert_eq!(front.rows(&set).await.len(), 1);
    }
    (front, mailbox)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_finds_what_it_says() {
    let world = World::new();
    let (mut front, mailbox) = filled(&world).await;
    let keyword = |k: &str| K::Keyword(Text::new(k).unwrap());
    let header = |name: &str, text: &str| K::Header(name.into(), text.into());
    let cases: Vec<(Vec<K>, &[u32])> = vec![
        (vec![K::All], &[1, 2, 3, 4]),
        (vec![K::Uid(uids(&[(2, 3), (9, u32::MAX)]))], &[2, 3]),
        (vec![K::Flags(SystemFlags::SEEN)], &[1, 3]),
        (vec![K::Flags(SystemFlags::SEEN.union(SystemFlags::FLAGGED))], &[3]),
        (vec![keyword("$work")], &[1]),
        (vec![keyword("nobody")], &[]),
        (vec![K::ReceivedSince(NOW)], &[2, 3, 4]),
        (vec![K::ReceivedBefore(NOW)], &[1]),
        (vec![K::SentSince(2_000)], &[2]),
        (vec![K::SentBefore(2_000)], &[1]),
        (vec![K::Larger(4_000)], &[4]),
        (vec![K::Smaller(4_000)], &[1, 2, 3]),
        (vec![header("subject", "REPORT")], &[1, 2]),
        (vec![header("Subject", "über")], &[3]),
        (vec![header("from", "")], &[1, 2, 3, 4]),
        (vec![header("x-none", "")], &[]),
        (vec![header("subject", "carol")], &[]),
        (vec![K::Body("numbers ARE".into())], &[1]),
        (vec![K::Body("report".into())], &[]),
        (vec![K::Body("größe".into())], &[3]),
        (vec![K::Text("carol@".into())], &[4]),
        (vec![K::Text("great".into())], &[2]),
        (vec![K::ModSeq(ModSeq(0))], &[1, 2, 3, 4]),
        (vec![K::ModSeq(ModSeq(u64::MAX))], &[]),
        (vec![K::Email(2)], &[2]),
        (vec![K::Thread(1)], &[1, 2]),
        (vec![K::Thread(99)], &[]),
        (vec![K::Flags(SystemFlags::SEEN), K::Not], &[2, 4]),
        (vec![K::Flags(SystemFlags::SEEN), K::Text("report".into()), K::And], &[1]),
        (vec![K::Flags(SystemFlags::SEEN), K::Text("report".into()), K::Or], &[1, 2, 3]),
        (vec![K::Body("great".into()), K::Uid(uids(&[(1, 1)])), K::Or, K::Not], &[3, 4]),
        (vec![K::Body("great".into()), K::Not, K::Thread(1), K::And, K::Uid(uids(&[(4, 4)])), K::Or], &[1, 4]),
        (vec![K::Uid(uids(&[(1, 2)])), K::Uid(uids(&[(2, 3)])), K::And], &[2]),
        (vec![K::Uid(uids(&[(1, 1)])), K::Uid(uids(&[(3, 3)])), K::Or], &[1, 3]),
        (vec![K::Uid(uids(&[(1, 2)])), K::Not], &[3, 4]),
        (vec![K::Uid(uids(&[]))], &[]),
    ];
    for (program, expected) in cases {
        assert_eq!(front.search(mailbox, &program).await, expected, "{program:?}");
    }
}

/// Every program over three leaves, compared with the truth table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_agree_with_logic_whatever_the_order() {
    let world = World::new();
    let (mut front, mailbox) = filled(&world).await;
    let leaves: [(K, [bool; 4]); 3] = [
        (K::Body("e".into()), [true, true, true, false]),
        (K::Flags(SystemFlags::SEEN), [true, false, true, false]),
        (K::Header("subject".into(), "report".into()), [true, true, false, false]),
    ];
    for (a, b, c) in [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)] {
        for bits in 0..64u32 {
            let bit = |n: u32| bits >> n & 1 == 1;
            let op = |or: bool| if or { K::Or } else { K::And };
            let apply = |or: bool, x: bool, y: bool| if or { x || y } else { x && y };
            let not = |program: &mut Vec<K>, on: bool| {
                if on {
                    program.push(K::Not)
                }
            };
            let mut program = vec![leaves[a].0.clone()];
            not(&mut program, bit(0));
            program.push(leaves[b].0.clone());
            not(&mut program, bit(1));
            // Either (a op b) op c, or a op (b op c).
            if bit(5) {
                program.extend([op(bit(3)), leaves[c].0.clone()]);
                not(&mut program, bit(2));
            } else {
                program.push(leaves[c].0.clone());
                not(&mut program, bit(2));
                program.push(op(bit(3)));
            }
            program.push(op(bit(4)));
            let expected: Vec<u32> = (0..4)
                .filter(|m: &usize| {
                    let (x, y, z) = (leaves[a].1[*m] ^ bit(0), leaves[b].1[*m] ^ bit(1), leaves[c].1[*m] ^ bit(2));
                    if bit(5) { apply(bit(4), apply(bit(3), x, y), z) } else { apply(bit(4), x, apply(bit(3), y, z)) }
                })
                .map(|m| m as u32 + 1)
                .collect();
            assert_eq!(front.search(mailbox, &program).await, expected, "{program:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_not_well_formed_are_refused() {
    let world = World::new();
    let (mut front, mailbox) = filled(&world).await;
    for (program, why) in [
        (vec![], Refusal::Malformed),
        (vec![K::Not], Refusal::Malformed),
        (vec![K::All, K::And], Refusal::Malformed),
        (vec![K::All, K::All], Refusal::Malformed),
        (vec![K::All, K::All, K::Or, K::Or], Refusal::Malformed),
        (vec![K::Uid(uids(&[(0, 1)]))], Refusal::Malformed),
        (vec![K::Uid(uids(&[(5, 5), (2, 2)]))], Refusal::Malformed),
        (vec![K::Body("x".repeat(5_000))], Refusal::Limit),
        ([vec![K::Body("x".into()); 65], vec![K::Or; 64]].concat(), Refusal::Limit),
    ] {
        front.refused(&Request::Search { mailbox, program: List::new(program).unwrap() }, why).await;
    }
    let nobody = Request::Search { mailbox: MailboxId(999), program: List::new(vec![K::All]).unwrap() };
    front.refused(&nobody, Refusal::NoSuchMailbox).await;
    // The longest program there may be, nested as deeply as it can.
    let deep = [vec![K::All], vec![K::Not; 999]].concat();
    assert_eq!(front.search(mailbox, &deep).await, [0u32; 0]);
    let wide = [vec![K::Flags(SystemFlags::SEEN); 500], vec![K::And; 499]].concat();
    assert_eq!(front.search(mailbox, &wide).await, [1, 3]);
}
