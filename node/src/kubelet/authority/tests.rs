//! Recorded connections of grpc-go, cut at any place, and header blocks in more than one frame.

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

/// The first bytes of clients: two calls on one connection to a path, without a deadline.
const RECORDED: &str = include_str!("../../../golden/first-headers.txt");

/// The recordings, by version of grpc-go.
fn recorded() -> Vec<(&'static str, Vec<u8>)> {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    let recorded = lines.map(|line| {
        let (version, hex) = line.split_once(' ').unwrap();
        let bytes = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        (version, bytes.collect())
    });
    recorded.collect()
}

fn filtered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut filter, mut out) = (Filter::default(), Vec::new());
    for piece in pieces {
        filter.push(piece, &mut out);
    }
    filter.end(&mut out);
    out
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frames.concat(),
    ]
    .concat()
}

/// Checks what becomes of frames, as a whole and byte by byte.
fn check(frames: &[Vec<u8>], expected: &[Vec<u8>]) {
    let (before, after) = (connection(frames), connection(expected));
    assert_eq!(filtered([&*before]), after);
    assert_eq!(filtered(before.chunks(1)), after);
}

const PATH: &[u8] = b"\x83\x41\x0a%2Fvar%2Fx\x86";
const LOCAL: &[u8] = b"\x83\x41\x09localhost\x86";

#[test]
fn authority_of_each_grpc_version_becomes_local() {
    let all = recorded();
    assert_eq!(all.len(), 6);
    for (version, bytes) in all {
        let out = filtered([&*bytes]);
        let count = |bytes: &[u8], text: &[u8]| {
            bytes
                .windows(text.len())
                .filter(|part| *part == text)
                .count()
        };
        assert_eq!(count(&out, b"localhost"), 1, "{version}");
        assert!(out.len() < bytes.len(), "{version}");
        // The second call refers to the entry of the first.
        assert_eq!(out.len(), filtered([&*out]).len(), "{version}");
    }
}

#[test]
fn frames_of_a_block_become_one() {
    let (a, rest) = PATH.split_at(5);
    let (b, c) = rest.split_at(1);
    let data = frame(0, 1, 1, b"\x41\x0a%2Fvar%2Fx");
    let whole = frame(1, 4, 1, LOCAL);
    check(
        &[frame(1, 4, 1, PATH), data.clone()],
        &[whole.clone(), data.clone()],
    );
    check(
        &[
            frame(1, 0, 1, a),
            frame(9, 0, 1, b),
            frame(9, 4, 1, c),
            data.clone(),
        ],
        &[whole.clone(), data.clone()],
    );
    check(
        &[frame(1, 0, 1, PATH), frame(9, 4, 1, b""), data.clone()],
        &[whole.clone(), data.clone()],
    );
    check(
        &[frame(1, 0, 1, b""), frame(9, 4, 1, PATH), data.clone()],
        &[whole, data],
    );
}

#[test]
fn padding_and_priority_are_removed() {
    let padded = [&[3][..], &[0x80, 0, 0, 0, 7], PATH, &[0; 3]].concat();
    check(&[frame(1, 0x2d, 5, &padded)], &[frame(1, 5, 5, LOCAL)]);
}

#[test]
fn frames_that_break_the_rules_are_passed_on() {
    let broken: &[Vec<Vec<u8>>] = &[
        // More padding than payload; no room for the priority.
        vec![frame(1, 0x0c, 1, &[9, 0x81]), frame(1, 4, 3, b"\x41\x01x")],
        vec![frame(1, 0x24, 1, &[0, 0])],
        // A block that another frame interrupts.
        vec![
            frame(1, 0, 1, PATH),
            frame(6, 0, 0, &[0; 8]),
            frame(9, 4, 1, b""),
        ],
        vec![frame(1, 0, 1, PATH), frame(9, 4, 3, b"")],
        // Nothing to replace, and a block that cannot be parsed.
        vec![frame(1, 4, 1, LOCAL)],
        vec![frame(1, 4, 1, &PATH[..6])],
        // Longer than any block.
        vec![frame(1, 4, 1, &PATH.repeat(6000))],
    ];
    for frames in broken {
        check(frames, frames);
    }
}

#[test]
fn block_of_many_fields_is_written_in_frames_of_legal_size() {
    let field = [&[0x00, 1][..], b"x", &[0x7f, 0x81, 0x3e], &[b'y'; 8064]].concat();
    let before = [PATH, &field, &field, &field].concat();
    let after = [LOCAL, &field, &field, &field].concat();
    let (first, rest) = after.split_at(LARGEST_FRAME);
    check(
        &[frame(1, 5, 1, &before)],
        &[frame(1, 1, 1, first), frame(9, 4, 1, rest)],
    );
}

proptest! {
    #[test]
    fn any_split_of_a_connection_gives_the_same_bytes(number in 0..6_usize, cuts in prop::collection::vec(0..400_usize, 0..20)) {
        let (_, bytes) = recorded().swap_remove(number);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(filtered(pieces), filtered([&*bytes]));
    }

    #[test]
    fn arbitrary_bytes_never_panic_in_any_split(bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(4), Just(9), any::<u8>()], 0..300), size in 1..40_usize) {
        let bytes = connection(&[bytes]);
        prop_assert_eq!(filtered(bytes.chunks(size)), filtered([&*bytes]));
    }
}

#[tokio::test]
async fn reader_with_little_room_gets_all_bytes() {
    for (version, bytes) in recorded() {
        let mut stream = LocalAuthority::new(&*bytes);
        let mut read = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            read.push(byte);
        }
        assert_eq!(read, filtered([&*bytes]), "{version}");
    }
}

#[tokio::test]
async fn block_that_ends_with_the_stream_is_passed_on() {
    let bytes = connection(&[frame(1, 0, 1, PATH)]);
    let mut read = Vec::new();
    LocalAuthority::new(&*bytes)
        .read_to_end(&mut read)
        .await
        .unwrap();
    assert_eq!(read, bytes);
}
