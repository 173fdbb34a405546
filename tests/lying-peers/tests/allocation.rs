//! What a frame can make its reader allocate. Alone in its process: the allocator counts for all threads.

use cap::Cap;
use lying_peers::{Shape, Source, shapes};
use pure_index::{Envelope, EnvelopeAddress, Part};
use std::alloc::System;
use wire::encode;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes, beside the frame itself.
const MOST: usize = 64 * 1024 * 1024;
/// More than any list holds, and what some do.
const LENGTHS: [usize; 9] = [1, 2, 5, 15, 60, 250, 500, 1_000, 2_000];
const SHAPES_OF_LISTS: u64 = 150;

/// Reads a frame under the limit: one that is over it ends the process, whose output says which frame it was.
fn read(shape: &Shape, frame: &[u8], what: &str) -> bool {
    println!("{} {}: {what}, {} bytes", shape.edge, shape.what, frame.len());
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + MOST).unwrap();
    let taken = (shape.read)(frame).is_some();
    ALLOCATOR.set_limit(usize::MAX).unwrap();
    taken
}

#[test]
fn no_frame_makes_its_reader_allocate_more_than_a_little() {
    let mut large = 0;
    for shape in shapes() {
        // Every byte alike: a list of the smallest values, inside a list of them, as far as they go.
        for byte in [0, 1, 2, 3, 4, 5, 0x3f, 0x7f, 0xff] {
            read(&shape, &vec![byte; shape.max_body], "one byte over and over");
        }
        // A valid frame in which a number was replaced by a huge one, and zeros for as long as a frame may be.
        let mut source = Source::new(7);
        for _ in 0..10 {
            let Some(valid) = (shape.make)(&mut source) else { break };
            let at = source.below(valid.len() + 1);
            for length in [&[0x80, 0x08][..], &[0xff, 0x3f], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
                let mut frame = [&valid[..at], length].concat();
                frame.resize(shape.max_body, 0);
                read(&shape, &frame, "zeros");
            }
        }
        // Valid values: lists of many lengths in lists of many lengths, as long as they fit.
        for seed in 0..SHAPES_OF_LISTS {
            let mut source = Source::new(seed);
            let lengths = (0..4).map(|_| LENGTHS[source.below(LENGTHS.len())]).collect();
            let mut source = Source::with_lengths(seed, lengths);
            let Some(frame) = (shape.make)(&mut source).filter(|frame| frame.len() <= shape.max_body) else { continue };
            large += usize::from(frame.len() > 5_000);
            read(&shape, &frame, "lists");
        }
    }
    // Parts need not be a tree to be read; whether they are is seen afterwards.
    let scan = shapes().into_iter().find(|shape| (shape.edge, shape.what) == ("scan-store", "response")).unwrap();
    let part = Source::with_lengths(1, vec![1, 30]).value::<Vec<Part>>().unwrap().remove(0);
    for addresses in [1, 5, 32, 33, 250, 513, 1_000] {
        let list = vec![EnvelopeAddress::default(); addresses];
        let [from, sender, reply_to, to, cc, bcc] = [0; 6].map(|_| list.clone());
        let envelope = Envelope { from, sender, reply_to, to, cc, bcc, ..Envelope::default() };
        let parts = vec![Part { envelope: Some(Box::new(envelope)), ..part.clone() }; 1_000];
        let mut frame = [vec![0], encode(&(Envelope::default(), parts)).unwrap()].concat();
        frame.truncate(scan.max_body);
        read(&scan, &frame, "parts");
    }
    assert!(large > 20, "only {large} of the values were large: this test proves nothing");
}
