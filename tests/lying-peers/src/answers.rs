//! Answers that are none.

use crate::{CANCEL, EVENT, IN_MEMFD, PARTIAL, Packet, REFUSED, REQUEST, RESPONSE, Shape, Source, frame, hello, memfd, with_fds};
use rustix::fs::SealFlags;
use std::{fs::File, os::fd::OwnedFd};
use wire::{
    BUILD_ID,
    frame::{MAX_FDS, MAX_INLINE},
};

/// What a client takes from no server, in answer to this request; each ends the connection. `before` stands in front of each body: what says
/// that it is an answer, on edges that have events.
///
/// # Panics
/// When the edge has no answers.
pub fn answers(shape: &Shape, all: &[Shape], before: &[u8], id: u32, source: &mut Source) -> Vec<(&'static str, Vec<Packet>)> {
    let mut make = |shape: &Shape| [before, &(shape.make)(source).unwrap()].concat();
    let valid = make(shape);
    let foreign = all.iter().filter(|other| other.edge != shape.edge && other.what == "response").map(&mut make);
    let foreign: Vec<Vec<u8>> = foreign.filter(|body| (shape.read)(&body[before.len()..]).is_none()).take(3).collect();
    assert!(!foreign.is_empty(), "{}: no answer of another edge is foreign to it", shape.edge);
    let answer = |flags, body: &[u8]| frame(RESPONSE, flags, id, body);
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let sealed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    let in_memfd = |size, seals| vec![with_fds(answer(IN_MEMFD, &[]), vec![memfd(size, seals)])];
    let mut all = vec![
        ("garbage", vec![Packet { bytes: (0..400).map(|at| at as u8 | 8).collect(), fds: Vec::new() }]),
        ("half a header", vec![Packet { bytes: vec![RESPONSE, 0, 0], fds: Vec::new() }]),
        ("a byte too many", vec![answer(0, &[&valid[..], &[0]].concat())]),
        ("nothing but ends of numbers", vec![answer(0, &[0xff; 64])]),
        ("no body", vec![answer(0, &[])]),
        ("a request", vec![frame(REQUEST, 0, id, &valid)]),
        ("a cancel", vec![frame(CANCEL, 0, id, &[])]),
        ("another greeting", vec![hello(shape.edge, BUILD_ID)]),
        ("an unknown kind", vec![frame(9, 0, id, &valid)]),
        ("an unknown flag", vec![answer(4, &valid)]),
        ("a refusal with a body", vec![frame(REFUSED, 0, id, &[1])]),
        ("answers that nobody asked for, and garbage", vec![frame(REFUSED, 0, id ^ 1 << 20, &[]), frame(9, 0, id, &[])]),
        ("a datagram beyond the limit", vec![answer(0, &vec![0; MAX_INLINE + 1_000])]),
        ("a descriptor more than the edge has", vec![with_fds(answer(0, &valid), (0..=shape.max_fds).map(|_| null()).collect())]),
        ("more descriptors than a frame has", vec![with_fds(answer(0, &valid), (0..=MAX_FDS).map(|_| null()).collect())]),
        ("a body that is not there", vec![answer(IN_MEMFD, &[])]),
        ("a body in a device", vec![with_fds(answer(IN_MEMFD, &[]), vec![null()])]),
        ("a body that can be written", in_memfd(64, SealFlags::GROW | SealFlags::SHRINK)),
        ("a body that can grow", in_memfd(64, SealFlags::WRITE | SealFlags::SHRINK)),
        ("a body that can shrink", in_memfd(64, SealFlags::WRITE | SealFlags::GROW)),
        ("a sparse body of a tebibyte", in_memfd(1 << 40, sealed)),
        ("a body one byte beyond the limit", in_memfd(shape.max_body as u64 + 1, sealed)),
        ("a body of zeros as large as may be", in_memfd(shape.max_body as u64, sealed)),
    ];
    all.extend(foreign.iter().map(|body| ("an answer of another edge", vec![answer(0, body)])));
    if (shape.read)(&valid[before.len()..valid.len() - 1]).is_none() {
        all.push(("half a body", vec![answer(0, &valid[..valid.len() - 1])]));
    }
    if before.is_empty() {
        all.push(("a part of an answer", vec![frame(PARTIAL, 0, id, &valid)]));
        all.push(("an event", vec![frame(EVENT, 0, id, &valid)]));
    }
    all
}
