use super::*;
use crate::dissect::{
    Reason,
    testing::{client_hello, handshake, mutations, server_hello},
};

fn parse(bytes: &[u8], version: Option<u16>) -> Handshake {
    Handshake::parse(bytes, version).unwrap()
}

fn field(message: &Handshake, name: &str) -> String {
    let fields = message.fields();
    let field = fields.iter().find(|field| field.name == name);
    field.unwrap_or_else(|| panic!("no {name}")).value.clone()
}

#[test]
fn a_record_tells_its_content_version_and_length() {
    let record = Record::parse(&[22, 3, 1, 0, 2, 7, 8, 9]).unwrap();
    assert_eq!(record.content, Content::Handshake);
    assert_eq!((record.version, record.length), (0x0301, 2));
    assert_eq!((record.fragment, record.stopped), (&[7, 8][..], None));
    let cut = Record::parse(&[23, 3, 3, 0, 9, 1]).unwrap();
    assert_eq!((cut.length, cut.fragment), (9, &[1][..]));
    assert_eq!(
        cut.stopped.unwrap().reason,
        Reason::Short {
            needed: 14,
            there: 6
        }
    );
}

#[test]
fn what_is_no_record_is_refused_where_it_goes_wrong() {
    for (bytes, at) in [
        (&[0x47, 3, 1, 0, 0][..], 0),
        (&[22, 4, 1, 0, 0], 1),
        (&[22, 3, 1, 0x48, 1], 3),
        (&[22, 3, 1], 3),
    ] {
        assert_eq!(Record::parse(bytes).unwrap_err().at, at, "{bytes:?}");
    }
}

#[test]
fn a_client_hello_is_read_with_its_extensions() {
    let bytes = client_hello(&[
        (0x0a0a, &[]),
        (0, b"\x00\x0e\x00\x00\x0bexample.org"),
        (16, b"\x00\x0c\x02h2\x08http/1.1"),
        (43, &[6, 0x0a, 0x0a, 3, 4, 3, 3]),
        (51, &[0, 5, 0, 29, 0, 1, 9]),
        (10, &[0, 2, 0, 29]),
        (45, &[1, 1]),
        (35, &[]),
        (42, &[]),
        (41, &[0, 7, 0, 1, 7, 0, 0, 0, 0, 0, 2, 1, 9]),
    ]);
    let message = parse(&bytes, None);
    assert_eq!(message.stopped, None);
    assert_eq!(message.summary(), "ClientHello (resumption) (early data)");
    let Body::Client(hello) = &message.body else {
        panic!("{message:?}");
    };
    assert_eq!(
        (hello.version(), hello.server_name()),
        (0x0304, Some("example.org"))
    );
    for (name, value) in [
        ("Version", "TLS 1.3"),
        ("Session id", "32 bytes"),
        ("Cipher suites", "TLS_AES_128_GCM_SHA256, GREASE, 0x1234"),
        ("Server name", "example.org"),
        ("Application protocols", "h2, http/1.1"),
        ("Supported versions", "GREASE, TLS 1.3, TLS 1.2"),
        ("Key shares", "x25519"),
        ("Pre-shared key modes", "with (EC)DHE"),
        ("Session ticket", "none yet"),
        ("Early data", "yes"),
        ("Pre-shared keys", "1"),
        ("Extension", "GREASE (0 bytes)"),
    ] {
        assert_eq!(field(&message, name), value);
    }
    let name = message
        .fields()
        .into_iter()
        .find(|f| f.name == "Server name");
    let range = name.unwrap().range;
    assert_eq!(&bytes[range][9..], b"example.org");
}

#[test]
fn a_server_hello_is_told_from_a_request_for_another_client_hello() {
    let bytes = server_hello(
        false,
        &[(43, &[3, 4]), (41, &[0, 0]), (51, &[0, 29, 0, 1, 5])],
    );
    let message = parse(&bytes, None);
    assert_eq!(message.summary(), "ServerHello (resumed)");
    assert_eq!(field(&message, "Selected version"), "TLS 1.3");
    assert_eq!(field(&message, "Cipher suite"), "TLS_AES_256_GCM_SHA384");
    assert_eq!(field(&message, "Key shares"), "x25519");
    let bytes = server_hello(true, &[(43, &[3, 4]), (51, &[0, 23])]);
    let message = parse(&bytes, None);
    assert_eq!(message.summary(), "HelloRetryRequest");
    assert_eq!(field(&message, "Key shares"), "secp256r1");
    let old = parse(&server_hello(false, &[]), None);
    assert_eq!(field(&old, "Version"), "TLS 1.2");
}

#[test]
fn certificates_are_measured_and_tickets_tell_their_lifetime() {
    let chain = handshake(11, &[0, 0, 9, 0, 0, 1, 7, 0, 0, 2, 8, 8]);
    assert_eq!(
        parse(&chain, Some(0x0303)).body,
        Body::Certificates(vec![1, 2])
    );
    assert_eq!(
        field(&parse(&chain, Some(0x0303)), "Certificates"),
        "2 of 1, 2 bytes, 3 in all"
    );
    let ticket = parse(
        &handshake(4, &[0, 0, 0x1c, 0x20, 0, 3, 1, 2, 3]),
        Some(0x0303),
    );
    assert_eq!(field(&ticket, "Lifetime"), "7200 s");
    assert_eq!(field(&ticket, "Ticket"), "3 bytes");
    let body = [
        0, 0, 0, 60, 1, 2, 3, 4, 1, 0, 0, 2, 9, 9, 0, 8, 0, 42, 0, 4, 0, 0, 64, 0,
    ];
    let ticket = parse(&handshake(4, &body), Some(0x0304));
    assert_eq!(field(&ticket, "Early data"), "at most 16384 bytes");
    let update = parse(&handshake(24, &[1]), Some(0x0304));
    assert_eq!(update.summary(), "KeyUpdate (requested)");
}

#[test]
fn a_malformed_extension_does_not_hide_the_others() {
    let bytes = client_hello(&[(43, &[9, 3, 4]), (0, b"\x00\x04\x00\x00\x01a")]);
    let message = parse(&bytes, None);
    assert_eq!(message.stopped, None);
    assert_eq!(
        field(&message, "Extension"),
        "supported_versions (3 bytes, malformed)"
    );
    assert_eq!(field(&message, "Server name"), "a");
}

#[test]
fn a_message_that_is_cut_off_keeps_what_is_there() {
    let bytes = client_hello(&[(0, b"\x00\x04\x00\x00\x01a"), (35, &[0; 100])]);
    let message = parse(&bytes[..bytes.len() - 50], None);
    assert!(matches!(
        message.stopped.unwrap().reason,
        Reason::Short { .. }
    ));
    let Body::Client(hello) = &message.body else {
        panic!("{message:?}");
    };
    assert_eq!(hello.ciphers.len(), 3);
    assert_eq!(Handshake::parse(&[1, 0, 0], None).unwrap_err().at, 1);
}

#[test]
fn alerts_are_named() {
    let alert = Alert::parse(&[1, 0]).unwrap();
    assert_eq!(
        (alert.level(), alert.name()),
        ("warning".to_owned(), "close_notify".to_owned())
    );
    let alert = Alert::parse(&[2, 99]).unwrap();
    assert_eq!(
        (alert.level(), alert.name()),
        ("fatal".to_owned(), "alert 99".to_owned())
    );
    assert!(Alert::parse(&[1]).is_err());
}

#[test]
fn whatever_the_bytes_every_offset_is_within_them() {
    let model = client_hello(&[(0, b"\x00\x04\x00\x00\x01a"), (43, &[2, 3, 4])]);
    mutations(&model, 20_000, |bytes| {
        for version in [None, Some(0x0303), Some(0x0304)] {
            match Handshake::parse(bytes, version) {
                Err(stopped) => assert!(stopped.at <= bytes.len()),
                Ok(message) => {
                    assert!(
                        message
                            .stopped
                            .is_none_or(|stopped| stopped.at <= bytes.len())
                    );
                    assert!(!message.summary().is_empty());
                    message.fields();
                }
            }
        }
        if let Ok(record) = Record::parse(bytes) {
            assert!(record.fragment.len() <= record.length);
        }
    });
}
