use crate::world::{Daemon, renew};
use rustix::process::Signal;
use std::time::Duration;
use wire::edge::keys_tls::{KeysForMx, Request, Response, SignInput};

/// TLS SignatureScheme ecdsa_secp256r1_sha256.
const ECDSA_P256: u16 = 0x0403;

#[tokio::test]
async fn renewed_files_are_taken_inside_the_jail() {
    let mut daemon = Daemon::start();
    let client = daemon.client::<KeysForMx>();
    let Response::Certificates { generation: first, list } = client.call(&Request::Certificates, &[]).await.unwrap().body else { panic!() };
    assert_eq!((list.len(), list[0].names[0].as_str()), (1, "mail.mta.test"));
    renew(&daemon.files, 2);
    daemon.signal(Signal::HUP);
    let changed = client.call_within(Duration::from_secs(60), &Request::Changed(first), &[]).await.unwrap().body;
    let Response::Certificates { generation: second, .. } = changed else { panic!() };
    for generation in [first, second] {
        let input = SignInput::Tls13ServerVerify { transcript_hash: vec![1; 48].into() };
        let signed = client.call(&Request::Sign { generation, key: 0, scheme: ECDSA_P256, input }, &[]).await.unwrap().body;
        assert!(matches!(signed, Response::Signature(_)));
    }
    daemon.signal(Signal::TERM);
    assert!(daemon.child.wait().unwrap().success());
}
