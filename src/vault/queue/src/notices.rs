//! What people are told about an account that sends unusually much.

use crate::{
    post::{Post, TlsWish, Unavailable},
    remote::Outbound,
    spool::{Op, Settles, sending::Notice},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long to wait when the directory or the disk is not there.
const PAUSE: Duration = Duration::from_secs(30);

/// Writes the notices that are due, now and whenever an account is held.
pub(crate) async fn run(post: Arc<Post>, outbound: Arc<Outbound>) {
    loop {
        let mut complete = true;
        for notice in post.spool.ask(Op::Notices).await.unwrap_or_default() {
            complete &= tell(&post, notice).await.is_ok();
        }
        if post.spool.inbox.has_ended() {
            return;
        }
        if complete {
            outbound.notices.notified().await;
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn tell(post: &Post, notice: Notice) -> Result<(), Unavailable> {
    let mut to = vec![notice.address.clone(), post.settings.postmaster.clone()];
    to.dedup_by_key(|address| address.key());
    let subject = "Mail of an account is held: it sends unusually much";
    let own = post
        .write(&to, subject, TlsWish::AsPolicy, |head| {
            let text = format!(
                "{}Content-Type: text/plain; charset=utf-8\r\n\r\nThis is the mail system of {}.\r\n\r\n\
                 The account {} has reached the number of messages or recipients\r\n\
                 that it may send to in an hour, for the second time within a day.\r\n\r\n\
                 What it submits from now on is kept and not sent, until an administrator\r\n\
                 has looked at it. If you did not send that much, somebody else knows your\r\n\
                 password: change it.\r\n\r\nFor the administrator:\r\n\r\n\
                 \x20   postern queue list --account {2}\r\n    postern queue release --account {2}\r\n",
                head.write(),
                head.hostname,
                notice.address
            );
            let eight = !text.is_ascii();
            (text.into_bytes(), eight)
        })
        .await?;
    let (answer, done) = oneshot::channel();
    post.spool.push(Op::Own { own, settles: Settles::Notice(notice.account), answer });
    done.await.map_err(|_| Unavailable)
}
