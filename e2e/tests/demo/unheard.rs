//! A service goes on when nobody hears what it says: a reader of its standard output that is gone is no reason to leave.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::process::{binary, wait_for};

/// What the service answers, once it does.
fn answer(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said).filter(|said| !said.is_empty())
}

#[test]
fn a_service_whose_standard_output_is_closed_goes_on() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut service = Command::new(binary())
        .args(["demo-service", "api"])
        .env("CHECKOUT_LISTEN", address.to_string())
        // It is not asked for anything that needs a broker.
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = service.stdin.take();
    drop(service.stdout.take());
    // It says that it listens before it answers anybody.
    let said = wait_for("an answer", || {
        assert_eq!(service.try_wait().unwrap(), None, "it left");
        answer(address)
    });
    assert!(said.starts_with("HTTP/1.1 "), "{said}");
    drop(stdin);
    let status = service.wait().unwrap();
    assert!(status.success(), "{status}");
}
