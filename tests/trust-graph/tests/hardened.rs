//! How the released executables are linked. Case SBX-06.

use object::{
    Object, ObjectSegment, SegmentFlags,
    elf::{self, FileHeader64},
    endian::Endianness,
    read::elf::{Dyn, FileHeader, ProgramHeader},
};
use std::fs;

const EXECUTABLES: [&str; 10] = [
    "postern-smtp",
    "postern-imap",
    "postern-dns",
    "postern-send",
    "postern-scan",
    "postern-queue",
    "postern-store",
    "postern-auth",
    "postern-keys",
    "postern",
];
/// The C library's, which the units bind; nothing else is loaded.
const LIBRARIES: [&str; 5] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

#[test]
fn executables_are_position_independent_and_nothing_in_them_is_writable_and_executable() {
    for name in EXECUTABLES {
        let bytes = fs::read(test_support::binaries().join(name)).unwrap();
        let data = bytes.as_slice();
        let header = FileHeader64::<Endianness>::parse(data).unwrap();
        let endian = header.endian().unwrap();
        assert_eq!(header.e_type(endian), elf::ET_DYN, "{name} has a fixed address");
        let segments = header.program_headers(endian, data).unwrap();
        let of = |kind| segments.iter().find(|segment| segment.p_type(endian) == kind);
        assert!(of(elf::PT_GNU_RELRO).is_some(), "{name}: no RELRO");
        assert!(of(elf::PT_GNU_STACK).is_some_and(|stack| stack.p_flags(endian) & elf::PF_X == 0), "{name}: an executable stack");
        for segment in object::File::parse(data).unwrap().segments() {
            let SegmentFlags::Elf { p_flags } = segment.flags() else { continue };
            assert!(
                p_flags & (elf::PF_W | elf::PF_X) != elf::PF_W | elf::PF_X,
                "{name}: writable and executable at {:x}",
                segment.address()
            );
        }
        let entries = segments.iter().find_map(|segment| segment.dynamic(endian, data).unwrap()).unwrap();
        let value = |tag: u32| entries.iter().find(|entry| entry.tag32(endian) == Some(tag)).map(|entry| entry.d_val(endian));
        let now = value(elf::DT_BIND_NOW).is_some()
            || value(elf::DT_FLAGS).is_some_and(|flags| flags & u64::from(elf::DF_BIND_NOW) != 0)
            || value(elf::DT_FLAGS_1).is_some_and(|flags| flags & u64::from(elf::DF_1_NOW) != 0);
        assert!(now, "{name}: symbols are bound late, so the table of them stays writable");
        assert!(value(elf::DT_RPATH).is_none() && value(elf::DT_RUNPATH).is_none() && value(elf::DT_TEXTREL).is_none(), "{name}");
        let file = object::File::parse(data).unwrap();
        let libraries: Vec<String> = file
            .imports()
            .unwrap()
            .iter()
            .map(|import| String::from_utf8_lossy(import.library()).into_owned())
            .filter(|l| !l.is_empty())
            .collect();
        assert!(libraries.iter().all(|library| LIBRARIES.contains(&library.as_str())), "{name}: {libraries:?}");
    }
}
