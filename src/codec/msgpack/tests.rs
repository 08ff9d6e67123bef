use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde::ser::{SerializeSeq, Serializer};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Older {
    title: String,
    color: Color,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newer {
    #[serde(default)]
    tags: Vec<String>,
    title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Color {
    Plain,
    Mix { red: u8, green: u8 },
    Named(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Self>),
}

fn arrays(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; depth - 1];
    bytes.push(0x90);
    bytes
}

fn malformed<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    matches!(from_bytes::<T>(bytes), Err(ValueError::Malformed { .. }))
}

#[test]
fn a_schema_that_gained_or_lost_a_field_reads_both_ways() {
    let older = Older { title: "Groceries".into(), color: Color::Plain };
    let read: Newer = from_bytes(&to_bytes(&older).unwrap()).unwrap();
    assert_eq!(read, Newer { tags: vec![], title: "Groceries".into() });

    #[derive(Deserialize)]
    struct OlderTolerant {
        title: String,
        color: Option<Color>,
    }
    let newer = Newer { tags: vec!["home".into()], title: "Groceries".into() };
    let read: OlderTolerant = from_bytes(&to_bytes(&newer).unwrap()).unwrap();
    assert_eq!((read.title.as_str(), read.color), ("Groceries", None));
}

#[test]
fn fields_and_variants_are_stored_by_name() {
    let mix = Older { title: "t".into(), color: Color::Mix { red: 1, green: 2 } };
    let bytes = to_bytes(&mix).unwrap();
    assert_eq!(bytes, b"\x82\xa5title\xa1t\xa5color\x81\xa3Mix\x82\xa3red\x01\xa5green\x02");
    assert_eq!(from_bytes::<Older>(&bytes).unwrap(), mix);
    assert_eq!(to_bytes(&Color::Plain).unwrap(), b"\xa5Plain");
    assert_eq!(to_bytes("text").unwrap(), to_bytes(&String::from("text")).unwrap());
}

#[test]
fn floats_keep_their_bits() {
    for bits in [0.0_f64.to_bits(), (-0.0_f64).to_bits(), f64::NAN.to_bits(), 0x7ff0_0000_0000_0001, 0xfff8_dead_beef_0001] {
        let bytes = to_bytes(&f64::from_bits(bits)).unwrap();
        assert_eq!(from_bytes::<f64>(&bytes).unwrap().to_bits(), bits);
    }
    for bits in [(-0.0_f32).to_bits(), f32::NAN.to_bits(), 0x7fc0_0001] {
        let bytes = to_bytes(&f32::from_bits(bits)).unwrap();
        assert_eq!(from_bytes::<f32>(&bytes).unwrap().to_bits(), bits);
    }
}

#[test]
fn bytes_behind_a_value_are_refused() {
    assert!(malformed::<u8>(&[7, 7]));
    assert!(malformed::<u8>(&[]));
    assert!(from_bytes::<u8>(&[7]).is_ok());
}

#[test]
fn a_length_above_the_input_is_refused_before_anything_is_reserved() {
    for tag in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        let mut bytes = vec![tag, 0xff, 0xff, 0xff, 0xff];
        bytes.resize(10, 0);
        assert!(malformed::<Vec<u64>>(&bytes));
        assert!(malformed::<Vec<()>>(&bytes));
        assert!(malformed::<String>(&bytes));
        assert!(malformed::<BTreeMap<u64, u64>>(&bytes));
        assert!(malformed::<IgnoredAny>(&bytes));
    }
    let mut nested = [0xdd, 0, 0, 0, 20].repeat(4);
    nested.resize(40, 0xc0);
    assert!(malformed::<Vec<Vec<Vec<Vec<u64>>>>>(&nested));
}

#[test]
fn what_is_nested_too_deep_is_neither_read_nor_written() {
    assert_eq!(check(&arrays(DEPTH_MAX)), Ok(()));
    assert_eq!(check(&arrays(DEPTH_MAX + 1)), Err(DecodeError::new(DEPTH_MAX, "nested too deep")));
    assert!(check(&vec![0x91; 1_000_000]).is_err());
    assert!(check(&vec![0x81; 1_000_000]).is_err());

    // rmp-serde does not count the depth of enums.
    let chain = |links| (0..links).fold(Chain::End, |chain, _| Chain::Link(chain.into()));
    let bytes = to_bytes(&chain(DEPTH_MAX)).unwrap();
    assert_eq!(from_bytes::<Chain>(&bytes).unwrap(), chain(DEPTH_MAX));
    assert!(matches!(to_bytes(&chain(DEPTH_MAX + 1)), Err(ValueError::Unreadable { .. })));
    assert!(malformed::<Chain>(&b"\x81\xa4Link".repeat(100_000)));
}

#[test]
fn a_value_that_announces_another_length_is_not_written() {
    struct Liar(usize);
    impl Serialize for Liar {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut seq = to.serialize_seq(Some(self.0))?;
            seq.serialize_element(&1)?;
            seq.end()
        }
    }
    assert!(to_bytes(&Liar(1)).is_ok());
    assert!(matches!(to_bytes(&Liar(0)), Err(ValueError::Unreadable { .. })));
    assert!(matches!(to_bytes(&Liar(2)), Err(ValueError::Unreadable { .. })));
}

#[test]
fn every_type_of_messagepack_is_passed() {
    let mut bytes = vec![0xdc, 0, 20];
    bytes.extend(b"\xc0\xc2\x7f\xe0\xcc\x01\xcd\x01\x02\xce\x01\x02\x03\x04\xd3\x01\x02\x03\x04\x05\x06\x07\x08");
    bytes.extend(b"\xca\x01\x02\x03\x04\xcb\x01\x02\x03\x04\x05\x06\x07\x08\xa1a\xd9\x01a\xda\x00\x01a\xdb\x00\x00\x00\x01a");
    bytes.extend(b"\xc4\x01\xff\xd4\x05\xff\xd8\x05");
    bytes.extend([0xff; 16]);
    bytes.extend(b"\xc7\x02\x05\xff\xff\xde\x00\x01\x01\x02\xdf\x00\x00\x00\x00");
    assert_eq!(check(&bytes), Ok(()));
    assert!(from_bytes::<IgnoredAny>(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(check(&bytes[..len]).is_err());
    }
    assert!(check(&[0xc1]).is_err());
    assert!(check(b"\xa1\xff").is_err());
}

#[test]
fn another_type_is_said_to_be_one() {
    assert!(matches!(from_bytes::<u8>(b"\xa1a"), Err(ValueError::Mismatched { .. })));
    assert!(matches!(from_bytes::<u8>(b"\xcd\x01\x00"), Err(ValueError::Mismatched { .. })));
}

#[test]
fn only_the_bytes_that_a_value_is_written_as_are_canonical() {
    let value = Older { title: "Groceries".into(), color: Color::Plain };
    let bytes = to_bytes(&value).unwrap();
    assert_eq!(from_canonical_bytes::<Older>(&bytes).unwrap(), value);
    let by_position = b"\x92\xa9Groceries\xa5Plain";
    let in_another_order = b"\x82\xa5color\xa5Plain\xa5title\xa9Groceries";
    let long_text = b"\x82\xa5title\xd9\x09Groceries\xa5color\xa5Plain";
    for other in [&by_position[..], in_another_order, long_text] {
        assert_eq!(from_bytes::<Older>(other).unwrap(), value);
        assert!(matches!(from_canonical_bytes::<Older>(other), Err(ValueError::NotCanonical { .. })));
    }
    for long in [&[0xcc, 7][..], &[0xcd, 0, 7], &[0xce, 0, 0, 0, 7], &[0xd0, 7], &[0xd3, 0, 0, 0, 0, 0, 0, 0, 7]] {
        assert_eq!(from_bytes::<u64>(long).unwrap(), 7);
        let Err(ValueError::NotCanonical { source }) = from_canonical_bytes::<u64>(long) else { panic!("{long:x?}") };
        assert_eq!(source.at, 0);
    }
    assert!(matches!(from_canonical_bytes::<u8>(&[7, 7]), Err(ValueError::Malformed { .. })));
    assert!(matches!(from_canonical_bytes::<u8>(b"\xa1a"), Err(ValueError::Mismatched { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_to_an_error_or_to_a_value(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let passed = check(&bytes).is_ok();
        prop_assert_eq!(from_bytes::<IgnoredAny>(&bytes).is_ok(), passed);
        prop_assert!(passed || from_bytes::<Newer>(&bytes).is_err());
        prop_assert!(passed || from_bytes::<Chain>(&bytes).is_err());
    }

    #[test]
    fn values_round_trip(title in ".{0,40}", tags in proptest::collection::vec(".{0,9}", 0..20)) {
        let value = Newer { tags, title };
        prop_assert_eq!(from_bytes::<Newer>(&to_bytes(&value).unwrap()).unwrap(), value);
    }
}
