//! What is made without a formatter reads as a formatter shows it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

/// What is written into a buffer that has too little room, and in one that has been used before.
fn line(write: impl Fn(&mut Buffer)) -> String {
    let mut tight = Buffer::default();
    let mut used = Buffer::with_room(256);
    used.push(&[b'x'; 256]);
    used.clear();
    for line in [&mut tight, &mut used] {
        line.push(b"before ");
        write(line);
    }
    assert_eq!(tight.as_bytes(), used.as_bytes());
    assert_eq!(tight.len(), tight.as_bytes().len());
    String::from_utf8(tight.as_bytes().to_vec()).unwrap()
}

proptest! {
    #[test]
    fn it_reads_as_it_is_shown(ip_address: IpAddr, port: u16, value: u64, id: u128, small in 0_u32..1000) {
        prop_assert_eq!(line(|out| out.number(value)), format!("before {value}"));
        prop_assert_eq!(line(|out| out.number(small.into())), format!("before {small}"));
        prop_assert_eq!(line(|out| out.number(port.into())), format!("before {port}"));
        prop_assert_eq!(line(|out| out.ip(ip_address)), format!("before {ip_address}"));
        let whole = SocketAddr::new(ip_address, port);
        prop_assert_eq!(line(|out| out.address(whole)), format!("before {whole}"));
        let half = u64::try_from(id >> 64).unwrap();
        prop_assert_eq!(hex(half).to_vec(), format!("{half:016x}").into_bytes());
        let digits = |text: String| text.into_bytes().try_into().unwrap();
        prop_assert_eq!(unhex(digits(format!("{half:016x}"))), Some(half));
        prop_assert_eq!(unhex(digits(format!("{half:016X}"))), Some(half));
        let mut digits = Short::<4>::default();
        digits.digits::<4>(small);
        prop_assert_eq!(line(|out| out.put(&digits)), format!("before {small:04}"));
    }

    #[test]
    fn what_is_no_digit_is_no_number(half: u64, at in 0_usize..16, letter: u8) {
        let mut digits: [u8; 16] = format!("{half:016x}").into_bytes().try_into().unwrap();
        digits[at] = letter;
        let wanted = std::str::from_utf8(&digits).ok().filter(|_| letter != b'+');
        prop_assert_eq!(unhex(digits), wanted.and_then(|text| u64::from_str_radix(text, 16).ok()));
    }

    #[test]
    fn a_buffer_is_the_sum_of_its_pieces(pieces in prop::collection::vec("[ -~äか]{0,20}", 0..40), most in 0_usize..400) {
        let mut whole = pieces.concat();
        let mut line = Buffer::with_room(16);
        for piece in &pieces {
            let mut short = Short::<16>::default();
            if piece.chars().all(|letter| short.add(letter)) {
                line.put(&short);
            } else {
                piece.bytes().for_each(|letter| line.letter(letter));
            }
        }
        prop_assert_eq!(line.as_bytes(), whole.as_bytes());
        let most = (0..=most).rev().find(|at| whole.is_char_boundary(*at)).unwrap();
        line.truncate(most);
        whole.truncate(most);
        prop_assert_eq!(line.as_bytes(), whole.as_bytes());
        prop_assert_eq!(line.since(most / 2), whole.as_bytes().get(most / 2..).unwrap_or_default());
        prop_assert_eq!(line.is_empty(), whole.is_empty());
    }
}

#[test]
fn every_byte_of_an_address_is_in_the_table() {
    for octet in 0..=u8::MAX {
        let address = Ipv4Addr::new(octet, 0, octet, 255);
        assert_eq!(line(|out| out.ip(address.into())), format!("before {address}"));
    }
    let longest: SocketAddr = "255.255.255.255:65535".parse().unwrap();
    assert_eq!(line(|out| out.address(longest)), "before 255.255.255.255:65535");
}
