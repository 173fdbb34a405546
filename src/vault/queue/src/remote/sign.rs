//! DKIM signatures in front of a message that is about to leave.

use super::{Sender, verdict::local};
use crate::{ask::ask, spool::Record};
use wire::{
    SealedMessage,
    edge::{
        keys_dkim::{Request, Response},
        send_deliver::{Status, Trace},
    },
};

impl Sender {
    /// Puts signatures in front of the fields that will stand in front of the message; without any when the domain is not ours.
    pub(super) async fn sign(&self, record: &Record, message: &SealedMessage, prefix: Vec<u8>) -> Result<Vec<u8>, Trace> {
        let Some(domain) = record.sign_as.clone() else { return Ok(prefix) };
        let Some(input) = self.scan.to_sign(message, &prefix).await else {
            return Err(local(Status(4, 3, 0), "what to sign cannot be computed now"));
        };
        let request = Request::Sign { domain, time: self.clock.now().div_euclid(1000), input };
        match ask(&self.keys, &request, &[]).await.map(|reply| reply.body) {
            Ok(Response::Signatures(signatures)) => {
                let mut out = Vec::new();
                for signature in &signatures {
                    out.extend_from_slice(signature);
                }
                out.extend_from_slice(&prefix);
                Ok(out)
            }
            Ok(Response::NotOurs) => Ok(prefix),
            Ok(Response::Unavailable) => Err(local(Status(4, 3, 0), "the message cannot be signed now")),
            Err(error) => {
                tracing::warn!(%error, "keys cannot be asked");
                Err(local(Status(4, 3, 0), "the message cannot be signed now"))
            }
        }
    }
}
