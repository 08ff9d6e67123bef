use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn bytes_of(key: impl Key) -> Vec<u8> {
    KeyBuf::from_key(key).as_bytes().to_vec()
}

/// Parts that are often equal, near each other, or one the beginning of the other.
fn part() -> impl Strategy<Value = Part> {
    let byte = prop_oneof![Just(0x00), Just(0x01), Just(0x7f), Just(0xfe), Just(0xff), any::<u8>()];
    let bytes = proptest::collection::vec(byte, 0..6);
    let char = prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('\u{10ffff}'), any::<char>()];
    let text = proptest::collection::vec(char, 0..6);
    let int = prop_oneof![
        (0_u32..127, -2_i128..=2, any::<bool>()).prop_map(|(bits, near, minus)| {
            let value = (1_i128 << bits) + near;
            if minus { -value } else { value }
        }),
        Just(i128::MIN),
        Just(i128::MAX),
        any::<i128>(),
    ];
    prop_oneof![
        any::<bool>().prop_map(Part::Bool),
        int.prop_map(Part::Int),
        bytes.prop_map(Part::Bytes),
        text.prop_map(|chars| Part::Text(chars.into_iter().collect())),
        any::<[u8; 16]>().prop_map(Part::Id),
    ]
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    proptest::collection::vec(part(), 0..5)
}

fn key_of(parts: &[Part]) -> KeyBuf {
    let mut to = KeyWriter::new();
    parts.iter().for_each(|part| part.encode(&mut to));
    KeyBuf::from_encoded(to.as_slice()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_ordered_as_the_values(a in parts(), b in parts()) {
        prop_assert_eq!(key_of(&a).cmp(&key_of(&b)), a.cmp(&b));
    }

    #[test]
    fn bytes_are_ordered_as_the_values_behind_equal_parts(common in parts(), a in part(), b in part(), rest in parts()) {
        let with = |end: &Part| [common.clone(), vec![end.clone()], rest.clone()].concat();
        prop_assert_eq!(key_of(&with(&a)).cmp(&key_of(&with(&b))), a.cmp(&b));
    }

    #[test]
    fn parts_round_trip(parts in parts()) {
        prop_assert_eq!(key_of(&parts).parts().collect::<Vec<_>>(), parts);
    }

    #[test]
    fn prefixes_are_whole_parts(a in parts(), b in parts()) {
        let (prefix, key) = (key_of(&a), key_of(&b));
        prop_assert_eq!(key.as_bytes().starts_with(prefix.as_bytes()), b.starts_with(&a));
        prop_assert_eq!(key.starts_with(&prefix), b.starts_with(&a));
    }

    #[test]
    fn bytes_that_decode_are_the_only_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        check_any(&bytes);
    }

    #[test]
    fn damaged_keys_decode_to_an_error_or_to_another_key(parts in parts(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = key_of(&parts).as_bytes().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
        }
        check_any(&bytes);
    }

    #[test]
    fn integers_of_all_types_round_trip(signed in any::<i64>(), unsigned in any::<u64>(), small in any::<i8>()) {
        let key = KeyBuf::from_key((signed, unsigned, small));
        prop_assert_eq!(key.decode::<(i64, u64, i8)>(), Ok((signed, unsigned, small)));
    }
}

fn check_any(bytes: &[u8]) {
    let mut skipped = KeyReader::new(bytes);
    let mut read = KeyReader::new(bytes);
    while skipped.has_part() {
        let (skip, part) = (skipped.skip_part(), read.part());
        assert_eq!(skip.is_ok(), part.is_ok());
        if skip.is_err() {
            break;
        }
        assert_eq!(skipped.position(), read.position());
    }
    if let Ok(key) = KeyBuf::from_encoded(bytes) {
        assert_eq!(key_of(&key.parts().collect::<Vec<_>>()).as_bytes(), bytes);
        assert!(!key.to_string().is_empty());
    }
}

#[test]
fn the_layout_stays_as_it_is() {
    let hex = |key: KeyBuf| key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(KeyBuf::from_key(())), "");
    assert_eq!(hex(KeyBuf::from_key((false, true))), "2021");
    assert_eq!(hex(KeyBuf::from_key((0, 1, 255, 256))), "38390139ff3a0100");
    assert_eq!(hex(KeyBuf::from_key((-1, -255, -256))), "37fe370036feff");
    assert_eq!(hex(KeyBuf::from_key((u64::MAX, i64::MIN))), "40ffffffffffffffff307fffffffffffffff");
    assert_eq!(hex(KeyBuf::from_key((i128::MAX, i128::MIN))), format!("487f{}287f{}", "ff".repeat(15), "ff".repeat(15)));
    assert_eq!(hex(KeyBuf::from_key(("", "foo", "a\0\u{1}b"))), "600060666f6f006061010101026200");
    assert_eq!(hex(KeyBuf::from_key(vec![0_u8, 0xff])), "500101ff00");
    assert_eq!(hex(KeyBuf::from_key([7_u8; 16])), format!("70{}", "07".repeat(16)));
    assert_eq!(hex(KeyBuf::from_key(("cart", 7, "apple"))), "6063617274003907606170706c6500");
}

#[test]
fn other_encodings_are_refused() {
    let refused: [(&[u8], &str); 19] = [
        (&[0x00], "a store's byte"),
        (&[0x1f], "a store's byte"),
        (&[0x22], "no bool"),
        (&[0x27], "an integer of 17 bytes"),
        (&[0x49], "an integer of 17 bytes"),
        (&[0x80], "no tag"),
        (&[0xff], "no tag"),
        (&[0x39, 0x00], "zero has no bytes"),
        (&[0x3a, 0x00, 0x01], "a leading zero"),
        (&[0x37, 0xff], "minus zero"),
        (&[0x36, 0xff, 0xfe], "a leading zero"),
        (&[0x3a, 0x01], "cut"),
        (&[0x50, 0x01], "no end"),
        (&[0x50, 0x01, 0x00, 0x00], "an escape of what needs none"),
        (&[0x50, 0x01, 0x03, 0x00], "an escape of what needs none"),
        (&[0x50, 0x01, 0x01], "an escape, no end"),
        (&[0x60, 0xc3, 0x28, 0x00], "not UTF-8"),
        (&[0x60, 0xc3, 0x01, 0x01, 0x00], "not UTF-8 around a zero"),
        (&[0x70; 16], "cut"),
    ];
    for (bytes, why) in refused {
        assert!(KeyBuf::from_encoded(bytes).is_err(), "{why}: {bytes:?}");
    }
    let mut above = vec![0x48, 0x80];
    above.extend([0; 15]);
    assert!(KeyBuf::from_encoded(&above).is_err(), "2^127");
    let mut below = vec![0x28, 0x7f];
    below.extend([0xff; 14]);
    below.push(0xfe);
    assert!(KeyBuf::from_encoded(&below).is_err(), "-2^127 - 1");
}

#[test]
fn a_key_prints_as_the_value_that_made_it() {
    let print = |key: KeyBuf| format!("{key} {key:?}");
    assert_eq!(print(KeyBuf::from_key("cart")), r#""cart" "cart""#);
    assert_eq!(KeyBuf::from_key(("cart", 7, "ap\"ple\0")).to_string(), r#"("cart", 7, "ap\"ple\0")"#);
    assert_eq!(KeyBuf::from_key(()).to_string(), "()");
    let id = Uuid::from_u128(7);
    assert_eq!(
        KeyBuf::from_key((true, -1, vec![0_u8, 0xab], id)).to_string(),
        "(true, -1, 0x00ab, 00000000-0000-0000-0000-000000000007)"
    );
}

#[test]
fn equal_values_of_different_types_are_one_key() {
    assert_eq!(bytes_of(7_u8), bytes_of(7_i64));
    let borrowed = &&7_i128;
    assert_eq!(bytes_of(7_u64), bytes_of(borrowed));
    assert_eq!(bytes_of("a"), bytes_of(String::from("a")));
    assert_eq!(bytes_of(Uuid::from_bytes([3; 16])), bytes_of([3; 16]));
    assert_eq!(bytes_of(("a", ("b", 1), ())), bytes_of(("a", "b", 1)));
    assert_eq!(bytes_of(KeyBuf::from_key(("a", 1))), bytes_of(("a", 1)));
    assert_ne!(bytes_of("a"), bytes_of(&b"a"[..]));
    assert_ne!(bytes_of([3; 16]), bytes_of(&[3; 16][..]));
}

#[test]
fn decoding_asks_for_the_type_and_for_all_of_the_key() {
    let key = KeyBuf::from_key(("cart", 300, true));
    assert_eq!(key.decode(), Ok((String::from("cart"), 300_u16, true)));
    assert_eq!(key.decode(), Ok((String::from("cart"), KeyBuf::from_key((300, true)))));
    assert_eq!(key.decode(), Ok((Part::Text("cart".into()), Part::Int(300), Part::Bool(true))));
    assert!(key.decode::<(String, u8, bool)>().is_err());
    assert!(key.decode::<(String, u16)>().is_err());
    assert!(key.decode::<(String, u16, bool, bool)>().is_err());
    assert!(key.decode::<(Vec<u8>, u16, bool)>().is_err());
    assert_eq!(KeyBuf::from_key([9; 16]).decode(), Ok(Uuid::from_bytes([9; 16])));
}

#[test]
fn a_text_that_begins_another_is_not_its_prefix() {
    assert!(!bytes_of("foobar").starts_with(&bytes_of("foo")));
    assert!(!KeyBuf::from_key("foobar").starts_with("foo"));
    assert!(!bytes_of("foo\0bar").starts_with(&bytes_of("foo")));
    assert!(KeyBuf::from_key(("foo", "bar")).starts_with("foo"));
    assert!(KeyBuf::from_key("foo").starts_with(()));
}

#[test]
fn a_store_finds_the_end_of_a_key_at_its_own_byte() {
    for kind in 0..PART_MIN {
        let mut to = KeyWriter::from_bytes(&bytes_of("a\0"));
        to.int(7);
        to.raw(&[kind]);
        to.text("field");
        to.raw(&[0]);
        to.raw(&[0xff; 4]);
        let path = to.into_inner();
        let mut from = KeyReader::new(&path);
        assert_eq!(from.skip_parts(), Ok(&*bytes_of(("a\0", 7))));
        assert!(!from.has_part());
        assert_eq!(from.raw(1), Ok(&[kind][..]));
        assert_eq!(<KeyBuf as OwnedKey>::decode(&mut from), Ok(KeyBuf::from_key("field")));
        assert_eq!(from.raw(1), Ok(&[0][..]));
        assert_eq!(from.rest(), [0xff; 4]);
        assert!(from.raw(5).is_err());
        assert!(path.starts_with(&bytes_of("a\0")));
        assert!(!path.starts_with(&bytes_of("a")));
    }
}

#[test]
fn the_start_of_a_text_begins_every_longer_text() {
    let mut start = KeyWriter::new();
    start.text_start("foo\0".as_bytes());
    assert!(bytes_of("foo\0").starts_with(start.as_slice()));
    assert!(bytes_of("foo\0bar").starts_with(start.as_slice()));
    assert!(!bytes_of("foo").starts_with(start.as_slice()));
    assert!(!bytes_of("foobar").starts_with(start.as_slice()));
}
